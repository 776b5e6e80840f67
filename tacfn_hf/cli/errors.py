"""How a command ends: with its result, or with one sentence for what its user can mend."""

import re
import sys
import traceback
from collections.abc import Callable

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError


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
    if isinstance(error, SafetensorError):
        text = f"a .safetensors file can't be read or written: {error}"
    elif isinstance(error, StrictDataclassError):  # a check of a config, whose own sentence is behind it
        text = str(error.__cause__ or error)
    elif isinstance(error, ValueError | TypeError | OSError | ImportError):
        text = re.sub(r"\[Errno \d+\] ", "", str(error))
    else:
        from datasets.exceptions import DatasetGenerationError  # not above: it takes a second

        if not isinstance(error, DatasetGenerationError):
            return None
        text = f"{error}: {error.__cause__}"
    return " ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__
