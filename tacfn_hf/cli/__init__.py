"""`tacfn`, one module a command: it reads its arguments, and only then imports what does the work."""
