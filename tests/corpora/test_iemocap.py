"""IEMOCAP, on a small copy of its layout with the oddities of the real one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from layout import write_text, write_wav

from tacfn_hf.corpora.iemocap import LABEL_SETS, PUBLISHED, load_iemocap


EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()
C-F1:\tAnger;\t(curious)

[10.0100 - 11.3925]\tSes01F_impro01_M000\texc\t[4.5000, 4.0000, 2.5000]
C-E2:\tExcited;\t()

[14.8872 - 18.0175]\tSes01F_impro01_F001\txxx\t[2.5000, 2.5000, 2.5000]
C-E2:\tOther;\t(negotiation)

[19.2900 - 20.7875]\tSes01F_impro01_M001\tfru\t[2.0000, 3.5000, 3.5000]
C-E2:\tFrustration;\t()

[21.3257 - 24.7400]\tSes01F_impro01_F002\toth\t[3.0000, 3.0000, 3.0000]
C-E2:\tOther;\t()
"""
TRANSCRIPTION = """Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
Ses01F_impro01_MXX0 [008.2357-008.4000]: Um.
Ses01F_impro01_M000 [010.0100-011.3925]: Yeah.
M: [LAUGHTER]
Ses01F_impro01_F001 [014.8872-018.0175]: Is there a problem?
Ses01F_impro01_M001 [019.2900-020.7875]: You did.
Ses01F_impro01_F002 [021.3257-024.7400]: Thank you.
"""


def make(root: Path) -> Path:
    for dialogue, session in (("Ses01F_impro01", 1), ("Ses02M_script03_2", 2)):
        folder = root / f"Session{session}"
        for text, kind in ((EVALUATION, "EmoEvaluation"), (TRANSCRIPTION, "transcriptions")):
            write_text(folder / "dialog" / kind / f"{dialogue}.txt", text.replace("Ses01F_impro01", dialogue))
            write_text(folder / "dialog" / kind / f"._{dialogue}.txt", "\x00\x05\x16\x07 resource fork")
        write_text(folder / "dialog" / "EmoEvaluation" / "Categorical" / f"{dialogue}_e2_cat.txt", "a rater's own")
        for turn in ("F000", "M000", "F001", "M001", "F002"):
            write_wav(folder / "sentences" / "wav" / dialogue / f"{dialogue}_{turn}.wav", 0.2)
            write_text(folder / "sentences" / "wav" / dialogue / f"._{dialogue}_{turn}.wav", "resource fork")
    return root


def load(root: Path, **options):
    with pytest.warns(UserWarning, match=r"IEMOCAP, utterances of labels=\w+: \d+ were found, \d+ are published"):
        return load_iemocap(root, **options)["train"]


def test_a_row_is_what_the_files_say(tmp_path):
    corpus = load(make(tmp_path))
    audio = tmp_path / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav"
    assert corpus[1] == {
        "id": "Ses01F_impro01_M000",
        "audio": {"bytes": None, "path": str(audio)},
        "text": "Yeah.",
        "label": corpus.features["label"].str2int("happy"),
        "corpus_label": "exc",
        "speaker": "Ses01M",  # who speaks, in a dialogue that is named after Ses01F
        "group": "1",
        "duration": 0.2,
        "session": "1",
        "dialogue": "Ses01F_impro01",
        "kind": "improvised",
        "gender": "male",
        "valence": 4.5,
        "arousal": 4.0,
        "dominance": 2.5,
        "votes": {"neutral": 0, "angry": 0, "happy": 1, "sad": 0},
        "start": 10.01,
        "end": 11.3925,
    }
    assert corpus["kind"][2] == "scripted"


