"""Tables of utterances, as a corpus has them and as people have them."""

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from layout import write_text

from tacfn_hf.corpora.tables import as_text, read_rows, read_table


ROWS = [{"id": "007", "text": "Well, then", "label": "sad"}, {"id": "008", "text": 'Ça alors, "é"!', "label": None}]


def write(path: Path, encoding: str = "utf-8", separator: str | None = None) -> Path:
    """ROWS as a table of the kind that the suffix says."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    if path.suffix == ".jsonl":
        return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding)
    separator = separator or {".csv": ",", ".tsv": "\t"}[path.suffix]
    cells = [list(ROWS[0]), *([value or "" for value in row.values()] for row in ROWS)]
    lines = [separator.join('"' + cell.replace('"', '""') + '"' if cell else "" for cell in row) for row in cells]
    return write_text(path, "\r\n".join([*lines, separator * 2, "", ""]), encoding)  # empty rows, as of a spreadsheet


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_table(tmp_path, suffix):
    assert read_table(write(tmp_path / f"t{suffix}")).to_pylist() == ROWS
    assert read_table(write(tmp_path / f"T{suffix}").rename(tmp_path / f"T{suffix.upper()}")).to_pylist() == ROWS


def test_rows_of_a_corpus_are_dicts_of_strings(tmp_path):
    assert read_rows(write(tmp_path / "t.csv"), ["text"]) == [ROWS[0], {**ROWS[1], "label": ""}]
    with pytest.raises(ValueError, match="^The table .*t.csv has no column 'words'; it has id, text, label.$"):
        read_rows(tmp_path / "t.csv", ["text", "words"])


def test_a_cell_of_several_lines(tmp_path):
    write_text(tmp_path / "t.csv", '\ufeffid,text\r\n1,"Oh, ""no""\r\nreally"\r\n')
    assert read_table(tmp_path / "t.csv").to_pylist() == [{"id": "1", "text": 'Oh, "no"\nreally'}]


def test_columns_of_strings_and_integers_are_text(tmp_path):
    table = pa.table({"word": pa.array(["a", None]).dictionary_encode(), "number": [7, None], "score": [0.5, 1.0]})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert as_text(table, "t", "word") == ["a", None]
    assert as_text(table, "t", "number") == ["7", None]
    with pytest.raises(TypeError, match="^Column 'score' of t must hold strings or integers, but holds double.$"):
        as_text(table, "t", "score")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_other_encodings(tmp_path, suffix, encoding):
    path = write(tmp_path / f"t{suffix}", encoding)
    looks = "cp1252" if encoding == "latin-1" else encoding
    with pytest.raises(ValueError, match=f"t{suffix} is not in utf-8-sig.*looks like {looks}.*; say encoding={looks}"):
        read_table(path)
    assert read_table(path, encoding).to_pylist() == ROWS


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_plain_letters_of_two_bytes_are_valid_utf_8_but_no_table(tmp_path, encoding):
    path = write_text(tmp_path / "t.csv", "id,text\n1,So.\n", encoding)
    for wrong in ("utf-8-sig", "latin-1"):
        with pytest.raises(ValueError, match=f"is not in {wrong}: it looks like {encoding}; say encoding={encoding}"):
            read_table(path, wrong)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, encoding):
    path = write_text(tmp_path / "t.csv", "\ufeffid,text\n1,So.\n", encoding)
    assert read_table(path, encoding).column_names == ["id", "text"]


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_other_separators(tmp_path, suffix, separator):
    path = write(tmp_path / f"t{suffix}", separator=separator)
    if separator != {".csv": ",", ".tsv": "\t"}[suffix]:
        with pytest.raises(ValueError, match="in its head line .* separate its cells; say separator=") as caught:
            read_table(path)
        assert f"say separator={separator!r}." in str(caught.value)
    assert read_table(path, separator=separator).to_pylist() == ROWS
    if separator == "\t":
        assert read_table(path, separator="\\t").to_pylist() == ROWS


def test_rows_that_a_quotation_mark_joins_are_named(tmp_path):
    """As speech over two utterances is quoted where the marks are no marks of cells."""
    text = 'id\ttext\tlabel\na\t"Well, I told him\tangry\nb\tto leave me."\tsad\nc\tbye\thappy\n'
    write_text(tmp_path / "t.tsv", text)
    with pytest.warns(UserWarning, match="1 rows in which a cell has several lines .* first ends at line 3"):
        read_table(tmp_path / "t.tsv")
    write_text(tmp_path / "t.tsv", text.replace('me."', "me."))
    with pytest.raises(ValueError, match="t.tsv can't be read after line .*: .*must be doubled"):
        read_table(tmp_path / "t.tsv")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("absent.csv", {}, "The table .*absent.csv does not exist"),
        ("t.xlsx", {}, "t.xlsx must be one of .csv, .jsonl, .parquet, .tsv"),
        ("t.pkl", {}, "t.pkl can't be the table, pickles are never read"),
        ("t.parquet", {"encoding": "cp1252"}, "encoding is 'cp1252', but the table .*t.parquet is .parquet, which has"),
        ("t.jsonl", {"separator": ";"}, "separator is ';', but the table .*t.jsonl is .jsonl, which has none"),
        ("t.csv", {"encoding": "ascii"}, "is not in ascii at byte .*: it looks like utf-8; say encoding=utf-8"),
        ("t.csv", {"encoding": "utf-88"}, "encoding is 'utf-88': it must be one that Python knows"),
        ("t.csv", {"separator": ";;"}, "separator is ';;': it must be one character"),
        ("t.csv", {"separator": '"'}, "it must be one character"),
        ("t.csv", {"separator": "\n"}, "it must be one character"),
        ("t.csv", {"separator": ";"}, "has no ';' in its head line .*commas separate its cells; say separator=','"),
        ("short.csv", {}, "has 1 cells in the row that ends at line 3, but its head line has 2.$"),
        ("long.csv", {}, "has 3 cells in the row that ends at line 2, but its head line has 2.$"),
        ("open.csv", {}, "can't be read after line 3: unexpected end of data; a quotation mark"),
        ("empty.csv", {}, "empty.csv is empty: it has no head line"),
        ("twice.csv", {}, "has more than one column 'id'; column names must be unique"),
        ("torn.parquet", {}, "torn.parquet can't be read as .parquet"),
        ("torn.jsonl", {}, "torn.jsonl can't be read as .jsonl"),
    ],
)
def test_tables_that_can_not_be_read(tmp_path, name, options, message):
    for suffix in (".csv", ".jsonl", ".parquet"):
        write(tmp_path / f"t{suffix}")
    (tmp_path / "t.pkl").write_bytes(pickle.dumps([]))
    contents = {
        "t.xlsx": "",
        "short.csv": "id,text\n1,a\n2\n",
        "long.csv": "id,text\n1,a,b\n",
        "open.csv": 'id,text\n1,"a\n2,b\n',
        "empty.csv": "",
        "twice.csv": "id,id\n1,2\n",
        "torn.parquet": "torn",
        "torn.jsonl": '{"id": ',
    }
    if name in contents:
        write_text(tmp_path / name, contents[name])
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_table(tmp_path / name, **options)
    assert "\n" not in str(caught.value)
