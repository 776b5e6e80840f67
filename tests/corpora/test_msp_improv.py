"""MSP-IMPROV on a small copy of its layout."""

from pathlib import Path

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.msp_improv import load_msp_improv


# As in the corpus: a line of the turn, with a space before a semicolon, lines of raters, an empty line.
EVALUATIONS = """\
UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.200000; V:3.000000; D:2.500000 ; N:4.000000;
ML14_1089; Neutral; Neutral, ; A:3.000000; V:3.000000; D:2.000000; N:4.000000;
ML14_1089; Other; Concerned; UTD-like; A:3.000000; V:3.000000; D:3.000000; N:4.000000;

UTD-IMPROV-S01A-M01-R-MF01.avi; A; A:1.500000; V:1.250000; D:NaN ; N:NaN;
ML14_11; Angry; Angry,Frustrated; A:1.000000; V:1.000000; D:NaN; N:NaN;

UTD-IMPROV-S20S-F06-T-FM02.avi; S; A:4.000000; V:2.000000; D:2.000000 ; N:4.000000;

UTD-IMPROV-S08H-M06-S-FM12.avi; H; A:2.000000; V:4.500000; D:3.000000 ; N:4.000000;

UTD-IMPROV-S08H-M06-S-FM13.avi; O; A:2.000000; V:4.500000; D:3.000000 ; N:4.000000;

UTD-IMPROV-S08H-M06-S-FM14.avi; X; A:2.000000; V:4.500000; D:3.000000 ; N:4.000000;
"""
WAVS = [
    "session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01",
    "session1/S01A/R/MSP-IMPROV-S01A-M01-R-MF01",
    "session6/S20S/T/MSP-IMPROV-S20S-F06-T-FM02",
    "session6/S08H/S/MSP-IMPROV-S08H-M06-S-FM12",
    "session6/S08H/S/MSP-IMPROV-S08H-M06-S-FM13",
    "session6/S08H/S/MSP-IMPROV-S08H-M06-S-FM14",
]
pytestmark = pytest.mark.filterwarnings("ignore:MSP-IMPROV, turns")


def make(
    root: Path, evaluations=EVALUATIONS, name="Evalution.txt", audio="Audio/", texts="All_human_transcriptions"
) -> Path:
    write_text(root / name, evaluations)
    for wav in WAVS:
        write_wav(root / f"{audio}{wav}.wav")
        text = "" if wav.endswith("FM12") else "How can I not?\n"
        write_text(root / texts / f"{Path(wav).name}.txt", text)
    return root


def names(split) -> list[str | None]:
    return [None if label is None else split.features["label"].int2str(label) for label in split["label"]]


def test_rows_are_read_as_documented(tmp_path):
    corpus = load_msp_improv(make(tmp_path))["train"]
    assert corpus[0] == {
        "id": "MSP-IMPROV-S01A-F01-P-FM01",
        "audio": {"bytes": None, "path": str(tmp_path / "Audio" / f"{WAVS[0]}.wav")},
        "text": "How can I not?",
        "label": corpus.features["label"].str2int("neutral"),
        "corpus_label": "N",
        "speaker": "F01",
        "group": "session1",
        "duration": 0.1,
        "recording": "natural interaction",
        "scenario": "01A",
        "arousal": pytest.approx(3.2),
        "valence": 3.0,
        "dominance": 2.5,
        "naturalness": 4.0,
        "gender": "female",
        "votes": {"angry": 0, "happy": 0, "sad": 0, "neutral": 1},
    }
    assert corpus["recording"][1:] == ["target read", "target improvised", "other improvised"]
    assert corpus["gender"][1] == "male"


def test_the_label_is_of_the_raters_not_of_the_name(tmp_path):
    corpus = load_msp_improv(make(tmp_path))["train"]
    assert names(corpus) == ["neutral", "angry", "sad", "happy"]
    assert corpus.features["label"].names == ["neutral", "angry", "happy", "sad"]
    assert "1 labelled O, 1 labelled X" in corpus.info.description


def test_turns_without_agreement_are_there_for_their_votes(tmp_path):
    raters = EVALUATIONS + "".join(
        f"ML{i}; {word}; {word}, ; A:2.0; V:4.5;\n" for i, word in enumerate(("Sad", "Happy"))
    )
    assert "X" not in load_msp_improv(make(tmp_path, raters))["train"]["corpus_label"][:]
    row = load_msp_improv(tmp_path, no_agreement=True)["train"][-1]
    assert (row["corpus_label"], row["label"]) == ("X", None)
    assert row["votes"] == {"angry": 0, "happy": 1, "sad": 1, "neutral": 0}
    assert load_msp_improv(tmp_path)["train"]["votes"][2] is None
    with pytest.warns(UserWarning, match=r"words of raters that are not known do not count as votes: \{'Joy': 1\}"):
        load_msp_improv(make(tmp_path, EVALUATIONS + "ML1; Joy; Joy, ; A:2.0;\n"))


