"""Corpora by name, and their options from Python and from a command line."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import Dataset, DatasetDict
from layout import write_text, write_wav

from tacfn_hf.corpora import CORPORA, corpus_options, load_corpus, parse_options
from tacfn_hf.corpora.schema import BadFilesError


@pytest.fixture
def root(tmp_path):
    write_wav(tmp_path / "a.wav")
    write_text(tmp_path / "table.csv", "audio,words,label\na.wav,Oh.,sad\nb.wav,No.,angry\n")
    return tmp_path


def test_options_reach_the_reader(root):
    with pytest.warns(UserWarning, match="1 of 2 audio files"):
        corpus = load_corpus("folder", root, **parse_options("folder", ["text_column=words", "allow_missing=True"]))
    assert isinstance(corpus, DatasetDict)
    assert corpus["train"]["text"][:] == ["Oh.", "No."]


def test_options_of_a_corpus():
    options = corpus_options("folder")
    assert "root" not in options
    assert options["allow_missing"].default is False
    assert options["text_column"].default == "text"
    assert list(corpus_options("ravdess")) == ["skip_bad_files"]  # which all have


@pytest.mark.parametrize("name", CORPORA)
def test_every_option_has_a_default_that_a_command_line_can_replace(name):
    for option, parameter in corpus_options(name).items():
        assert parameter.default is None or isinstance(parameter.default, str | bool), option


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_says_what_is_wrong_with_its_root(name, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        load_corpus(name, str(tmp_path / "nowhere"))


def test_assignments():
    assert parse_options("folder", []) == {}
    assert parse_options("folder", ["allow_missing=FALSE", "table=a=b.csv", "text_column=", "label_column=true"]) == {
        "allow_missing": False,
        "table": "a=b.csv",
        "text_column": "",
        "label_column": "true",
    }


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("allow_missing", "^The option 'allow_missing' is not of the form name=value.$"),
        ("allow_missing=yes", "^The option allow_missing is 'yes': it must be true or false.$"),
    ],
)
def test_assignments_that_are_none(assignment, message):
    with pytest.raises(ValueError, match=message):
        parse_options("folder", [assignment])


def test_names_and_options_that_are_not_known(tmp_path):
    for function in (corpus_options, lambda name: parse_options(name, []), lambda name: load_corpus(name, tmp_path)):
        with pytest.raises(ValueError, match="^There is no corpus 'nobody': the known ones are .*ravdess"):
            function("nobody")
    with pytest.raises(ValueError, match="^folder has no option 'fold': it has table, audio_column"):
        load_corpus("folder", tmp_path, **parse_options("folder", ["fold=1"]))
    with pytest.raises(ValueError, match="^ravdess has no option 'fold': it has skip_bad_files.$"):
        load_corpus("ravdess", tmp_path, fold="1")


# --- bad files, in a corpus by the names of its files, in one with a table, and in a dataset

BAD = {"03-01-05-01-01-01-01": b"", "03-01-05-01-01-01-02": b"RIFF", "03-01-04-01-01-01-03": b"no audio"}
GOOD = ("03-01-04-01-01-01-01", "03-01-05-01-01-01-03")


def make_corpus(kind: str, root: Path, names: list[str]) -> Path:
    """The files of these names as a corpus of that kind; those of actor 3 are its test split, where it has splits."""
    for name in names:
        path = root / f"Actor_{name[-2:]}" / f"{name}.wav"
        write_wav(path)
        if name in BAD:
            path.write_bytes(BAD[name])
    if kind == "ravdess":
        return root
    rows = [
        {
            "audio": f"Actor_{name[-2:]}/{name}.wav",
            "text": "Oh.",
            "label": "sad" if name[7] == "4" else "angry",
            "key": name,
            "split": "test" if name.endswith("3") else "train",
            "take": int(name[-1]),
        }
        for name in names
    ]
    if kind == "folder":
        pa.parquet.write_table(pa.Table.from_pylist(rows), root / "table.parquet")
        return root
    for row in rows:
        row["audio"] = {"bytes": (root / row["audio"]).read_bytes(), "path": row["audio"]}
    parts = {
        split: [row for row in rows if row["split"] == split] for split in dict.fromkeys(row["split"] for row in rows)
    }
    DatasetDict({split: Dataset.from_list(part) for split, part in parts.items()}).save_to_disk(root / "saved")
    return root / "saved"


OPTIONS = {
    "ravdess": {},
    "folder": {"id_column": "key", "split_column": "split"},
    "hub": {"id_column": "key", "group_column": "key"},
}


def same(corpus: DatasetDict) -> dict:
    """All that a corpus holds but the folder that it is in."""
    rows = {name: split.to_list() for name, split in corpus.items()}
    for row in (row for split in rows.values() for row in split):
        row["audio"]["path"] = Path(row["audio"]["path"]).name
    return rows


@pytest.mark.filterwarnings("ignore:RAVDESS, utterances")
@pytest.mark.parametrize("kind", OPTIONS)
def test_bad_files_are_an_error_that_names_all_or_are_left_out(tmp_path, kind):
    root = make_corpus(kind, tmp_path / "all", sorted([*BAD, *GOOD]))
    with pytest.raises(BadFilesError, match="^3 of 5 audio files of .* can't be opened") as caught:
        load_corpus(kind, root, **OPTIONS[kind])
    assert all(name in str(caught.value) for name in BAD)
    with pytest.warns(UserWarning, match="^3 of 5 audio files .*, and their rows are left out: ") as warned:
        corpus = load_corpus(kind, root, skip_bad_files=True, **OPTIONS[kind])
    (warning,) = [str(one.message) for one in warned if "left out" in str(one.message)]
    description = next(iter(corpus.values())).info.description
    assert "left out       3 whose audio can't be opened (" in description
    assert "without label  0" in description
    assert all(name in warning and name in description for name in BAD)
    assert same(corpus) == same(load_corpus(kind, make_corpus(kind, tmp_path / "good", list(GOOD)), **OPTIONS[kind]))


def test_a_split_of_bad_files_alone_goes_and_a_corpus_of_them_is_an_error(tmp_path):
    root = make_corpus("folder", tmp_path / "a", [GOOD[0], "03-01-04-01-01-01-03"])
    with pytest.warns(UserWarning, match="left out"):
        assert list(load_corpus("folder", root, skip_bad_files=True, **OPTIONS["folder"])) == ["train"]
    root = make_corpus("folder", tmp_path / "b", list(BAD))
    with pytest.raises(BadFilesError, match="^3 of 3 "):
        load_corpus("folder", root, skip_bad_files=True, **OPTIONS["folder"])


def test_what_a_left_out_row_lacks_is_not_counted(root):
    write_text(root / "a.wav", "")
    write_wav(root / "b.wav")
    write_text(root / "table.csv", "audio,text,label,key\na.wav,,,1\nb.wav,No.,angry,2\n,Well.,sad,3\n")
    with pytest.warns(UserWarning, match="^1 of 2 audio files"):
        corpus = load_corpus("folder", root, id_column="key", skip_bad_files=True)["train"]
    counts = [line.split() for line in corpus.info.description.splitlines()[1:]]
    assert counts == [["without", "audio", "1"], ["without", "text", "0"], ["without", "label", "0"]]
