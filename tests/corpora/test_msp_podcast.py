"""MSP-Podcast on a small copy of its layout."""

from pathlib import Path

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.msp_podcast import load_msp_podcast


HEAD = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
LINES = [
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1",
    "MSP-PODCAST_0002_0039.wav,H,5.25,6.0,4.5,127,Female,Train",
    "MSP-PODCAST_0030_0001_0002.wav,A,6.0,1.5,5.5,Unknown,Unknown,Train",
    "MSP-PODCAST_0002_0051.wav,C,3.0,3.0,4.0,127,Female,Train",
    "MSP-PODCAST_0003_0100.wav,X,4.0,4.0,4.0,127,Female,Train",
    "MSP-PODCAST_0003_0101.wav,O,4.0,4.0,4.0,127,Female,Train",
    "MSP-PODCAST_0004_0001.wav,S,2.0,2.0,3.0,9,Male,Development",
    "MSP-PODCAST_1188_0003.wav,U,5.0,4.0,4.0,30,Male,Test2",
]


def make(root: Path, lines=LINES, labels="labels_consensus.csv", audio="Audios") -> Path:
    write_text(root / "Labels" / labels, "\n".join([HEAD, *lines]) + "\n")
    for line in lines:
        name = line.split(",")[0]
        write_wav(root / audio / name)
        if "0004_0001" not in name:
            write_text(root / "Transcripts" / name.replace(".wav", ".txt"), f"Words of {name[12:16]}.\n")
    return root


def names(split) -> list[str | None]:
    return [None if label is None else split.features["label"].int2str(label) for label in split["label"]]


def test_rows_are_read_as_documented(tmp_path):
    corpus = load_msp_podcast(make(tmp_path))
    assert corpus["test"][0] == {
        "id": "MSP-PODCAST_0001_0008",
        "audio": {"bytes": None, "path": str(tmp_path / "Audios" / "MSP-PODCAST_0001_0008.wav")},
        "text": "Words of 0001.",
        "label": corpus["test"].features["label"].str2int("neutral"),
        "corpus_label": "N",
        "speaker": "30",
        "group": "30",
        "duration": 0.1,
        "arousal": 2.2,
        "valence": 4.0,
        "dominance": 2.6,
        "gender": "male",
        "podcast": "0001",
    }
    assert list(corpus) == ["train", "validation", "test"]  # though the file begins with Test1
    assert corpus["train"]["id"][1] == "MSP-PODCAST_0030_0001_0002"


def test_unknown_speakers_are_grouped_by_podcast(tmp_path):
    row = load_msp_podcast(make(tmp_path))["train"][1]
    assert (row["speaker"], row["gender"], row["group"]) == (None, None, "podcast 0030")


def test_label_sets(tmp_path):
    make(tmp_path)
    assert names(load_msp_podcast(tmp_path)["train"]) == ["happy", "angry", "contempt"]
    four = load_msp_podcast(tmp_path, labels="4")["train"]
    assert names(four) == ["happy", "angry"]
    assert four.features["label"].names == ["neutral", "angry", "happy", "sad"]
    assert "1 of EmoClass C, 1 of EmoClass X, 1 of EmoClass O, 1 of Test2" in four.info.description
    everything = load_msp_podcast(tmp_path, labels="all")["train"]
    assert names(everything) == ["happy", "angry", "contempt", None, "other"]
    assert everything["corpus_label"][3] == "X"


@pytest.mark.parametrize("columns", ["columns", "one column"])
def test_votes_are_those_of_the_workers(tmp_path, columns):
    said = [
        ("0002_0039", "Happy", "Happy"),
        ("0002_0039", "Other-amused", "Happy,Amused"),
        ("0002_0039", "Happy", ""),
        ("0002_0039", "Neutral", "Neutral"),
        ("0003_0100", "Sad", "Sad"),
        ("0003_0100", "Angry", "Angry"),
    ]
    lines = ["FileName,WorkerID,EmoClass_Major,EmoClass_Second" if columns == "columns" else "FileName,EmoDetail"]
    for name, word, second in said:
        cells = f'W1,{word},"{second}"' if columns == "columns" else f'"WORKER01; {word}; {second}; A:5; V:6; D:4;"'
        lines.append(f"MSP-PODCAST_{name}.wav,{cells}")
    make(tmp_path)
    assert "votes" not in load_msp_podcast(tmp_path)["train"].column_names
    write_text(tmp_path / "Labels" / "labels_detailed.csv", "\n".join(lines) + "\n")
    train = load_msp_podcast(tmp_path, no_agreement=True)["train"].remove_columns("audio")
    rows = {row["id"][-9:]: row for row in train}
    assert {name: count for name, count in rows["0002_0039"]["votes"].items() if count} == {"happy": 2, "neutral": 1}
    assert {name: count for name, count in rows["0003_0100"]["votes"].items() if count} == {"sad": 1, "angry": 1}
    assert rows["0003_0100"]["label"] is None
    assert rows["0001_0002"]["votes"] is None
    assert load_msp_podcast(tmp_path, labels="all")["train"]["votes"][0]["other"] == 1
    write_text(tmp_path / "Labels" / "labels_detailed.csv", "FileName,Mood\nMSP-PODCAST_0002_0039.wav,fine\n")
    with pytest.raises(ValueError, match="has neither a column EmoClass_Major nor EmoDetail"):
        load_msp_podcast(tmp_path)


