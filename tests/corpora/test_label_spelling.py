"""Labels as people write them, in tables and as names of folders."""

import unicodedata
import warnings
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from layout import write_table, write_wav

from tacfn_hf.corpora.folder import load_folder


def with_labels(root: Path, labels: list[str], kind: str = "csv") -> Path:
    """A table with these labels, without audio."""
    if kind == "folders":
        for i, label in enumerate(labels):
            write_wav(root / label / f"{i}.wav")
        return root
    rows = [[f"u{i}", f"Sentence {i}.", label] for i, label in enumerate(labels)]
    write_table(root / f"table.{kind}", ["key", "text", "label"], rows)
    return root


def load_labels(root: Path, labels: list[str], kind: str = "csv", **options):
    """The corpus, and what it warns of."""
    columns = {} if kind == "folders" else {"audio_column": "", "id_column": "key"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        corpus = load_folder(with_labels(root, labels, kind), **columns, **options)["train"]
    return corpus, [str(warning.message) for warning in caught]


def names_of(corpus) -> list[str | None]:
    return [None if i is None else corpus.features["label"].names[i] for i in corpus["label"]]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_white_space_around_a_label_is_no_part_of_it(tmp_path, kind):
    labels = ["merry ", "merry", " \tgrim\u00a0", "grim", "  "]
    corpus, _ = load_labels(tmp_path, labels, kind)
    assert names_of(corpus) == ["merry", "merry", "grim", "grim", None]
    assert corpus["corpus_label"][:] == [*labels[:4], None]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "folders"])
@pytest.mark.parametrize(
    "labels",
    [
        [unicodedata.normalize("NFC", "müde"), unicodedata.normalize("NFD", "müde"), "froh"],
        ["so so", "so  so", "froh"],
        ["so so", "so\u00a0so", "froh"],
    ],
    ids=["forms of Unicode", "two spaces", "another space"],
)
def test_labels_that_look_alike_are_one(tmp_path, kind, labels):
    corpus, _ = load_labels(tmp_path, labels, kind)
    assert len(corpus.features["label"].names) == 2
    assert len(set(corpus["label"][:])) == 2


@pytest.mark.parametrize("kind", ["csv", "parquet", "folders"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["Merry", "MERRY", "grim", "MERRY"], r"labels that differ only in case, 'MERRY' \(2\), 'Merry' \(1\): "),
        (["Angry", "ANGRY", "NaN", "sad"], r"in case, 'ANGRY' \(1\), 'Angry' \(1\): .* say fold_case"),
    ],
)
def test_labels_that_differ_only_in_case(tmp_path, kind, labels, message):
    with pytest.raises(ValueError, match=message):
        load_labels(tmp_path, labels, kind)
    corpus, _ = load_labels(tmp_path, labels, kind, fold_case=True)
    found = dict(zip(corpus["corpus_label"], names_of(corpus)))
    assert found == {label: label.lower() for label in labels}


@pytest.mark.parametrize("fold_case", [True, False])
def test_case_is_of_no_interest_where_all_labels_are_known(tmp_path, fold_case):
    corpus, warned = load_labels(tmp_path, ["Angry", " ANGRY", "anger", "SAD"], fold_case=fold_case)
    assert names_of(corpus) == ["angry", "angry", "angry", "sad"]
    assert warned == []


@pytest.mark.parametrize("stray", ["NaN", "n/a", "?", "Sarcasm"])
def test_a_stray_label_that_keeps_the_others_from_their_names_is_named(tmp_path, stray):
    corpus, warned = load_labels(tmp_path, ["joy", "anger", "joy", stray, "sadness"])
    assert set(names_of(corpus)) == {"joy", "anger", "sadness", stray}
    assert any(f"not known as emotions, {stray!r} (1), beside" in warning for warning in warned)
    assert all("\n" not in warning for warning in warned)


@pytest.mark.parametrize("labels", [["joy", "anger", "", "sadness"], ["merry", "grim", "dull", "joy"], ["1", "2", "3"]])
def test_labels_without_a_stray_one(tmp_path, labels):
    assert load_labels(tmp_path, labels)[1] == []


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_words_for_nothing_are_words_and_are_named(tmp_path, kind):
    rows = [["a", "null", "NaN"], ["b", " none ", "sad"], ["c", "null", "sad"], ["d", None, "N/A"], ["e", "No.", None]]
    write_table(tmp_path / f"table.{kind}", ["key", "text", "label"], rows)
    with pytest.warns(UserWarning, match="They are read as words") as caught:
        corpus = load_folder(tmp_path, audio_column="", id_column="key")["train"]
    (warning,) = [str(one.message) for one in caught if "read as words" in str(one.message)]
    for found in ("1 'NaN' in column 'label'", "1 'N/A' in column 'label'", "2 'null' in column 'text'"):
        assert found in warning
    assert "1 'none' in column 'text'" in warning
    assert names_of(corpus) == ["NaN", "sad", "sad", "N/A", None]
    assert corpus["text"][:] == ["null", " none ", "null", None, "No."]


def test_declared_names_are_as_they_are(tmp_path):
    names = ["None", "none", " Angry"]
    kinds = {"key": Value("string"), "text": Value("string"), "label": ClassLabel(names=names)}
    data = {"key": ["a", "b", "c"], "text": ["Oh.", "No.", "Well."], "label": [0, 1, 2]}
    Dataset.from_dict(data, Features(kinds)).to_parquet(tmp_path / "table.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus = load_folder(tmp_path, audio_column="", id_column="key", fold_case=True)["train"]
    assert names_of(corpus) == corpus.features["label"].names == names


@pytest.mark.parametrize("labels", [["sad", "sad"], ["Sadness", "SAD "], ["merry", "", "merry"]])
def test_one_label_is_said(tmp_path, labels):
    corpus, warned = load_labels(tmp_path, labels)
    assert warned == [
        f"{tmp_path}/table.csv has only one label, {names_of(corpus)[0]!r}: a classifier needs two or more."
    ]