def test_all_labels(tmp_path):
    corpus = load_msp_improv(make(tmp_path), labels="all")["train"]
    assert names(corpus)[-2:] == ["other", None]
    assert corpus["corpus_label"][-2:] == ["O", "X"]


def test_ratings_that_are_missing(tmp_path):
    row = load_msp_improv(make(tmp_path))["train"][1]
    assert (row["arousal"], row["valence"], row["dominance"], row["naturalness"]) == (1.5, 1.25, None, None)


def test_groups(tmp_path):
    make(tmp_path)
    assert load_msp_improv(tmp_path)["train"]["group"][:] == ["session1", "session1", "session6", "session6"]
    assert load_msp_improv(tmp_path, group_by="speaker")["train"]["group"][:] == ["F01", "M01", "F06", "M06"]


def test_an_empty_transcript_is_a_missing_text(tmp_path):
    corpus = load_msp_improv(make(tmp_path))["train"]
    assert corpus["text"][-1] is None
    assert "without text   1" in corpus.info.description


def test_counts_of_the_paper(tmp_path):
    make(tmp_path)
    with pytest.warns(UserWarning, match="MSP-IMPROV, turns: 6 were found, 8438 are published"):
        load_msp_improv(tmp_path)
    with pytest.warns(UserWarning, match="MSP-IMPROV, turns of 4 emotions: 4 were found, 7798 are published"):
        load_msp_improv(tmp_path, labels="all")


def test_the_other_forms_of_the_folder(tmp_path):
    make(tmp_path, name="Evaluation.txt", audio="", texts="Human_transcriptions/All_human_transcriptions")
    corpus = load_msp_improv(tmp_path)["train"]
    assert corpus[0]["audio"]["path"] == str(tmp_path / f"{WAVS[0]}.wav")
    assert corpus[0]["text"] == "How can I not?"


def test_without_transcripts(tmp_path):
    make(tmp_path, texts="elsewhere")
    with pytest.warns(UserWarning, match="MSP-IMPROV has no folder All_human_transcriptions or Human_tr.*: every text"):
        assert load_msp_improv(tmp_path)["train"]["text"][:] == [None] * 4


def test_missing_audio(tmp_path):
    make(tmp_path)
    (tmp_path / "Audio" / f"{WAVS[2]}.wav").unlink()
    with pytest.raises(ValueError, match=r"1 of 4 audio files of MSP-IMPROV are missing, .*S20S-F06-T-FM02.wav"):
        load_msp_improv(tmp_path)
    with pytest.warns(UserWarning, match="1 of 4 audio files"):
        assert load_msp_improv(tmp_path, allow_missing=True)["train"]["audio"][2] is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "A:3.200000;",
            "A:high;",
            r"Evalution.txt, line 1, is 'UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:high.*: it must be",
        ),
        ("FM01.avi; N;", "FM01.avi; Q;", r"line 1, has the label 'Q': the known ones are A, H, S, N, O, X"),
        ("F06-T-", "F06-U-", r"line 8, has the recording 'U': the known ones are R, T, S, P"),
        ("UTD-IMPROV-S20S", "UTD-IMPROV-../S20S", r"line 8, is 'UTD-IMPROV-../S20S"),
    ],
)
def test_unreadable_lines(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        load_msp_improv(make(tmp_path, EVALUATIONS.replace(old, new)))


def test_unknown_options(tmp_path):
    with pytest.raises(ValueError, match="labels of MSP-IMPROV is '5': it must be one of 4, all"):
        load_msp_improv(tmp_path, labels="5")
    with pytest.raises(ValueError, match="group_by of MSP-IMPROV is 'turn': it must be one of session, speaker"):
        load_msp_improv(tmp_path, group_by="turn")


def test_another_folder(tmp_path):
    with pytest.raises(ValueError, match="is not the root of MSP-IMPROV: there is no Evalution.txt or Evaluation.txt"):
        load_msp_improv(tmp_path)
    write_text(tmp_path / "Evalution.txt", EVALUATIONS)
    with pytest.raises(ValueError, match="there is no Audio or session1 in it"):
        load_msp_improv(tmp_path)
