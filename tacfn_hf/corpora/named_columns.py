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
    Every column that an option names is there, and no other one is called like one of the schema.

    Raises:
        ValueError: else, or neither audio nor text is named.
    """
    if not named["audio_column"] and not named["text_column"]:
        raise ValueError("audio_column and text_column are both empty: a corpus needs one of them.")
    for option, column in named.items():
        if column not in present and (column or option == "label_column"):
            without = f", or give {option}= where there is none" if option in ("audio_column", "text_column") else ""
            raise ValueError(
                f"{where} has no column {column!r}; it has {', '.join(present)}: say which is the {option}{without}."
            )
    for column in present:
        if further_name(column) != column and further_name(column) in present and column not in named.values():
            raise ValueError(
                f"{where} has columns {column!r} and {further_name(column)!r}, which would be one: rename it."
            )
        option = f"{column}_column"
        if option in named and column not in named.values():
            raise ValueError(
                f"{where} has a column {column!r}, which is a name of the schema: say {option}={column}, or rename it."
            )


def further_name(column: str) -> str:
    """What a column is called that no option names."""
    return f"source_{column}" if column in SCHEMA else column


def utterances(
    table: pa.Table, features: Features, named: Mapping[str, str | None], where: str, ids: Iterable[str | None]
) -> list[dict[str, Any]]:
    """
    Of each row `id` (that of `ids` where no column is named), `text`, `label` as in the table, `speaker`, `group`.

    Raises:
        ValueError: a column of another type than strings or integers, a row without id or group, a number that is none
            of a class.
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
        rows.append({"id": id_, "group": group})
    speakers = [value and plain_label(value) for value in cells("speaker_column")]
    for name, values in (("text", cells("text_column")), ("label", labels), ("speaker", speakers)):
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def texts(table: pa.Table, column: str, where: str) -> list[str | None]:
    """The cells of a column of strings or integers as strings; an empty or blank one is None."""
    try:
        return [None if not cell or is_blank(cell) else cell for cell in as_text(table, where, column)]
    except TypeError as error:
        raise ValueError(str(error)) from error


def declared_names(features: Features, column: str) -> list[str] | None:
    """The names of a `ClassLabel`; None for a column of another kind."""
    return features[column].names if isinstance(features[column], ClassLabel) else None


def class_labels(labels: list[str | None], declared: Sequence[str] | None, where: str) -> list[str | None]:
    """The names that the numbers of a `ClassLabel` stand for."""
    if declared is None:
        return labels
    numbers = {str(i): name for i, name in enumerate(declared)} | {"-1": None}
    return [None if label is None else lookup(numbers, label, where, "label") for label in labels]


def check_words(
    rows: Sequence[Mapping[str, Any]], named: Mapping[str, str | None], declared: Sequence[str] | None, where: str
) -> None:
    """Warns where labels that are not declared, or texts, say "nan" or the like."""
    names = ["text"] if declared else ["label", "text"]
    warn_of_words_for_nothing(where, {named[f"{name}_column"]: [row[name] for row in rows] for name in names})


def name_labels(
    rows: list[dict[str, Any]], declared: Sequence[str] | None, where: str, fold_case: bool = False
) -> list[str]:
    """Makes `label` of each row the `corpus_label`, with a class name in its place; returns the class names."""
    found = {row["label"] for row in rows} - {None}
    if rows and not found:
        raise ValueError(f"{where} has no label in any row.")
    if declared:
        plain = {label: label for label in found}
        names = canonical_labels(declared)
    else:
        plain = {label: plain_label(label, fold_case) for label in found}
        labels = set(plain.values())
        names = canonical_labels(sorted(labels, key=int if all(map(str.isdecimal, labels)) else None))
        check_names(names, Counter(plain[row["label"]] for row in rows if row["label"] is not None), where)
    for row in rows:
        row["corpus_label"] = row["label"]
        row["label"] = names[plain[row["label"]]] if row["label"] is not None else None
    warn_of_one_label((row["label"] for row in rows), where)
    return list(dict.fromkeys(names.values()))


def check_names(names: Mapping[str, str], counts: Mapping[str, int], where: str) -> None:
    """
    Warns where a few labels are the reason that the others have no canonical names.

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
