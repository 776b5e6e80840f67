"""Corpora of emotional speech by name, all in one schema."""

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

from datasets import DatasetDict

from .crema_d import load_crema_d
from .diagnostic import load_diagnostic
from .emodb import load_emodb
from .esd import load_esd
from .folder import load_folder
from .hub import load_hub
from .iemocap import load_iemocap
from .meld import load_meld
from .mosei import load_mosei
from .msp_improv import load_msp_improv
from .msp_podcast import load_msp_podcast
from .ravdess import load_ravdess
from .savee import load_savee
from .schema import BadFilesError
from .tess import load_tess


# The reader of each corpus; its keyword arguments are the corpus' options.
CORPORA: dict[str, Callable[..., DatasetDict]] = {
    "iemocap": load_iemocap,
    "meld": load_meld,
    "mosei": load_mosei,
    "msp_podcast": load_msp_podcast,
    "msp_improv": load_msp_improv,
    "ravdess": load_ravdess,
    "crema_d": load_crema_d,
    "emodb": load_emodb,
    "esd": load_esd,
    "savee": load_savee,
    "tess": load_tess,
    "diagnostic": load_diagnostic,
    "folder": load_folder,
    "hub": load_hub,
}


def load_corpus(name: str, root: str | os.PathLike, *, skip_bad_files: bool = False, **options: Any) -> DatasetDict:
    """
    Opens a corpus in the folder that it was delivered as. No audio is decoded.

    The splits have the columns `id, audio, text, label, corpus_label, speaker, group, duration` and what the corpus
    also has. `label` is a `ClassLabel` with names that are the same in all corpora, `group` what must not be divided
    between training and test. A corpus without an official partition is all "train": its protocol are folds over
    `group`.

    Args:
        name: a key of `CORPORA`.
        root: the folder.
        skip_bad_files: leave out rows whose audio can't be opened, with a warning, instead of raising. `allow_missing`
            of a reader is about files that are not there.
        options: those of the corpus' reader.

    Raises:
        ValueError: an unknown name or option, another folder, missing files, annotations that can't be read.
        BadFilesError: files that can't be opened, all of them.
    """
    known = corpus_options(name)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}: it has {', '.join(known) or 'none'}.")
    try:
        return CORPORA[name](root, **options)
    except BadFilesError as error:
        if not skip_bad_files:
            raise
        return error.without_bad_files()


def corpus_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a corpus by their names, with the one that all corpora have, `skip_bad_files`."""
    if name not in CORPORA:
        raise ValueError(f"There is no corpus {name!r}: the known ones are {', '.join(CORPORA)}.")
    parameters = inspect.signature(CORPORA[name]).parameters
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
