"""How a command ends: with its result, or with one sentence for what its user can mend."""

import re
import sys
import traceback
from collections.abc import Callable


class UsageError(ValueError):
    """A command line that the command can't read."""


def run_command(name: str, main: Callable[[list[str]], None], argv: list[str], debug: bool = False) -> None:
    """
    Runs a command. An error that its user can mend ends the process with one sentence and the exit code 2, and with
    `debug` with a traceback too. Any other error is a fault of the code, and keeps its traceback.

    Args:
        name: what the sentence calls the command.
        main: it takes `argv`, the arguments behind the command's name.
    """
    try:
        main(argv)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        if debug:
            traceback.print_exc()
        hint = "" if debug or isinstance(error, UsageError) else " (--debug shows where)"
        print(f"{name}: error: {sentence}{hint}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def sentence_of(error: Exception) -> str | None:
    """What an error says, on one line, without a number; None of an error that no user can mend."""
    text = re.sub(r"\[Errno \d+\] ", "", str(error))
    if not isinstance(error, ValueError | TypeError | OSError | ImportError):
        from datasets.exceptions import DatasetGenerationError  # not above: it takes a second
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError

        if isinstance(error, SafetensorError):
            text = f"a .safetensors file can't be read or written: {text}"
        elif isinstance(error, DatasetGenerationError):
            text = f"{text}: {error.__cause__}"
        elif isinstance(error, StrictDataclassError):  # a check of a config, whose own sentence is behind it
            text = str(error.__cause__ or text)
        else:
            return None
    return " ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__
