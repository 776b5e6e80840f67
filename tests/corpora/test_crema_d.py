"""CREMA-D on a small copy of its layout."""

import shutil
from pathlib import Path

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.crema_d import load_crema_d


ACTORS = '\ufeff"ActorID","Age","Sex","Race","Ethnicity"\r\n1001,51,"Male","Caucasian","Not Hispanic"\r\n'
ACTORS += '1040,42,"Male","Caucasian","Not Hispanic"\r\n1076,25,"Female","Caucasian","Not Hispanic"\r\n'

pytestmark = pytest.mark.filterwarnings("ignore:CREMA-D, .* are published")


def make(root: Path) -> Path:
    for name in ("1001_DFA_ANG_XX", "1001_IEO_HAP_HI", "1040_ITH_SAD_X", "1076_MTI_NEU_XX"):
        write_wav(root / "AudioWAV" / f"{name}.wav", seconds=0.25)
        write_text(root / "AudioMP3" / f"{name}.mp3", "not read where AudioWAV is there")
    write_text(root / "AudioWAV" / "._1001_DFA_ANG_XX.wav", "resource fork")
    write_text(root / "VideoDemographics.csv", ACTORS)
    return root


def test_names_and_the_table_of_actors_are_read_as_documented(tmp_path):
    corpus = load_crema_d(make(tmp_path))["train"]
    assert len(corpus) == 4
    label = corpus.features["label"]
    assert label.names == ["neutral", "angry", "happy", "sad", "fearful", "disgusted"]
    assert corpus[0] == {
        "id": "1001_DFA_ANG_XX",
        "audio": {"bytes": None, "path": str(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")},
        "text": "Don't forget a jacket.",
        "label": label.str2int("angry"),
        "corpus_label": "ANG",
        "speaker": "1001",
        "group": "1001",
        "duration": 0.25,
        "intensity": "unspecified",
        "gender": "male",
        "age": 51,
    }
    assert corpus[1]["intensity"] == "high"
    assert (corpus[3]["gender"], corpus[3]["age"]) == ("female", 25)


def test_the_file_with_a_letter_too_few_is_read(tmp_path):
    row = load_crema_d(make(tmp_path))["train"][2]
    assert (row["id"], row["intensity"]) == ("1040_ITH_SAD_X", "unspecified")


def test_counts_are_the_published_ones(tmp_path):
    with pytest.warns(UserWarning, match="are published") as warnings:
        load_crema_d(make(tmp_path))
    assert [str(warning.message) for warning in warnings] == [
        "CREMA-D, utterances: 4 were found, 7442 are published.",
        "CREMA-D, actors: 3 were found, 91 are published.",
    ]


def test_without_the_table_gender_and_age_are_not_known(tmp_path):
    (make(tmp_path) / "VideoDemographics.csv").unlink()
    row = load_crema_d(tmp_path)["train"][0]
    assert (row["gender"], row["age"]) == (None, None)


def test_mp3_files_are_read_where_there_are_no_wav_files(tmp_path):
    shutil.rmtree(make(tmp_path) / "AudioMP3")
    (tmp_path / "AudioWAV").rename(tmp_path / "AudioMP3")
    for path in (tmp_path / "AudioMP3").iterdir():
        path.rename(path.with_suffix(".mp3"))  # libsndfile goes by content
    row = load_crema_d(tmp_path)["train"][0]
    assert row["audio"]["path"] == str(tmp_path / "AudioMP3" / "1001_DFA_ANG_XX.mp3")


def test_the_clip_without_sound_loses_its_audio(tmp_path):
    write_wav(make(tmp_path) / "AudioWAV" / "1076_MTI_SAD_XX.wav", seconds=0)
    with pytest.warns(UserWarning, match="without audio, as known: 1076_MTI_SAD_XX"):
        row = load_crema_d(tmp_path)["train"][4]
    assert (row["id"], row["audio"], row["duration"]) == ("1076_MTI_SAD_XX", None, None)


def test_git_lfs_pointers(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:c6f94b2592487c7556bd\nsize 72862\n"
    write_text(make(tmp_path) / "AudioWAV" / "1001_IEO_HAP_HI.wav", pointer)
    with pytest.raises(ValueError, match=r"1001_IEO_HAP_HI.wav\) is a Git LFS pointer.* run git lfs pull"):
        load_crema_d(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1001_DFA_SUR_XX", "1001_DFA_SUR_XX.wav has the emotion 'SUR': the known ones are ANG, DIS"),
        ("1001_XYZ_SAD_XX", "has the sentence 'XYZ'"),
        ("1001_DFA_SAD_UP", "has the intensity 'UP': the known ones are LO, MD, HI, XX"),
        ("1002_DFA_SAD_XX", "1002_DFA_SAD_XX.wav is of the actor 1002, who is not in VideoDemographics.csv"),
        ("1001-DFA-SAD-XX", "no name of CREMA-D: its files are called <actor>_<sentence>_<emotion>_<intensity>"),
    ],
)
def test_unknown_names(tmp_path, name, message):
    write_wav(make(tmp_path) / "AudioWAV" / f"{name}.wav")
    with pytest.raises(ValueError, match=message):
        load_crema_d(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("51", "fifty", r"VideoDemographics.csv, actor 1001, has the Age 'fifty': it must be a whole number"),
        ('"Male"', '"M"', "actor 1001, has the Sex 'M': the known ones are Male, Female"),
        ('"Sex"', '"Gender"', "VideoDemographics.csv has no column 'Sex'; it has ActorID, Age, Gender"),
    ],
)
def test_a_table_of_actors_that_is_not_the_corpus_own(tmp_path, before, after, message):
    write_text(make(tmp_path) / "VideoDemographics.csv", ACTORS.replace(before, after))
    with pytest.raises(ValueError, match=message):
        load_crema_d(tmp_path)


def test_another_folder(tmp_path):
    write_text(tmp_path / "README.md", "")
    with pytest.raises(ValueError, match="not the root of CREMA-D: there is no AudioWAV or AudioMP3 in it, but README"):
        load_crema_d(tmp_path)


VOTES = """"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"
"100001",5,3,0,0,1,1,"1001_DFA_ANG_XX",10,0.5,"A"
"100002",0,0,0,4,4,0,"1001_IEO_HAP_HI",8,0.5,"H:N"
"100003",0,0,1,0,2,6,"1040_ITH_SAD_X",9,0.67,"S"
"200001",0,9,0,0,0,0,"1001_DFA_ANG_XX",9,1,"D"
"300001",0,9,0,0,0,0,"1001_DFA_ANG_XX",9,1,"D"
"""


def test_votes_are_those_of_the_voice_alone(tmp_path):
    write_text(make(tmp_path) / "processedResults/tabulatedVotes.csv", VOTES)
    corpus = load_crema_d(tmp_path)["train"]
    assert corpus[0]["votes"] == {"angry": 5, "disgusted": 3, "fearful": 0, "happy": 0, "neutral": 1, "sad": 1}
    assert corpus[3]["votes"] is None
    names = corpus.features["label"].names
    assert [names[label] for label in corpus["label"]] == ["angry", "happy", "sad", "neutral"]
    voted = load_crema_d(tmp_path, labels="voted")["train"]
    assert [None if label is None else names[label] for label in voted["label"]] == ["angry", None, "sad", None]


def test_votes_that_are_wrong_or_not_there(tmp_path):
    with pytest.raises(ValueError, match="tabulatedVotes.csv is not there: the votes of CREMA-D are in it"):
        load_crema_d(make(tmp_path), labels="voted")
    write_text(tmp_path / "processedResults/tabulatedVotes.csv", VOTES.replace("5,3", "5.5,3"))
    with pytest.raises(ValueError, match="row 100001, has '5.5' in column A: votes are whole numbers"):
        load_crema_d(tmp_path)
