"""SAVEE on small copies of its two layouts."""

from pathlib import Path

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.savee import load_savee


pytestmark = pytest.mark.filterwarnings("ignore:SAVEE, utterances")
CODES = dict(a="angry", d="disgusted", f="fearful", h="happy", n="neutral", sa="sad", su="surprised")


def make(root: Path) -> Path:
    for code in CODES:
        write_wav(root / "AudioData" / "DC" / f"{code}01.wav", seconds=0.25)
    write_wav(root / "AudioData" / "KL" / "n30.wav")
    write_text(root / "AudioData" / "KL" / "._n30.wav", "resource fork")
    write_text(root / "AudioData" / "Info.txt", "E.g., 'd03.wav' is the 3rd disgust sentence.\r\n")
    return root


def make_flat(root: Path) -> Path:
    for code in CODES:
        write_wav(root / "ALL" / f"DC_{code}01.wav", seconds=0.25)
    write_wav(root / "ALL" / "KL_n30.wav")
    return root


def test_names_and_folders_are_read_as_documented(tmp_path):
    corpus = load_savee(make(tmp_path))["train"]
    label = corpus.features["label"]
    assert corpus[0] == {
        "id": "DC_a01",
        "audio": {"bytes": None, "path": str(tmp_path / "AudioData" / "DC" / "a01.wav")},
        "text": None,
        "label": label.str2int("angry"),
        "corpus_label": "a",
        "speaker": "DC",
        "group": "DC",
        "duration": 0.25,
        "sentence": 1,
        "gender": "male",
    }
    assert {row["corpus_label"]: label.int2str(row["label"]) for row in corpus} == CODES
    assert (corpus[7]["speaker"], corpus[7]["sentence"]) == ("KL", 30)
    assert "without text   8" in corpus.info.description


def test_both_releases_have_the_same_rows(tmp_path):
    nested = load_savee(make(tmp_path / "nested"))["train"].remove_columns("audio")
    flat = load_savee(make_flat(tmp_path / "flat"))["train"].remove_columns("audio")
    assert flat.to_list() == nested.to_list()


def test_the_count_is_the_published_one(tmp_path):
    with pytest.warns(UserWarning, match="SAVEE, utterances: 8 were found, 480 are published"):
        load_savee(make(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("DC/s01", "s01.wav has the emotion 's': the known ones are a, d, f, h, n, sa, su"),
        ("XY/a01", "a01.wav has the speaker 'XY': the known ones are DC, JE, JK, KL"),
        ("DC/happy", "happy.wav has no name of SAVEE: its files are called <emotion><sentence>"),
    ],
)
def test_unknown_names(tmp_path, name, message):
    write_wav(make(tmp_path) / "AudioData" / f"{name}.wav")
    with pytest.raises(ValueError, match=message):
        load_savee(tmp_path)


def test_an_unknown_name_in_the_flat_release(tmp_path):
    write_wav(make_flat(tmp_path) / "ALL" / "a01.wav")
    with pytest.raises(ValueError, match="a01.wav has no name of SAVEE: its files are called <speaker>_<emotion>"):
        load_savee(tmp_path)


def test_another_folder(tmp_path):
    with pytest.raises(ValueError, match="is not the root of SAVEE: there is no AudioData or ALL in it, but DC, Info"):
        load_savee(make(tmp_path) / "AudioData")
