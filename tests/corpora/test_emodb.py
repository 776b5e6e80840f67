"""EmoDB on a small copy of its layout."""

from pathlib import Path

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.emodb import load_emodb


pytestmark = pytest.mark.filterwarnings("ignore:EmoDB, utterances")


def make(root: Path) -> Path:
    for letter in "WLEAFTN":
        write_wav(root / "wav" / f"16b01{letter}b.wav", seconds=0.25)
    write_wav(root / "wav" / "03a01Fa.wav", seconds=0.25)
    write_text(root / "wav" / "._03a01Fa.wav", "resource fork")
    write_text(root / "lablaut" / "03a01Fa.lablaut", "0.0 #")
    return root


def test_names_are_read_as_documented(tmp_path):
    corpus = load_emodb(make(tmp_path))["train"]
    label = corpus.features["label"]
    assert corpus[0] == {
        "id": "03a01Fa",
        "audio": {"bytes": None, "path": str(tmp_path / "wav" / "03a01Fa.wav")},
        "text": "Der Lappen liegt auf dem Eisschrank.",
        "label": label.str2int("happy"),
        "corpus_label": "F",
        "speaker": "03",
        "group": "03",
        "duration": 0.25,
        "version": "a",
        "gender": "male",
        "age": 31,
    }
    row = corpus[1]
    assert row["text"] == "Was sind denn das für Tüten, die da unter dem Tisch stehen?"
    assert (row["gender"], row["age"], row["version"]) == ("female", 31, "b")
    letters = {row["corpus_label"]: label.int2str(row["label"]) for row in corpus}
    # Of German words: A is Angst (fear), W is Wut (anger)
    assert letters == dict(W="angry", L="bored", E="disgusted", A="fearful", F="happy", T="sad", N="neutral")


def test_the_count_is_the_published_one(tmp_path):
    with pytest.warns(UserWarning, match="EmoDB, utterances: 8 were found, 535 are published"):
        load_emodb(make(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03a01Xa", "03a01Xa.wav has the emotion 'X': the known ones are W, L, E"),
        ("03a03Fa", "has the sentence 'a03': the known ones are a01, a02, a04"),
        ("04a01Fa", "has the speaker '04': the known ones are 03, 08"),
        ("happy_01", "happy_01.wav has no name of EmoDB: its files are called <speaker><sentence><emotion><version>"),
    ],
)
def test_unknown_names(tmp_path, name, message):
    write_wav(make(tmp_path) / "wav" / f"{name}.wav")
    with pytest.raises(ValueError, match=message):
        load_emodb(tmp_path)


def test_another_folder(tmp_path):
    with pytest.raises(ValueError, match="is not the root of EmoDB: .* the root must be the folder with wav"):
        load_emodb(make(tmp_path) / "wav")
