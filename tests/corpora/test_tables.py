"""Tables of utterances, as a corpus has them and as people have them."""

import pytest
from layout import write_text

from tacfn_hf.corpora.tables import read_rows


def test_csv_files(tmp_path):
    path = write_text(tmp_path / "a.csv", '\ufeffid,text\r\n1,"Oh, ""no""\r\nreally"\r\n\r\n2,\r\n')
    assert read_rows(path, ["text"]) == [{"id": "1", "text": 'Oh, "no"\nreally'}, {"id": "2", "text": ""}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,words\n", "a.csv has no column 'text'; it has id, words.$"),
        ("", "a.csv is empty: it has no head line.$"),
        ("id,text\n1,a\n2\n", "a.csv has 1 cells in the row that ends at line 3, but its head line has 2.$"),
        ("id,text\n1,a,b\n", "3 cells in the row that ends at line 2, "),
        ('id,text\n1,"a\n2,b\n', "a.csv can't be read after line 3: unexpected end of data; a quotation mark"),
    ],
)
def test_csv_files_that_are_none(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write_text(tmp_path / "a.csv", text), ["text"])
