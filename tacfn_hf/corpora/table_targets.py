"""Votes, several labels and values in the columns of a user's table."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, List, Value

from .annotators import vote_count, vote_feature
from .emotions import canonical_labels
from .label_spelling import check_case, plain_label, warn_of_words_for_nothing
from .named_columns import texts
from .schema import SCHEMA


def split_names(option: str | None) -> list[str]:
    """The names in an option that has commas between them."""
    return [name.strip() for name in (option or "").split(",") if name.strip()]


def check_present(table: pa.Table, columns: Sequence[str], option: str, made: str | None, where: str) -> None:
    """A ValueError where a column of an option is not there, or the one that is made of them is."""
    if columns and made in table.column_names and made not in columns:
        raise ValueError(f"{where} has a column {made!r} beside {option}, which make one: rename it.")
    for column in columns:
        if column not in table.column_names:
            raise ValueError(
                f"{where} has no column {column!r}, which {option} names; it has {', '.join(table.column_names)}."
            )


def votes_of(table: pa.Table, voted: Sequence[str], where: str) -> list[dict[str, int] | None]:
    """The votes of each row by the column; None where its cells are empty. A ValueError refuses other cells."""
    check_present(table, voted, "vote_columns", "votes", where)
    cells = {column: texts(table, column, where) for column in voted}
    rows = [{column: cells[column][i] for column in voted} for i in range(table.num_rows)]
    return [
        None
        if all(cell is None for cell in row.values())
        else {column: vote_count(cell or "0", f"Row {i} of {where}", column) for column, cell in row.items()}
        for i, row in enumerate(rows)
    ]


def add_votes(
    rows: list[dict[str, Any]], votes: list[dict[str, int] | None], names: Sequence[str], fold_case: bool
) -> Any:
    """Gives the rows `votes` for classes among `names`; returns the feature of the column."""
    columns = next((list(of_row) for of_row in votes if of_row is not None), [])
    classes = {column: class_of(column, names, fold_case) for column in columns}
    for row, of_row in zip(rows, votes, strict=True):
        row["votes"] = None if of_row is None else dict.fromkeys(classes.values(), 0)
        for column, count in (of_row or {}).items():
            row["votes"][classes[column]] += count
    return vote_feature(dict.fromkeys(classes.values()))


def class_of(column: str, names: Sequence[str], fold_case: bool) -> str:
    """The class that a column of votes is called like."""
    label = plain_label(column, fold_case)
    return label if label in names else canonical_labels([label])[label]


def add_several(
    rows: list[dict[str, Any]],
    table: pa.Table,
    columns: Sequence[str],
    separator: str | None,
    where: str,
    fold_case: bool = False,
) -> Any:
    """
    Gives the rows `labels`, a list of classes, or None where the cells are empty; returns the feature of the column.

    Args:
        columns: one that has labels with a separator between them, or several of 0 and 1 that are called like a label.
        separator: None for columns of 0 and 1.

    Raises:
        ValueError: a column that is not there, several columns and a separator, a cell that is neither 0 nor 1, no
            label in any row, labels that differ only in case unless `fold_case` makes them alike.
    """
    check_present(table, columns, "labels_columns", "labels", where)
    cells = {column: texts(table, column, where) for column in columns}
    found: list[list[str] | None] = []
    if separator:
        if len(columns) != 1:
            raise ValueError(f"label_separator is {separator!r}, but labels_columns names {len(columns)}: name one.")
        for cell in cells[columns[0]]:
            parts = None if cell is None else [of for of in cell.split(separator) if of.strip()]
            found.append(None if parts is None else [plain_label(of, fold_case) for of in parts])
    else:
        for i, of_row in enumerate(zip(*cells.values(), strict=True)):
            wrong = [cell for cell in of_row if cell not in ("0", "1", "0.0", "1.0")]
            if wrong and any(cell is not None for cell in of_row):
                hint = ": give label_separator if it has several labels in a cell" if len(columns) == 1 else ""
                raise ValueError(f"Row {i} of {where} has {wrong[0]!r} in its labels_columns, not 0 or 1{hint}.")
            there = [column for column, cell in zip(columns, of_row) if cell in ("1", "1.0")]
            found.append(None if wrong else [plain_label(column, fold_case) for column in there])
    labels = [plain_label(column, fold_case) for column in columns] if not separator else []
    counts = Counter(label for of_row in found for label in of_row or ())
    labels = labels or sorted(counts)
    if not labels:
        raise ValueError(f"{where} has no label in any row of {', '.join(columns)}.")
    check_case(dict.fromkeys(labels, 0) | counts, where)
    warn_of_words_for_nothing(where, {columns[0]: counts.elements()})
    classes = canonical_labels(labels)
    names = list(dict.fromkeys(classes.values()))
    for row, of_row in zip(rows, found, strict=True):
        plain = None if of_row is None else [classes[label] for label in of_row]
        row["labels"] = None if plain is None else sorted({names.index(label) for label in plain})
    return List(ClassLabel(names=names))


def add_values(rows: list[dict[str, Any]], table: pa.Table, columns: Sequence[str], where: str) -> dict[str, Any]:
    """Gives the rows the numbers of columns, None where a cell is empty; returns the features of the columns."""
    check_present(table, columns, "value_columns", None, where)
    taken = [column for column in columns if column in SCHEMA]
    if taken:
        raise ValueError(f"value_columns names {taken[0]!r}, which is a name of the schema: rename the column.")
    for column in columns:
        for i, (row, cell) in enumerate(zip(rows, table.column(column).to_pylist(), strict=True)):
            try:
                row[column] = None if cell is None or cell == "" else float(cell)
            except (TypeError, ValueError) as error:
                raise ValueError(f"Row {i} of {where} has {cell!r} in column {column}: it must be a number.") from error
    return dict.fromkeys(columns, Value("float64"))
