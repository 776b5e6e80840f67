"""RAVDESS: on a small copy of its layout, and on its real clips under their official names."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora import load_corpus


def make(root: Path) -> Path:
    for actor in ("01", "02"):
        for name in ("03-01-06-02-02-01", "03-01-01-01-01-02", "03-02-03-01-01-01"):  # the last is a song
            write_wav(root / f"Actor_{actor}" / f"{name}-{actor}.wav", seconds=0.25)
    write_text(root / "Actor_01" / "._03-01-06-02-02-01-01.wav", "resource fork")
    return root


@pytest.fixture
def corpus(tmp_path):
    with pytest.warns(UserWarning, match="RAVDESS, utterances: 4 were found, 1440 are published"):
        return load_corpus("ravdess", make(tmp_path))["train"]


def test_names_are_read_as_documented(corpus, tmp_path):
    row = corpus[1]
    assert row == {
        "id": "03-01-06-02-02-01-01",
        "audio": {"bytes": None, "path": str(tmp_path / "Actor_01" / "03-01-06-02-02-01-01.wav")},
        "text": "Dogs are sitting by the door.",
        "label": corpus.features["label"].str2int("fearful"),
        "corpus_label": "06",
        "speaker": "01",
        "group": "01",
        "duration": 0.25,
        "intensity": "strong",
        "repetition": 1,
        "gender": "male",
    }
    assert corpus[3]["gender"] == "female"


def test_songs_are_left_out_and_counted(corpus):
    assert len(corpus) == 4
    assert "2 songs" in corpus.info.description


def test_two_files_with_the_same_bytes_are_two_utterances(tmp_path):
    make(tmp_path)
    first = tmp_path / "Actor_01" / "03-01-03-01-02-01-01.wav"
    first.with_name("03-01-03-01-02-02-01.wav").write_bytes(write_wav(first).read_bytes())
    with pytest.warns(UserWarning, match="6 were found"):
        corpus = load_corpus("ravdess", tmp_path)["train"]
    assert {"03-01-03-01-02-01-01", "03-01-03-01-02-02-01"} < set(corpus["id"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03-01-09-01-01-01-01", "has the emotion '09': the known ones are 01, 02"),
        ("03-01-01-01-03-01-01", "has the statement '03'"),
        ("happy", "happy.wav has no name of RAVDESS: its files are called <modality>-<channel>-<emotion>"),
    ],
)
def test_unknown_names(tmp_path, name, message):
    write_wav(make(tmp_path) / "Actor_01" / f"{name}.wav")
    with pytest.raises(ValueError, match=message):
        load_corpus("ravdess", tmp_path)


@pytest.mark.skipif("TACFN_DATA" not in os.environ, reason="needs TACFN_DATA")
@pytest.mark.filterwarnings("error")  # a count that is not the published one warns
def test_the_real_corpus(tmp_path):
    table = pyarrow.parquet.read_table(Path(os.environ["TACFN_DATA"], "ravdess_speech.parquet"))
    expected = table.drop_columns("audio").to_pylist()
    for row in table.select(["file", "speaker", "audio"]).to_pylist():
        path = tmp_path / f"Actor_{row['speaker']}" / row["file"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(row["audio"]["bytes"])  # FLAC under the official name; libsndfile goes by content
    corpus = load_corpus("ravdess", tmp_path)["train"]
    rows = {row["id"]: row for row in corpus.remove_columns("audio")}
    assert len(rows) == len(expected) == 1440
    names = {"fear": "fearful", "fearful": "fearful", "disgust": "disgusted", "surprise": "surprised"}
    for row in expected:
        found = rows[row["file"].removesuffix(".wav")]
        assert corpus.features["label"].int2str(found["label"]) == names.get(row["label"], row["label"])
        for column in ("speaker", "text", "intensity"):
            assert found[column] == row[column]
        assert found["repetition"] == int(row["repetition"])
        assert np.isclose(found["duration"], row["duration"], atol=1e-3)