@pytest.mark.parametrize(
    ("labels", "names", "found", "left_out"),
    [
        (
            "4",
            ["neutral", "angry", "happy", "sad"],
            ["neutral", "happy"],
            "2 labelled xxx, 2 labelled fru, 2 labelled oth",
        ),
        (
            "6",
            ["neutral", "angry", "happy", "sad", "excited", "frustrated"],
            ["neutral", "excited", "frustrated"],
            "2 labelled xxx, 2 labelled oth",
        ),
    ],
)
def test_label_sets(tmp_path, labels, names, found, left_out):
    corpus = load(make(tmp_path), labels=labels)
    assert corpus.features["label"].names == names
    assert [names[i] for i in corpus["label"]] == found * 2
    assert left_out in corpus.info.description


def test_all_keeps_every_utterance_and_no_agreement_is_no_label(tmp_path):
    corpus = load(make(tmp_path), labels="all")
    assert len(corpus) == 10
    names = corpus.features["label"].names
    assert {"fearful", "surprised", "disgusted", "other"} < set(names)
    assert len(names) == 10
    labels = dict(zip(corpus["id"], corpus["label"], strict=True))
    assert labels["Ses01F_impro01_F001"] is None
    assert names[labels["Ses01F_impro01_F002"]] == "other"


def test_groups(tmp_path):
    make(tmp_path)
    assert set(load(tmp_path)["group"]) == {"1", "2"}
    assert set(load(tmp_path, group_by="speaker")["group"]) == {"Ses01F", "Ses01M", "Ses02F", "Ses02M"}


def test_no_audio_is_decoded(tmp_path):
    make(tmp_path)
    path = tmp_path / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    noise = np.random.default_rng(0).normal(scale=0.1, size=3200)
    soundfile.write(path, noise, 16000, format="FLAC")  # unlike PCM, what follows its header can be invalid
    content = path.read_bytes()
    start = content.index(b"\xff\xf8")  # of the first frame
    path.write_bytes(content[:start] + bytes(len(content) - start))
    with pytest.raises(soundfile.SoundFileError):
        soundfile.read(path)
    assert load(tmp_path)["duration"][0] == 0.2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tneu\t", "\tjoy\t", "line 3, has the emotion 'joy': the known ones are neu, ang"),
        (
            "[6.2901 - 8.2357]\t",
            "[6.2901 - 8.2357] ",
            r"line 3, is '\[6.2901 .*: it must be \[start - end\], utterance",
        ),
        ("[6.2901", " [6.2901", r"line 3, is ' \[6.2901 .*: it must be \[start - end\], utterance"),
        ("_M000", "_F000", "line 9, has the utterance Ses01F_impro01_F000, which occurs twice"),
        ("_M001", "_F000", "line 15, has the utterance Ses01F_impro01_F000, which occurs twice"),  # fru: left out
        ("_M001", "_M009", "line 15, has the utterance Ses01F_impro01_M009, which has no line in the transcription"),
        ("Ses01F_impro01_F000", "Ses01F_impro01", "has the utterance .*, which has no line in the transcription"),
        ("impro01_F000", "impro01_FXX0", "has no line in the transcription"),
    ],
)
def test_evaluations_that_are_none(tmp_path, old, new, message):
    path = make(tmp_path) / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_iemocap(tmp_path)


def test_an_utterance_that_is_called_otherwise(tmp_path):
    make(tmp_path)
    for kind in ("EmoEvaluation", "transcriptions"):
        path = tmp_path / f"Session1/dialog/{kind}/Ses01F_impro01.txt"
        path.write_text(path.read_text().replace("Ses01F_impro01_F000", "first"))
    with pytest.raises(ValueError, match="has the utterance 'first': it must be such as Ses01F_impro01_F000"):
        load_iemocap(tmp_path)


def test_classes_are_compared_with_the_published_ones(tmp_path):
    with pytest.warns(UserWarning, match="IEMOCAP") as warned:
        load_iemocap(make(tmp_path), labels="6")
    messages = [str(warning.message) for warning in warned]
    assert "IEMOCAP, utterances of labels=6: 6 were found, 7380 are published." in messages
    assert "IEMOCAP, utterances labelled fru: 2 were found, 1849 are published." in messages
    assert "IEMOCAP, utterances labelled ang: 0 were found, 1103 are published." in messages
    assert {key: sum(PUBLISHED[code] for code in codes) for key, codes in LABEL_SETS.items()} == {
        "4": 5531,
        "6": 7380,
        "all": 10039,
    }


