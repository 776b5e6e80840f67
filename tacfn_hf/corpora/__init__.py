"""Corpora of emotional speech by name, all in one schema."""

import inspect
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import DatasetDict


# The module of each corpus has its name, and a reader load_<name>, whose keyword arguments are the corpus' options. It
# is imported when it is used: this list is all that a command's --help needs.
CORPORA = (
    "iemocap",
    "meld",
    "mosei",
    "msp_podcast",
    "msp_improv",
    "ravdess",
    "crema_d",
    "emodb",
    "esd",
    "savee",
    "tess",
    "diagnostic",
    "folder",
    "hub",
)


def load_corpus(name: str, root: str | os.PathLike, *, skip_bad_files: bool = False, **options: Any) -> "DatasetDict":
    """
    Opens a corpus in the folder that it was delivered as. No audio is decoded.

    The splits have the columns `id, audio, text, label, corpus_label, speaker, group, duration` and what the corpus
    also has. `label` is a `ClassLabel` with names that are the same in all corpora, `group` what must not be divided
    between training and test. A corpus without an official partition is all "train": its protocol are folds over
    `group`.

    Args:
        name: one of `CORPORA`.
        root: the folder.
        skip_bad_files: leave out rows whose audio can't be opened, with a warning, instead of raising. `allow_missing`
            of a reader is about files that are not there.
        options: those of the corpus' reader.

    Raises:
        ValueError: an unknown name or option, another folder, missing files, annotations that can't be read.
        schema.BadFilesError: files that can't be opened, all of them.
    """
    from .schema import BadFilesError

    known = corpus_options(name)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}: it has {', '.join(known) or 'none'}.")
    try:
        return reader_of(name)(root, **options)
    except BadFilesError as error:
        if not skip_bad_files:
            raise
        return error.without_bad_files()


def reader_of(name: str) -> "Callable[..., DatasetDict]":
    """
    The function that opens a corpus, given its root and its options.

    Raises:
        ValueError: no corpus has the name.
    """
    if name not in CORPORA:
        raise ValueError(f"There is no corpus {name!r}: the known ones are {', '.join(CORPORA)}.")
    return getattr(import_module(f".{name}", __name__), f"load_{name}")


def corpus_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a corpus by their names, with the one that all corpora have, `skip_bad_files`."""
    parameters = inspect.signature(reader_of(name)).parameters
    own = {option: parameter for option, parameter in parameters.items() if option != "root"}
    return own | {"skip_bad_files": inspect.signature(load_corpus).parameters["skip_bad_files"]}


def parse_options(name: str, assignments: Sequence[str]) -> dict[str, Any]:
    """
    Options from a command line, such as `["labels=6", "allow_missing=true"]`.

    Raises:
        ValueError: not of the form name=value, or true or false is wanted.
    """
    known, options = corpus_options(name), dict[str, Any]()
    for assignment in assignments:
        option, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"The option {assignment!r} is not of the form name=value.")
        if option in known and isinstance(known[option].default, bool):
            if value.lower() not in ("true", "false"):
                raise ValueError(f"The option {option} is {value!r}: it must be true or false.")
            options[option] = value.lower() == "true"
        else:
            options[option] = value
    return options
