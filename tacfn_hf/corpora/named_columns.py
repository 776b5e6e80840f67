"""Rows of a table or a dataset whose columns the user has named: ids, texts, speakers, groups and labels."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Features

from ..model.processing_tacfn import is_blank
from .corpus_files import lookup
from .emotions import canonical_labels, is_emotion
from .label_spelling import check_case, plain_label, warn_of_one_label, warn_of_words_for_nothing
from .schema import SCHEMA
from .tables import as_text


def check_columns(present: Sequence[str], named: Mapping[str, str | None], where: str) -> None:
    """
    Raises a ValueError unless the columns are such that rows can be made of them.

    Args:
        present: the columns of a table.
        named: the column that each option names, by the option. Each must be present, and one of audio and text be
            named. A column that no option names must not have the name of one of the schema.
        where: what messages call the table.
    """
    if not named["audio_column"] and not named["text_column"]:
        raise ValueError("audio_column and text_column are both empty: a corpus needs one of them.")
    for option, column in named.items():
        if column and column not in present:
            optional = ("audio_column", "text_column", "label_column")
            without = f", or give {option}= where there is none" if option in optional else ""
            raise ValueError(
                f"{where} has no column {column!r}; it has {', '.join(present)}: say which is the {option}{without}."
            )
    for column in present:
        if further_name(column) != column and further_name(column) in present and column not in named.values():
            raise ValueError(
                f"{where} has columns {column!r} and {further_name(column)!r}, which would be one: rename it."
            )
    unnamed = [column for column in present if f"{column}_column" in named and column not in named.values()]
    if unnamed:
        is_one = len(unnamed) == 1
        raise ValueError(
            f"{where} has {'a column' if is_one else 'columns'} {', '.join(map(repr, unnamed))}, which "
            f"{'is a name' if is_one else 'are names'} of the schema: say "
            f"{' '.join(f'{column}_column={column}' for column in unnamed)}, or rename {'it' if is_one else 'them'}."
        )


def further_name(column: str) -> str:
    """The name in the corpus of a column that no option names: its own, or source_ before that of the schema."""
    return f"source_{column}" if column in SCHEMA else column


def utterances(
    table: pa.Table, features: Features, named: Mapping[str, str | None], where: str, ids: Iterable[str | None]
) -> list[dict[str, Any]]:
    """
    The rows of a table, each with `id`, `text`, `label` as in the table, `speaker` and `group`.

    Args:
        table: with the columns that are named.
        features: of these columns.
        named: the column that each option names; see `check_columns`.
        where: what messages call the table.
        ids: those of the rows, if no column of ids is named.

    Raises:
        ValueError: a column of another type than strings or integers, a row without id or group, a number that a
            `ClassLabel` has no name for.
    """

    def cells(option: str) -> list[str | None]:
        column = named[option]
        return texts(table, column, where) if column else [None] * table.num_rows

    ids = cells("id_column") if named["id_column"] else list(ids)
    by = named["group_column"] or named["speaker_column"]
    groups = [value and plain_label(value) for value in texts(table, by, where)] if by else ids
    labels = class_labels(cells("label_column"), declared_names(features, named["label_column"]), where)
    rows = []
    for i, (id_, group) in enumerate(zip(ids, groups, strict=True)):
        if id_ is None:
            raise ValueError(f"Row {i} of {where} has no id: say id_column, and fill it in each row.")
        if group is None:
            raise ValueError(f"Row {i} of {where} has nothing in column {by!r}, which must say its group.")
        rows.append({"id": id_, "group": group, "corpus_label": None})
    speakers = [value and plain_label(value) for value in cells("speaker_column")]
    for name, values in (("text", cells("text_column")), ("label", labels), ("speaker", speakers)):
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def texts(table: pa.Table, column: str, where: str) -> list[str | None]:
    """The cells of a column of strings or integers as strings, None if blank; a ValueError refuses other columns."""
    try:
        return [None if not cell or is_blank(cell) else cell for cell in as_text(table, where, column)]
    except TypeError as error:
        raise ValueError(str(error)) from error


def declared_names(features: Features, column: str | None) -> list[str] | None:
    """The names of a `ClassLabel`; None for a column of another kind, or none."""
    if not column:
        return None
    return features[column].names if isinstance(features[column], ClassLabel) else None


def class_labels(labels: list[str | None], declared: Sequence[str] | None, where: str) -> list[str | None]:
    """The labels by name: numbers of a `ClassLabel` with the `declared` names, or names already."""
    if declared is None:
        return labels
    numbers = {str(i): name for i, name in enumerate(declared)} | {"-1": None}
    return [None if label is None else lookup(numbers, label, where, "label") for label in labels]


def check_words(
    rows: Sequence[Mapping[str, Any]], named: Mapping[str, str | None], declared: Sequence[str] | None, where: str
) -> None:
    """Warns where a text, or a label that is not a declared one, is "nan" or the like."""
    names = ["text"] if declared or not named["label_column"] else ["label", "text"]
    warn_of_words_for_nothing(where, {named[f"{name}_column"]: [row[name] for row in rows] for name in names})


def name_labels(
    rows: list[dict[str, Any]],
    declared: Sequence[str] | None,
    where: str,
    fold_case: bool = False,
    more: Sequence[str] = (),
) -> list[str]:
    """
    Moves the `label` of each row to `corpus_label`, and puts a class name in its place.

    Args:
        more: labels of classes that no row may have.

    Returns:
        The class names, in the order of their indices.

    Raises:
        ValueError: no row has a label, or labels differ only in case.
    """
    found = {row["label"] for row in rows} - {None}
    if rows and not found:
        raise ValueError(f"{where} has no label in any row.")
    if declared:
        plain = {label: label for label in found}
        names = canonical_labels([*declared, *more])
    else:
        plain = {label: plain_label(label, fold_case) for label in found}
        labels = {*plain.values(), *(plain_label(label, fold_case) for label in more)}
        names = canonical_labels(sorted(labels, key=int if all(map(str.isdecimal, labels)) else None))
        check_names(names, Counter(plain[row["label"]] for row in rows if row["label"] is not None), where)
    for row in rows:
        row["corpus_label"] = row["label"]
        row["label"] = names[plain[row["label"]]] if row["label"] is not None else None
    warn_of_one_label((row["label"] for row in rows), where)
    return list(dict.fromkeys(names.values()))


def check_names(names: Mapping[str, str], counts: Mapping[str, int], where: str) -> None:
    """
    Warns where most labels are known words for emotions and a few are not, so that all stay as they are.

    Raises:
        ValueError: labels that stay as they are differ only in case.
    """
    unknown = [label for label in names if not is_emotion(label)]
    if not unknown:
        return
    if len(unknown) <= len(names) - len(unknown):
        listed = ", ".join(f"{label!r} ({counts[label]})" for label in unknown)
        warnings.warn(
            f"{where} has labels that are not known as emotions, {listed}, beside others that are: all labels stay as "
            "they are.",
            stacklevel=4,
        )
    check_case(counts, where)
