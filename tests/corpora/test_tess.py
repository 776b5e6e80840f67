"""TESS on a small copy of its layout, with the odd names of its releases."""

import shutil
from pathlib import Path

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.tess import load_tess


pytestmark = pytest.mark.filterwarnings("ignore:TESS, utterances")
NAMES = (
    "OAF_angry/OAF_back_angry",
    "OAF_disgust/OAF_back_disgust",
    "OAF_Fear/OAF_back_fear",
    "OAF_happy/OAF_back_happy",
    "OAF_neutral/OA_bite_neutral",
    "OAF_Pleasant_surprise/OAF_back_ps",
    "OAF_Sad/OAF_back_sad",
    "YAF_angry/YAF_germ_angry",
    "YAF_pleasant_surprised/YAF_back_ps",
)


def make(root: Path) -> Path:
    for name in NAMES:
        write_wav(root / f"{name}.wav", seconds=0.25)
    write_text(root / "OAF_angry" / "._OAF_back_angry.wav", "resource fork")
    return root


@pytest.fixture
def rows(tmp_path):
    return {row["id"]: row for row in load_tess(make(tmp_path))["train"]}


def test_names_are_read_as_documented(tmp_path):
    corpus = load_tess(make(tmp_path))["train"]
    assert len(corpus) == 9
    label = corpus.features["label"]
    rows = {row["id"]: row for row in corpus}
    assert rows["YAF_back_ps"] == {
        "id": "YAF_back_ps",
        "audio": {"bytes": None, "path": str(tmp_path / "YAF_pleasant_surprised" / "YAF_back_ps.wav")},
        "text": "Say the word back.",
        "label": label.str2int("surprised"),
        "corpus_label": "ps",
        "speaker": "YAF",
        "group": "YAF",
        "duration": 0.25,
        "word": "back",
        "gender": "female",
        "age": 26,
    }
    codes = {row["corpus_label"]: label.int2str(row["label"]) for row in corpus}
    assert codes == dict(
        angry="angry", disgust="disgusted", fear="fearful", happy="happy", neutral="neutral", ps="surprised", sad="sad"
    )


def test_the_file_of_oa_is_of_the_older_speaker(rows):
    row = rows["OA_bite_neutral"]
    assert (row["speaker"], row["group"], row["age"], row["text"]) == ("OAF", "OAF", 64, "Say the word bite.")


def test_there_are_two_speakers(rows):
    assert {row["group"] for row in rows.values()} == {"OAF", "YAF"}


def test_the_count_is_the_published_one(tmp_path):
    with pytest.warns(UserWarning, match="TESS, utterances: 9 were found, 2800 are published"):
        load_tess(make(tmp_path))


def test_copies_in_the_nested_folder_are_left_out_and_counted(tmp_path):
    nested = "TESS Toronto emotional speech set data"
    make(tmp_path)
    shutil.copytree(tmp_path, tmp_path.parent / "copy")
    (tmp_path.parent / "copy").rename(tmp_path / nested)
    corpus = load_tess(tmp_path)["train"]
    assert len(corpus) == 9
    assert not any(nested in row["audio"]["path"] for row in corpus)
    assert "9 copies of a file in another folder" in corpus.info.description


def test_different_files_of_one_name_are_no_copies(tmp_path):
    write_wav(make(tmp_path) / "more" / "OAF_back_angry.wav", seconds=0.5)
    with pytest.raises(ValueError, match="The id 'OAF_back_angry' occurs twice in TESS"):
        load_tess(tmp_path)


def test_a_known_broken_file_loses_its_audio(tmp_path):
    write_text(make(tmp_path) / "YAF_angry" / "YAF_germ_angry.wav", "RIFF")
    with pytest.warns(UserWarning, match="without audio, as known: YAF_germ_angry"):
        corpus = load_tess(tmp_path)["train"]
    assert {row["id"] for row in corpus if row["audio"] is None} == {"YAF_germ_angry"}


def test_where_it_is_sound_it_has_its_audio(rows):
    assert rows["YAF_germ_angry"]["audio"] is not None


def test_any_other_broken_file_is_an_error(tmp_path):
    write_text(make(tmp_path) / "OAF_angry" / "OAF_back_angry.wav", "RIFF")
    with pytest.raises(ValueError, match=r"The audio of id 'OAF_back_angry' \(.*\) can't be decoded"):
        load_tess(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OAF_back_calm", "OAF_back_calm.wav has the emotion 'calm': the known ones are angry, disgust"),
        ("MAF_back_sad", "has the speaker 'MAF': the known ones are OAF, YAF"),
        ("03-01-06-02-02-01-01", "has no name of TESS: its files are called <speaker>_<word>_<emotion>"),
    ],
)
def test_unknown_names(tmp_path, name, message):
    write_wav(make(tmp_path) / "OAF_Sad" / f"{name}.wav")
    with pytest.raises(ValueError, match=message):
        load_tess(tmp_path)


def test_another_folder(tmp_path):
    write_text(tmp_path / "README.md", "")
    with pytest.raises(ValueError, match="not the root of TESS: .* the root must be the folder with OAF_angry"):
        load_tess(tmp_path)
