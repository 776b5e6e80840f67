"""What all commands share: their arguments, and how they end."""

import argparse
import difflib
import functools
import json
import os
import re
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

import torch
from datasets.exceptions import DatasetGenerationError
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    HfArgumentParser,
)
from transformers.debug_utils import DebugOption

from ..training.arguments import ModelArguments, flags
from ..writing import read_json


WHAT_USERS_CAN_MEND = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    DatasetGenerationError,
    SafetensorError,
    StrictDataclassError,
)


FLAG = re.compile(r"--?[^\W\d][\w-]*(?==|\Z)")  # not a negative number, and not text that begins with a dash


class UsageError(ValueError):
    """A command line that the command can't read."""


def run_command(main: Callable[[list[str]], None]) -> None:
    """
    Runs a command with the arguments of this process. What its user can mend ends it with one sentence and the exit
    code 2, and with `--debug` a traceback too. Any other error is a fault of the code, and keeps its traceback.
    """
    argv, debug = without_debug(sys.argv[1:])
    name = Path(sys.argv[0]).name
    try:
        main(argv)
    except WHAT_USERS_CAN_MEND as error:
        if debug:
            traceback.print_exc()
        hint = "" if debug or isinstance(error, UsageError) else " (--debug shows where)"
        print(f"{name}: error: {sentence_of(error)}{hint}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def without_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    """A command line without `--debug`, and whether it was there; one with a value is transformers' own, and stays."""
    values = {option.value for option in DebugOption}
    rest = [
        argument
        for argument, following in zip(argv, [*argv[1:], ""])
        if argument != "--debug" or values.intersection(following.split())
    ]
    return rest, len(rest) < len(argv)


def sentence_of(error: BaseException) -> str:
    """What an error says, on one line, without a number."""
    text = re.sub(r"\[Errno \d+\] ", "", str(error))
    if isinstance(error, SafetensorError):
        text = f"a .safetensors file can't be read or written: {error}"
    elif isinstance(error, DatasetGenerationError):
        text = f"{error}: {error.__cause__}"
    elif isinstance(error, StrictDataclassError):  # a check of a config, whose own sentence is behind it
        text = str(error.__cause__ or error)
    return " ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__


class CommandParser(HfArgumentParser):
    """
    transformers' parser (without dataclasses: argparse's), which raises a `UsageError` for what it can't read. A
    command that has `use_cpu` also takes `--device`, see `choose_device`; its result is `use_cpu`.
    """

    def __init__(self, dataclass_types: tuple[type, ...] | type | None = None, **kwargs: Any):
        epilog = "With --debug, an error also shows where in the code it arose."
        super().__init__(dataclass_types, epilog=epilog, **kwargs)
        self.has_device = any(action.dest == "use_cpu" for action in self._actions)
        if self.has_device:
            self.set_defaults(use_cpu=None)  # not given; False contradicts --device cpu
            self.add_argument("--device", help="cpu, cuda, or one GPU: cuda:1 (default: the GPU, where there is one)")

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        args = sys.argv[1:] if args is None else [str(argument) for argument in args]
        self.check_flags(args)
        namespace, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"{' '.join(rest)} belongs to no option of {self.prog}.")
        if self.has_device:
            namespace.use_cpu = choose_device(vars(namespace).pop("device"), namespace.use_cpu)
        return namespace, rest

    def check_flags(self, args: Sequence[str]) -> None:
        """Every flag is an option, or with `allow_abbrev` its beginning, or a UsageError names the nearest ones."""
        options = [name for action in self._actions for name in action.option_strings]
        wrong = []
        for argument in takewhile(lambda argument: argument != "--", args):
            found = FLAG.match(argument)
            if found is None or found[0] in options:
                continue
            if self.allow_abbrev and any(option.startswith(found[0]) for option in options):
                continue
            nearest = difflib.get_close_matches(found[0], [*options, "--debug"], n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "--help lists all."
            wrong.append(f"{found[0]} is not an option of {self.prog}: {hint}")
        if wrong:
            self.error(" ".join(wrong))

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def choose_device(device: str | None, use_cpu: bool | None) -> bool:
    """
    Makes a device the one that transformers and accelerate take by themselves. Of several GPUs, one that is named by
    its number becomes the only visible one.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, or another that torch finds here; None leaves the choice to them.
        use_cpu: what was said beside it; None: nothing.

    Returns:
        Whether to use the CPU.

    Raises:
        UsageError: a device that is not here, or that contradicts `use_cpu`.
    """
    if device is None:
        return bool(use_cpu)
    try:
        wanted = torch.device(device)
        count = torch.get_device_module(wanted).device_count()
    except RuntimeError as error:
        raise UsageError(f"--device is {device!r}: it must be cpu, cuda, or one GPU by its number, cuda:1.") from error
    if use_cpu is not None and use_cpu != (wanted.type == "cpu"):
        raise UsageError(f"--device {device} and --use_cpu {str(use_cpu).lower()} contradict each other: give one.")
    if wanted.type == "cpu":
        return True
    if count == 0:
        raise UsageError(f"--device is {device}, but torch finds no {wanted.type} device here.")
    if wanted.type == "cuda" and wanted.index is not None:
        take_gpu(wanted)
    elif wanted.index:
        raise UsageError(f"--device is {device}: by its number only a device of cuda can be chosen.")
    return False


@functools.cache  # when the command line is read again, the GPUs are no longer counted as before
def take_gpu(wanted: torch.device) -> None:
    """Hides all other GPUs. CUDA looks at what is visible when it starts, which is after the arguments are read."""
    count = torch.get_device_module(wanted).device_count()
    if wanted.index >= count:
        last = f"{wanted.type}:{count - 1}"
        raise UsageError(f"--device is {wanted}, but torch finds {count} of them here: the last one is {last}.")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError(f"--device is {wanted}, one GPU for several processes: choose theirs by CUDA_VISIBLE_DEVICES.")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = str(wanted.index) if visible is None else visible.split(",")[wanted.index]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, and defaults."""


def parse_arguments(classes: tuple[type, ...], argv: Sequence[str], description: str | None = None) -> tuple[Any, ...]:
    """
    One instance of each dataclass from a command line: flags, or a JSON file of arguments and flags that override it.
    `--help` prints the description first.

    Raises:
        ValueError: an argument that does not exist, a value that it can't have, or a file that is no JSON.
    """
    argv = list(argv)
    if argv and argv[0].endswith(".json"):
        arguments = read_json(Path(argv[0]))
        if not isinstance(arguments, dict):
            raise ValueError(f"{argv[0]} holds a {type(arguments).__name__}: it must be a JSON object of arguments.")
        argv = [*flags(arguments), *argv[1:]]
    parser = CommandParser(classes, allow_abbrev=False, description=description, formatter_class=HelpFormatter)
    return parser.parse_args_into_dataclasses(argv)


def with_recipe(argv: Sequence[str], default: str | os.PathLike) -> list[str]:
    """
    A command line with the recipe of the JSON file `default` in front, unless it begins with one of its own. What the
    network is made of is left out where it goes on from a checkpoint, whose config has it.
    """
    argv = list(argv)
    if argv and argv[0].endswith(".json"):
        return argv
    recipe = json.loads(Path(default).read_text(encoding="utf-8"))
    if any(argument.split("=")[0] == "--model_name_or_path" for argument in argv):
        recipe = {name: value for name, value in recipe.items() if name not in ModelArguments.__dataclass_fields__}
    return [*flags(recipe), *argv]
