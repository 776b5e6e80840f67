"""From a command line to one instance of each dataclass of options."""

import argparse
import copy
import difflib
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from transformers.hf_argparser import HfArgumentParser

from ..features.arguments import DataArguments
from ..training.arguments import FineTuningOptions, ModelArguments, TrainingOptions, flags
from ..writing import read_json
from .device import choose_device
from .errors import UsageError


FLAG = re.compile(r"--?[^\W\d][\w-]*(?==|\Z)")  # not a negative number, and not text that begins with a dash
RECIPES = Path(__file__).parents[1] / "recipes"


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """
    Descriptions as they are written, a usage of what is required, each option by one name, and the defaults that say
    something.
    """

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *args: Any, **kwargs: Any) -> None:
        self._prog += " [options]"
        required = [action for action in actions if action.required or not action.option_strings]
        super().add_usage(usage, required, *args, **kwargs)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = copy.copy(action)  # HfArgumentParser also takes --output-dir for --output_dir
        shown.option_strings = [name for name in action.option_strings if "-" not in name.lstrip("-")]
        return super()._format_action_invocation(shown)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


class CommandParser(HfArgumentParser):
    """
    transformers' parser, which raises a `UsageError` for what it can't read.

    - A command that has `use_cpu` also takes `--device`, see `choose_device`; its result is `use_cpu`.
    - With `config`, the command takes `--config`, see `arguments_of`.

    Args:
        dataclass_types: of the options; without, `add_argument` of argparse adds them.
        config: whether the command reads files of arguments.
        kwargs: those of `argparse.ArgumentParser`.
    """

    def __init__(self, dataclass_types: Iterable[type] | None = None, *, config: bool = False, **kwargs: Any):
        epilog = "With --debug, an error also shows where in the code it arose."
        super().__init__(dataclass_types, epilog=epilog, allow_abbrev=False, formatter_class=HelpFormatter, **kwargs)
        self.has_config = config
        if config:
            self.add_argument(
                "--config",
                nargs="+",
                metavar="FILE.json",
                help="Arguments from the JSON object in a file, or in a recipe by its name. The command line overrides "
                "them, and a later file an earlier one.",
            )
        self.has_device = any(action.dest == "use_cpu" for action in self._actions)
        if self.has_device:
            self.set_defaults(use_cpu=None)  # not given; False contradicts --device cpu
            self.add_argument("--device", help="cpu, cuda, or one GPU: cuda:1 (default: the GPU, where there is one).")

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        args = sys.argv[1:] if args is None else [str(argument) for argument in args]
        self.check_flags(args)
        namespace, rest = super().parse_known_args(self.with_config(args), namespace)
        if rest:
            self.error(f"{' '.join(rest)} belongs to no option of {self.prog}.")
        if self.has_config:
            del namespace.config
        if self.has_device:
            namespace.use_cpu = choose_device(vars(namespace).pop("device"), namespace.use_cpu)
        return namespace, rest

    def with_config(self, args: list[str]) -> list[str]:
        """The command line with the flags of its `--config` in front, where its own flags override them."""
        if not self.has_config:
            return args
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        finder.add_argument("--config", nargs="+", default=[])
        try:
            found, rest = finder.parse_known_args(args)
        except argparse.ArgumentError as error:
            self.error(str(error))
        names = {action.dest for action in self._actions} - {"config", "help", "help_all"}
        given: dict[str, Any] = {}
        for config in found.config:
            arguments = arguments_of(config)
            for name in arguments:
                if name not in names:
                    hint = nearest(name, names) or "--help lists all."
                    self.error(f"{config} has the argument {name}, which is not one of {self.prog}: {hint}")
            given |= arguments
        return [*flags(given), *rest]

    def check_flags(self, args: Sequence[str]) -> None:
        """Every flag is an option, or a UsageError names the nearest ones."""
        options = [name for action in self._actions for name in action.option_strings]
        wrong = []
        for argument in takewhile(lambda argument: argument != "--", args):
            found = FLAG.match(argument)
            if found is not None and found[0] not in options:
                hint = nearest(found[0], [*options, "--debug"]) or "--help lists all."
                wrong.append(f"{found[0]} is not an option of {self.prog}: {hint}")
        if wrong:
            self.error(" ".join(wrong))

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The question whether one of the names was meant; None where none is like it."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {found[0]}?" if found else None


def arguments_of(config: str) -> dict[str, Any]:
    """
    The arguments that a `--config` names: a file `NAME.json` with a JSON object, or the name of one of the recipes that
    the package brings along.

    Raises:
        ValueError: no such file or recipe, or not a JSON object.
    """
    path = Path(config) if config.endswith(".json") else RECIPES / f"{config}.json"
    if path.parent == RECIPES and not path.is_file():
        raise UsageError(f"--config is {config!r}: it must be a file NAME.json, or a recipe: {recipe_names()}.")
    arguments = read_json(path)
    if not isinstance(arguments, dict):
        raise ValueError(f"{path} holds a {type(arguments).__name__}: it must be a JSON object of arguments.")
    return arguments


def recipe_names() -> str:
    """The names of the recipes that the package brings along, as a list in a sentence."""
    return ", ".join(sorted(path.stem for path in RECIPES.glob("*.json")))


def parse_arguments(
    classes: Sequence[type], argv: Sequence[str], description: str | None = None, prog: str | None = None
) -> tuple[Any, ...]:
    """
    One instance of each dataclass from a command line that may have `--config`. `--help` prints the description first.

    Raises:
        ValueError: an argument that does not exist, a value that it can't have, or a file that is no JSON.
    """
    parser = CommandParser(classes, config=True, description=description, prog=prog)
    return parser.parse_args_into_dataclasses(argv, look_for_args_file=False)


def parse_training(
    argv: Sequence[str],
    description: str,
    prog: str,
    more: tuple[type, ...] = (),
    model: type = ModelArguments,
    options: type = TrainingOptions,
    data: type = DataArguments,
) -> tuple[Any, ...]:
    """
    `data`, `model`, transformers' `TrainingArguments` with `options`, and `more`, from the command line of a
    training. `--help` lists the options of this task, `--help_all` every option of transformers' too.

    Raises:
        ValueError: as `parse_arguments`.
    """

    description = f"{description}\nRecipes for --config: {recipe_names()}.\n"

    def parser(training: type) -> CommandParser:
        classes = (data, model, training, *more)
        made = CommandParser(classes, config=True, description=description, prog=prog)
        made.add_argument("--help_all", action="help", help="List the options of transformers' TrainingArguments too.")
        return made

    if {"-h", "--help"}.intersection(argv):
        parser(options).parse_args(["--help"])
    from ..training.training_arguments import TacfnFineTuningArguments, TacfnTrainingArguments

    training = TacfnFineTuningArguments if options is FineTuningOptions else TacfnTrainingArguments
    return parser(training).parse_args_into_dataclasses(argv, look_for_args_file=False)
