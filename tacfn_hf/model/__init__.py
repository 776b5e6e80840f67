"""The part of tacfn_hf that travels to the Hub: one flat folder on torch, numpy and transformers alone."""
