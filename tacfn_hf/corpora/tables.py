"""A user's own table of utterances: reading it, and its labels as people write them."""

import codecs
import csv
import io
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from ..paths import one_form


PICKLE_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".joblib"}
TABLE_SUFFIXES = {".parquet", ".csv", ".tsv", ".jsonl"}
NO_PICKLE = "pickles are never read because they can run code: convert the arrays with numpy.save to .npy files"
ENCODING = "utf-8-sig"  # of tables: UTF-8, with or without a byte order mark
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# What other programs write where there is nothing; here only an empty cell says so.
WORDS_FOR_NOTHING = {"nan", "na", "n/a", "null", "none"}


def read_table(path: str | os.PathLike, encoding: str = ENCODING, separator: str | None = None) -> pa.Table:
    """
    Reads a .parquet, .csv, .tsv or .jsonl file. In CSV and TSV every column is text: 007 stays 007.

    Args:
        encoding: of CSV, TSV and JSONL.
        separator: what is between the cells in CSV and TSV. None: a comma in .csv, a tab in .tsv.
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
    except (pa.ArrowException, csv.Error) as error:
        raise ValueError(f"The table {path} can't be read as {suffix}: {error}") from error
    if len(set(rows.column_names)) < len(rows.column_names):
        twice = [name for name, count in Counter(rows.column_names).items() if count > 1]
        raise ValueError(f"The table {path} has more than one column {twice[0]!r}; column names must be unique.")
    for i, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):  # pandas' categories, which datasets can't hold
            rows = rows.set_column(i, field.name, rows.column(i).cast(field.type.value_type))
    return rows


def read_text(path: Path, encoding: str) -> str:
    """The text of a table; where it is in another encoding, a ValueError says which one it looks like."""
    data = path.read_bytes()
    try:
        text = data.decode(encoding)
    except LookupError as error:
        raise ValueError(f"encoding is {encoding!r}: it must be one that Python knows, such as cp1252.") from error
    except UnicodeDecodeError as error:
        found = f"is not in {encoding} at byte {error.start}"
        raise ValueError(f"The table {path} {found}: {looks_encoded(data, error.start)}.") from error
    if text.count("\0") > len(text) / 4:
        raise ValueError(f"The table {path} is not in {encoding}: {looks_encoded(data, 0)}.")
    return text.removeprefix("\ufeff")  # which utf-8 and utf-16-le keep


def looks_encoded(data: bytes, place: int) -> str:
    """Which encoding bytes look like that are not in the one that was tried, which fails at `place`; for a message."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        likely = "utf-32"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        likely = "utf-16"
    elif data.count(0) > len(data) / 4:  # every other byte of plain letters
        likely = "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"
    else:
        try:
            data.decode("utf-8")
            likely = "utf-8"
        except UnicodeDecodeError:
            some = data[max(0, place - 10) : place + 10].decode("cp1252", "replace")
            return (
                f"it looks like cp1252 (or latin-1), where the text at this place is {some!r}; say encoding=cp1252, or "
                "the encoding that it has"
            )
    return f"it looks like {likely}; say encoding={likely}"


def read_delimited(path: Path, encoding: str, separator: str) -> pa.Table:
    """A CSV or TSV file with a head line as columns of strings; an empty cell is null."""
    separator = "\t" if separator == r"\t" else separator  # as a command line has it
    if len(separator) != 1 or separator in '"\r\n':
        raise ValueError(f"separator is {separator!r}: it must be one character, such as ; or \\t for a tab.")
    text = read_text(path, encoding)
    line = next(io.StringIO(text, newline=None), "").rstrip("\n")
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
            if not any(row):  # a line of nothing, as spreadsheets leave them at the end
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
            f"{path} has {len(long)} rows with a cell of several lines in which {separator!r} occurs, the first ends "
            f"at line {long[0]}: a quotation mark that is no mark of a cell joins rows to one. See whether it did.",
            stacklevel=3,
        )
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=head)


def check_column(rows: pa.Table, table: str | os.PathLike, column: str) -> None:
    if column not in rows.column_names:
        raise ValueError(f"The table {table} has no column {column!r}; it has {', '.join(rows.column_names)}.")


def as_text(rows: pa.Table, table: str | os.PathLike, column: str) -> list[str | None]:
    """A column of strings or integers as strings."""
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


def plain_label(label: str, fold_case: bool = False) -> str:
    """
    A label, or what speakers and groups are called, in one form of Unicode, with single spaces in it and none around
    it; in lower case where that is wanted.
    """
    label = " ".join(one_form(label).split())
    return label.lower() if fold_case else label


def check_case(
    counts: Mapping[str, int], where: str | os.PathLike, otherwise: str = "say fold_case to make all labels lower case"
) -> None:
    """
    No two labels differ only in case.

    Raises:
        ValueError: some do; the message has them with their counts, and `otherwise` as a way out.
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
    """Warns where cells say "nan", "none" or the like, which are words here: what is missing is an empty cell."""
    found = []
    for column, cells in columns.items():
        words = [cell.strip() for cell in cells if cell is not None]
        counts = Counter(word for word in words if word.lower() in WORDS_FOR_NOTHING)
        found += [f"{count} {word!r} in column {column!r}" for word, count in counts.items()]
    if found:
        warnings.warn(
            f"{where} has {', '.join(found)}, which are taken for what they say: empty these cells where they stand "
            "for nothing.",
            stacklevel=3,
        )


def warn_of_one_label(labels: Iterable[str | None], where: str | os.PathLike) -> None:
    """Warns where all rows have the same label."""
    found = set(labels) - {None}
    if len(found) == 1:
        warnings.warn(f"{where} has only one label, {found.pop()!r}: a model needs two to tell apart.", stacklevel=3)


def describe_counts(counts: dict[str, int]) -> str:
    """Counts with their names, without those that are 0; "none" where all are."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
