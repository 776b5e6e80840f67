"""Tables of utterances, a user's or a corpus' own: .parquet, .csv, .tsv and .jsonl."""

import csv
import io
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from .corpus_files import likely_encoding, read_text


PICKLE_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".joblib"}
TABLE_SUFFIXES = {".parquet", ".csv", ".tsv", ".jsonl"}
NO_PICKLE = "pickles are never read because they can run code: convert the arrays with numpy.save to .npy files"
ENCODING = "utf-8-sig"  # UTF-8, with or without a byte order mark
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_table(path: str | os.PathLike, encoding: str = ENCODING, separator: str | None = None) -> pa.Table:
    """
    Reads a .parquet, .csv, .tsv or .jsonl file. In CSV and TSV every column is text (007 stays 007), and an empty cell
    is null.

    Args:
        path: the file.
        encoding: of CSV, TSV and JSONL.
        separator: the character between the cells in CSV and TSV. None: a comma in .csv, a tab in .tsv.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: another kind of file, another encoding or separator, a file that can't be read, two columns of one
            name, or a row with another number of cells than the head line.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise ValueError(f"{path} can't be the table, {NO_PICKLE}, and the table to .parquet or .csv.")
    if suffix not in TABLE_SUFFIXES:
        raise ValueError(f"The table {path} must be one of {', '.join(sorted(TABLE_SUFFIXES))}.")
    if not path.is_file():
        raise FileNotFoundError(f"The table {path} does not exist.")
    if separator and suffix not in (".csv", ".tsv"):
        raise ValueError(f"separator is {separator!r}, but the table {path} is {suffix}, which has none.")
    if encoding != ENCODING and suffix == ".parquet":
        raise ValueError(f"encoding is {encoding!r}, but the table {path} is {suffix}, which has none.")
    try:
        if suffix == ".parquet":
            rows = pa.parquet.read_table(path)
        elif suffix == ".jsonl":
            rows = pa.json.read_json(pa.BufferReader(read_text(path, encoding).encode()))
        else:
            rows = read_delimited(path, encoding, separator or ("," if suffix == ".csv" else "\t"))
    except UnicodeError as error:
        likely = likely_encoding(path.read_bytes())
        raise ValueError(f"{str(error).removesuffix('.')}; say encoding={likely}, or the one that it has.") from error
    except pa.ArrowException as error:
        raise ValueError(f"The table {path} can't be read as {suffix}: {error}") from error
    if len(set(rows.column_names)) < len(rows.column_names):
        twice = [name for name, count in Counter(rows.column_names).items() if count > 1]
        raise ValueError(f"The table {path} has more than one column {twice[0]!r}; column names must be unique.")
    for i, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):  # pandas' categories, which datasets can't hold
            rows = rows.set_column(i, field.name, rows.column(i).cast(field.type.value_type))
    return rows


def read_rows(path: Path, columns: Sequence[str], encoding: str = ENCODING) -> list[dict[str, str]]:
    """
    The rows of a corpus' own CSV file as dicts of strings; an empty cell is "".

    Raises:
        ValueError: one of `columns` is not there, and what `read_table` refuses.
    """
    table = read_table(path, encoding)
    for column in columns:
        check_column(table, path, column)
    return [{name: cell or "" for name, cell in row.items()} for row in table.to_pylist()]


def read_delimited(path: Path, encoding: str, separator: str) -> pa.Table:
    """A CSV or TSV file with a head line as columns of strings; an empty cell is null. Raises as `read_table`."""
    separator = "\t" if separator == r"\t" else separator  # as a command line has it
    if len(separator) != 1 or separator in '"\r\n':
        raise ValueError(f"separator is {separator!r}: it must be one character, such as ; or \\t for a tab.")
    text = read_text(path, encoding)
    line = text.partition("\n")[0]
    other = max(SEPARATORS, key=line.count)
    if separator not in line and other in line:
        raise ValueError(
            f"{path} has no {separator!r} in its head line {line[:80]!r}: it looks as if {SEPARATORS[other]} separate "
            f"its cells; say separator={other!r}."
        )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, long = [], []
    try:
        head = next(reader, [])
        if not head:
            raise ValueError(f"The table {path} is empty: it has no head line.")
        for row in reader:
            if not any(row):  # an empty line, as spreadsheets leave them at the end
                continue
            if len(row) != len(head):
                raise ValueError(
                    f"{path} has {len(row)} cells in the row that ends at line {reader.line_num}, "
                    f"but its head line has {len(head)}."
                )
            if any(separator in part for cell in row for part in cell.split("\n")[1:]):
                long.append(reader.line_num)
            rows.append([cell or None for cell in row])
    except csv.Error as error:
        raise ValueError(
            f"The table {path} can't be read after line {reader.line_num}: {error}; a quotation mark within a cell "
            "must be doubled, in a cell that is in quotation marks."
        ) from error
    if long:
        warnings.warn(
            f"{path} has {len(long)} rows in which a cell has several lines and {separator!r} in them; the first ends "
            f"at line {long[0]}. A single quotation mark in a text joins rows to one: check these rows.",
            stacklevel=3,
        )
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=head)


def check_column(rows: pa.Table, table: str | os.PathLike, column: str) -> None:
    """Raises a ValueError that lists the columns where this one is not among them; `table` is what it calls them."""
    if column not in rows.column_names:
        raise ValueError(f"The table {table} has no column {column!r}; it has {', '.join(rows.column_names)}.")


def as_text(rows: pa.Table, table: str | os.PathLike, column: str) -> list[str | None]:
    """
    A column of strings or integers as strings.

    Raises:
        TypeError: the column holds something else; `table` is what the message calls the table.
    """
    type_ = rows.schema.field(column).type
    if not (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_null(type_)
    ):
        raise TypeError(f"Column {column!r} of {table} must hold strings or integers, but holds {type_}.")
    return rows.column(column).cast(pa.string()).to_pylist()


def describe_counts(counts: dict[str, int]) -> str:
    """Counts with their names, without those that are 0; "none" where all are."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
