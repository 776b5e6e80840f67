"""`tacfn`: finds the command, and runs it. Nothing heavy is imported before a command has read its arguments."""

import difflib
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from .errors import run_command


# The module of each command, and what it does.
COMMANDS = {
    "inspect": ("inspect", "count what is in a corpus"),
    "extract": ("extract", "make features of audio and text"),
    "import": ("import_features", "take features that exist already"),
    "train": ("train", "train a model on features, and test it"),
    "fine-tune": ("fine_tune", "tune the encoders along with a trained model"),
    "cross-validate": ("cross_validate", "train and test on every fold, with several seeds"),
    "report": ("report", "write a page about a run: figures, pictures, mistakes"),
    "evaluate": ("evaluate", "test a trained model on features, and measure its beta"),
    "predict": ("predict", "recognise the emotion of an utterance"),
    "annotate": ("annotate", "give the timeline of a recording: segments and their emotions"),
    "transcribe": ("transcribe", "write down what is said, into a table"),
    "demo": ("demo", "try a model in the browser, by microphone or file"),
    "export": ("export", "write a model as programs for onnxruntime"),
    "card": ("card", "write a model card"),
    "push": ("push", "upload a model to the Hub"),
    "summarize": ("summarize", "mean and standard deviation of several runs"),
    "quickstart": ("quickstart", "try all of it on a synthetic corpus, offline"),
}
OVERVIEW = """usage: tacfn COMMAND [--option value ...]

Recognises emotions from audio and text.

{commands}

`tacfn COMMAND --help` lists the options of a command."""


def main(argv: Sequence[str] | None = None) -> None:
    """
    Runs a command of `tacfn`.

    Args:
        argv: the name of the command and its arguments; by default those of this process.
    """
    argv, debug = without_debug(list(sys.argv[1:] if argv is None else argv))
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print(OVERVIEW.format(commands="\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items())))
        sys.exit(0 if argv else 2)
    name = argv[0]
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(COMMANDS)}."
        print(f"tacfn: error: there is no command {name}: {hint}", file=sys.stderr)
        sys.exit(2)
    # A Trainer asks for pinned memory unless told otherwise, and each of its loaders says that a CPU has none.
    warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true but no accelerator is found")
    command = import_module(f".{COMMANDS[name][0]}", __package__)
    run_command(f"tacfn {name}", command.main, argv[1:], debug)
    leave_process_group()


def leave_process_group() -> None:
    """Of several processes, each closes its connections: the threads behind them may abort a process as it ends."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def without_debug(argv: list[str]) -> tuple[list[str], bool]:
    """A command line without `--debug`, and whether it was there; one with a value is transformers' own, and stays."""
    if "--debug" not in argv:
        return argv, False
    from transformers.debug_utils import DebugOption

    values = {option.value for option in DebugOption}
    rest = [
        argument
        for argument, following in zip(argv, [*argv[1:], ""])
        if argument != "--debug" or values.intersection(following.split())
    ]
    return rest, len(rest) < len(argv)