def test_turns_without_agreement_are_no_validation_or_test_rows(tmp_path):
    lines = [*LINES, "MSP-PODCAST_0004_0002.wav,X,2.0,2.0,3.0,9,Male,Development"]
    corpus = load_msp_podcast(make(tmp_path, lines), no_agreement=True)
    assert None in names(corpus["train"])
    assert None not in names(corpus["validation"])
    assert len(corpus["train"].features["label"].names) == 8


def test_one_test_set_is_the_test(tmp_path):
    corpus = load_msp_podcast(make(tmp_path), test_set="Test2")
    assert corpus["test"]["id"][:] == ["MSP-PODCAST_1188_0003"]
    assert "left out" in corpus["test"].info.description
    assert "1 of Test1" in corpus["test"].info.description


def test_hidden_labels_are_left_out(tmp_path):
    make(tmp_path, [*LINES, "MSP-PODCAST_test3_0001.wav,N,4.0,4.0,4.0,Unknown,Unknown,Test3"])
    corpus = load_msp_podcast(tmp_path)
    assert "1 of Test3" in corpus["train"].info.description
    assert sum(len(split) for split in corpus.values()) == 5


def test_a_missing_transcript_is_a_missing_text(tmp_path):
    corpus = load_msp_podcast(make(tmp_path))
    assert corpus["validation"]["text"][:] == [None]
    assert "without text   1" in corpus["train"].info.description


def test_early_releases(tmp_path):
    lines = [line.replace("Development", "Validation") for line in LINES]
    make(tmp_path, lines, labels="labels_concensus.csv", audio="Audio")
    for path in (tmp_path / "Transcripts").iterdir():
        path.unlink()
    (tmp_path / "Transcripts").rmdir()
    with pytest.warns(UserWarning, match="MSP-Podcast has no folder Transcripts in .*: every text is None"):
        corpus = load_msp_podcast(tmp_path)
    assert corpus["train"]["text"][:] == [None] * 3
    assert corpus["validation"]["speaker"][:] == ["9"]


def test_a_speaker_in_two_splits_is_an_error_unless_it_is_allowed(tmp_path):
    make(tmp_path, [*LINES, "MSP-PODCAST_0005_0001.wav,S,2.0,2.0,3.0,127,Female,Development"])
    found = "1 of 4 groups of MSP-Podcast are in several splits of this release, the first is '127'"
    with pytest.raises(ValueError, match=f"{found}: say allow_shared_groups"):
        load_msp_podcast(tmp_path)
    with pytest.warns(UserWarning, match=found):
        corpus = load_msp_podcast(tmp_path, allow_shared_groups=True)
    assert len(corpus["validation"]) == 2


def test_missing_audio(tmp_path):
    make(tmp_path)
    (tmp_path / "Audios" / "MSP-PODCAST_0004_0001.wav").unlink()
    with pytest.raises(ValueError, match="1 of 5 audio files of MSP-Podcast are missing"):
        load_msp_podcast(tmp_path)
    with pytest.warns(UserWarning, match="1 of 5 audio files"):
        corpus = load_msp_podcast(tmp_path, allow_missing=True)
    assert corpus["validation"]["audio"][:] == [None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "MSP-PODCAST_0001_0008.wav,Q,1,1,1,30,Male,Train",
            r"csv, row 2, has the EmoClass 'Q': the known ones are A, S",
        ),
        ("MSP-PODCAST_0001_0008.wav,A,1,1,1,30,Male,Eval", r"has the Split_Set 'Eval': the known ones are Train, Dev"),
        ("MSP-PODCAST_0001_0008.wav,A,1,1,1,30,M,Train", r"has the Gender 'M': the known ones are Male, Female"),
        ("MSP-PODCAST_0001_0008.wav,A,1,high,1,30,Male,Train", r"row 2, has the EmoVal 'high': it must be a number"),
        ("../MSP-PODCAST_0001_0008.wav,A,1,1,1,30,Male,Train", r"FileName '../MSP-.*: it must be such as MSP-PODCAST_"),
    ],
)
def test_unreadable_rows(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        load_msp_podcast(make(tmp_path / "corpus", [line]))


def test_unknown_options(tmp_path):
    with pytest.raises(ValueError, match="labels of MSP-Podcast is '5': it must be one of 8, 4, all"):
        load_msp_podcast(tmp_path, labels="5")
    with pytest.raises(ValueError, match="test_set of MSP-Podcast is 'Test3': it must be one of Test1, Test2"):
        load_msp_podcast(tmp_path, test_set="Test3")


def test_another_folder(tmp_path):
    with pytest.raises(ValueError, match=r"no Labels/labels_consensus.csv or Labels/labels_concensus.csv in it"):
        load_msp_podcast(tmp_path)
    write_text(tmp_path / "Labels" / "labels_consensus.csv", HEAD)
    with pytest.raises(ValueError, match="there is no Audios or Audio in it"):
        load_msp_podcast(tmp_path)