def test_a_session_that_is_not_whole(tmp_path):
    shutil.make_archive(str(make(tmp_path) / "Session2"), "gztar", tmp_path / "Session2")
    assert len(load(tmp_path)) == 4  # an archive beside its folder is nothing
    shutil.rmtree(tmp_path / "Session2/dialog")
    with pytest.raises(ValueError, match="Session2 has no dialog/EmoEvaluation/Ses.*: complete the session"):
        load_iemocap(tmp_path)
    shutil.rmtree(tmp_path / "Session2")
    with pytest.raises(ValueError, match="IEMOCAP is still packed in .*Session2.tar.gz: unpack it"):
        load_iemocap(tmp_path)
    (tmp_path / "Session2.tar.gz").unlink()
    assert len(load(tmp_path)) == 2  # some of the sessions are enough


def test_a_transcription_that_is_missing(tmp_path):
    (make(tmp_path) / "Session2/dialog/transcriptions/Ses02M_script03_2.txt").unlink()
    with pytest.raises(ValueError, match=r"The file .*Ses02M_script03_2.txt is missing"):
        load_iemocap(tmp_path)


def test_a_wav_that_is_missing(tmp_path):
    (make(tmp_path) / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav").unlink()
    with pytest.raises(ValueError, match=r"1 of 4 audio files of IEMOCAP are missing, .*Ses01F_impro01_F000.wav: "):
        load_iemocap(tmp_path)
    corpus = load(tmp_path, allow_missing=True)
    assert corpus["audio"][0] is None
    assert corpus["text"][0] == "Excuse me."


def test_other_folders_and_options(tmp_path):
    make(tmp_path / "release")
    with pytest.raises(
        ValueError, match="is not the root of IEMOCAP: there is no Session1 or .* but release; the root"
    ):
        load_iemocap(tmp_path)
    with pytest.raises(ValueError, match="labels of IEMOCAP is '5': it must be one of 4, 6, all"):
        load_iemocap(tmp_path / "release", labels="5")
    with pytest.raises(ValueError, match="group_by of IEMOCAP is 'dialogue'"):
        load_iemocap(tmp_path / "release", group_by="dialogue")
    shutil.make_archive(str(tmp_path / "IEMOCAP_full_release"), "gztar", tmp_path / "release")
    archive = tmp_path / "IEMOCAP_full_release.tar.gz"
    with pytest.raises(ValueError, match="IEMOCAP is still packed in .*: unpack it, and give the folder"):
        load_iemocap(archive)
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(ValueError, match="can't be read as an archive: fetch it again"):
        load_iemocap(archive)


def test_votes_are_those_of_the_raters_who_do_not_speak(tmp_path):
    make(tmp_path)
    path = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    said = "C-E2:\tNeutral;\t()\nC-E3:\tSadness; Frustration;\t(tired)\nC-E4:\tBored;\t()\nC-F1:\tAnger;\t()"
    text = path.read_text().replace("C-E2:\tNeutral;\t()\nC-E3:\tNeutral;\t()", said)
    write_text(path, text)
    with pytest.warns(UserWarning, match=r"words of raters that are not known do not count as votes: {'Bored': 1}"):
        four, every = load(tmp_path), load(tmp_path, labels="all")
    assert four[0]["votes"] == {"neutral": 1, "angry": 0, "happy": 0, "sad": 1}
    assert {name for name, votes in every[0]["votes"].items() if votes} == {"neutral", "sad", "frustrated"}
    assert sum(every[2]["votes"].values()) == every[2]["votes"]["other"] == 1
    assert every[2]["label"] is None
