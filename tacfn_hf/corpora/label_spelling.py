"""Labels as people write them: each in one form, and warnings of what is probably a mistake."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping

from .similar_paths import one_form


# Words that other programs write into a cell without a value. Here they are words: only an empty cell has no value.
WORDS_FOR_NOTHING = {"nan", "na", "n/a", "null", "none"}


def plain_label(label: str, fold_case: bool = False) -> str:
    """
    A label, or the name of a speaker or group, in one form of Unicode, without white space around it and with single
    spaces within; in lower case if `fold_case`.
    """
    label = " ".join(one_form(label).split())
    return label.lower() if fold_case else label


def check_case(
    counts: Mapping[str, int], where: str | os.PathLike, otherwise: str = "say fold_case to make all labels lower case"
) -> None:
    """
    Raises a ValueError where two labels differ only in case.

    Args:
        counts: the number of rows of each label; the message has them.
        where: what the message calls the table.
        otherwise: what the message suggests besides writing the labels alike.
    """
    alike: dict[str, list[str]] = {}
    for label in sorted(counts):
        alike.setdefault(label.lower(), []).append(label)
    found = [f"{label!r} ({counts[label]})" for labels in alike.values() if len(labels) > 1 for label in labels]
    if found:
        raise ValueError(
            f"{where} has labels that differ only in case, {', '.join(found)}: write them alike, or {otherwise}."
        )


def warn_of_words_for_nothing(where: str | os.PathLike, columns: Mapping[str, Iterable[str | None]]) -> None:
    """Warns where cells of the columns say "nan", "none" or the like, since that is text and not a missing value."""
    found = []
    for column, cells in columns.items():
        words = [cell.strip() for cell in cells if cell is not None]
        counts = Counter(word for word in words if word.lower() in WORDS_FOR_NOTHING)
        found += [f"{count} {word!r} in column {column!r}" for word, count in counts.items()]
    if found:
        warnings.warn(
            f"{where} has {', '.join(found)}. They are read as words: where a value is missing, leave the cell empty.",
            stacklevel=3,
        )


def warn_of_one_label(labels: Iterable[str | None], where: str | os.PathLike) -> None:
    """Warns where all rows that have a label have the same."""
    found = set(labels) - {None}
    if len(found) == 1:
        warnings.warn(f"{where} has only one label, {found.pop()!r}: a classifier needs two or more.", stacklevel=3)
