"""CMU-MOSEI on a small copy of its layout."""

import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, List
from layout import write_text, write_wav

from tacfn_hf.corpora.mosei import load_mosei


h5py = pytest.importorskip("h5py")
TRAIN, VALID, TEST, NO_FOLD, NO_TRANSCRIPT = "--qXJuDtHPw", "_0efYOjQYRc", "102408", "-9YyBTjo1zo", "zv0Jl4TIQDc"
# As in the SDK's file, which also has two videos of the test fold without labels.
FOLDS = f"""\
standard_train_fold=['{TRAIN}', '{NO_TRANSCRIPT}']

standard_valid_fold=['{VALID}']

standard_test_fold=['{TEST}', '7l3BNtSE0xc']

"""
TRANSCRIPTS = {
    TRAIN: [
        "0___-0.417687___5.5537___I see that a writer is somebody",
        "1___5.5537___9.2___Not labelled.",
        "10___10.0___12.5___A gap ______ and ___ more",
    ],
    VALID: ["0___0.0___8.025___Deloitte announced it.", "1___7.814___13.882___"],
    TEST: ["3___1.0___2.0___Neither.", "4___2.0___3.5e-0___Twice."],
    NO_FOLD: ["0___0.0___1.0___In no fold."],
}
# Times, then sentiment, happy, sad, anger, surprise, disgust, fear; in another order than the transcript.
LABELS = {
    TRAIN: [
        ([10.0, 12.5], [-1.5, 0, 1.0, 1.0, 0, 0, 0]),
        ([-0.4176870748, 5.5537], [1.0, 2 / 3, 0, 0, 0, 0, 1 / 3]),
        ([50.0, 60.0], [1.0, 0, 0, 0, 0, 0, 0]),
    ],
    VALID: [([0.0, 8.025], [0.0, 0, 0, 0, 0, 2.0, 0]), ([7.814, 13.882], [2.0, 0, 0, 0, 3.0, 0, 0])],
    TEST: [
        ([1.0, 2.0], [0.0, 0, 0, 0, 0, 0, 0]),
        ([2.0, 3.5], [1.0, 1.0, 0, 0, 0, 0, 0]),
        ([2.0, 3.5], [2.0, 2.0, 0, 0, 0, 0, 0]),
    ],
    NO_FOLD: [([0.0, 1.0], [1.0, 1.0, 0, 0, 0, 0, 0])],
    NO_TRANSCRIPT: [([56.852, 60.845], [1 / 3, 2 / 3, 0, 2 / 3, 0, 0, 0]), ([29.764, 35.633], [1.0, 2.0] + [0] * 5)],
}
IDS = [f"{TRAIN}_0", f"{TRAIN}_10", f"{VALID}_0", f"{VALID}_1", f"{TEST}_3"]
pytestmark = pytest.mark.filterwarnings("ignore:CMU-MOSEI, labels")


def write_labels(path: Path, labels=LABELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["All Labels/metadata/root name"] = np.array([b"All Labels"])
        for video, rows in labels.items():
            file[f"All Labels/data/{video}/intervals"] = np.array([times for times, _ in rows])
            file[f"All Labels/data/{video}/features"] = np.array([values for _, values in rows], dtype=np.float32)
    return path


def make(root: Path, folds=FOLDS, transcripts=TRANSCRIPTS, raw="Raw", clips="Audio/Segmented", suffix="wav") -> Path:
    write_text(root / "cmu_mosei_std_folds.py", folds)
    write_labels(root / "CMU_MOSEI_Labels.csd")
    for video, lines in transcripts.items():
        text = "".join(f"{video}___{line}\n" for line in lines)
        write_text(root / raw / "Transcript" / "Segmented" / "Combined" / f"{video}.txt", text)
    write_wav(root / raw / "Audio" / "Full" / "WAV_16000" / f"{TRAIN}.wav")
    for id_ in IDS:
        if suffix == "mp4":
            write_text(root / raw / clips / f"{id_}.mp4", "no audio for libsndfile")
        else:
            write_wav(root / raw / clips / f"{id_}.{suffix}", seconds=0.25)
    return root


def names(corpus) -> list:
    feature = corpus["train"].features["label"]
    feature = feature.feature if isinstance(feature, List) else feature
    return [
        [feature.int2str(i) for i in label] if isinstance(label, list) else feature.int2str(label)
        for split in corpus.values()
        for label in split["label"]
    ]


def test_rows_are_read_as_documented(tmp_path):
    corpus = load_mosei(make(tmp_path))
    assert list(corpus) == ["train", "validation", "test"]
    assert [id_ for split in corpus.values() for id_ in split["id"]] == IDS
    classes = corpus["train"].features["label"].feature
    assert corpus["train"][0] == {
        "id": f"{TRAIN}_0",
        "audio": {"bytes": None, "path": str(tmp_path / "Raw" / "Audio" / "Segmented" / f"{TRAIN}_0.wav")},
        "text": "I see that a writer is somebody",
        "label": [classes.str2int("happy"), classes.str2int("fearful")],
        "corpus_label": "happy,fear",
        "speaker": None,
        "group": TRAIN,
        "duration": 0.25,
        "sentiment": 1.0,
        "happy": pytest.approx(2 / 3),
        "sad": 0.0,
        "angry": 0.0,
        "surprised": 0.0,
        "disgusted": 0.0,
        "fearful": pytest.approx(1 / 3),
        "start": -0.417687,
        "end": 5.5537,
    }
    assert corpus["train"]["text"][1] == "A gap ______ and ___ more"
    assert corpus["validation"]["text"][1] is None


def test_emotions_are_several_labels_or_none(tmp_path):
    corpus = load_mosei(make(tmp_path))
    assert corpus["train"].features["label"] == List(
        ClassLabel(names=["angry", "happy", "sad", "fearful", "disgusted", "surprised"])
    )
    assert names(corpus) == [["happy", "fearful"], ["angry", "sad"], ["disgusted"], ["surprised"], []]
    assert corpus["test"]["corpus_label"][:] == ["no emotion"]


def test_the_strongest_emotion(tmp_path):
    corpus = load_mosei(make(tmp_path), labels="strongest")
    assert names(corpus) == ["happy", "disgusted", "surprised", "neutral"]
    assert corpus["train"].features["label"].names[:2] == ["neutral", "angry"]
    assert "1 sentences of several strongest emotions" in corpus["train"].info.description


def test_sentiment(tmp_path):
    corpus = load_mosei(make(tmp_path), labels="sentiment")
    assert names(corpus) == ["positive", "negative", "neutral", "positive", "neutral"]
    assert corpus["train"].features["label"].names == ["negative", "neutral", "positive"]
    assert corpus["train"]["corpus_label"][:] == ["1", "-1.5"]


def test_what_has_no_counterpart_is_left_out_and_counted(tmp_path):
    description = load_mosei(make(tmp_path))["train"].info.description
    for count in (
        "1 labels of videos in no fold",
        "2 labels of videos without a transcript",
        "1 labels without a sentence",
        "1 sentences without a label",
        "1 sentences labelled twice",
    ):
        assert count in description


def test_times_match_within_rounding_only(tmp_path):
    lines = ["0___-0.409___5.56___Near.", "1___10.0___12.52___Not near."]
    corpus = load_mosei(make(tmp_path, transcripts={**TRANSCRIPTS, TRAIN: lines}))
    assert corpus["train"]["text"][:] == ["Near."]


def test_the_number_of_labels_of_the_official_file(tmp_path):
    with pytest.warns(UserWarning, match="CMU-MOSEI, labels: 11 were found, 23259 are published"):
        load_mosei(make(tmp_path))


def test_the_clips_of_the_release_are_videos(tmp_path):
    corpus = load_mosei(make(tmp_path, clips="Videos/Segmented/Combined", suffix="mp4"))
    row = corpus["validation"][1]
    assert row["audio"]["path"].endswith(f"Raw/Videos/Segmented/Combined/{VALID}_1.mp4")
    assert row["duration"] == pytest.approx(13.882 - 7.814)


def test_audio_is_preferred_to_video(tmp_path):
    make(tmp_path, clips="Videos/Segmented/Combined", suffix="mp4")
    write_wav(tmp_path / "Raw" / "Videos" / "Segmented" / "Combined" / f"{VALID}_1.flac")
    write_wav(tmp_path / "Raw" / "Audio" / "Segmented" / "WAV_16000" / f"{VALID}_0.wav")
    audio = load_mosei(tmp_path)["validation"]["audio"][:]
    assert [Path(clip["path"]).name for clip in audio] == [f"{VALID}_0.wav", f"{VALID}_1.flac"]


def test_without_the_folder_raw(tmp_path):
    assert len(load_mosei(make(tmp_path, raw="."))["train"]) == 2


def test_only_whole_videos(tmp_path):
    make(tmp_path)
    for path in (tmp_path / "Raw" / "Audio" / "Segmented").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"no clips of single sentences in .*Raw: they must be .*_<sentence>.mp4 or"):
        load_mosei(tmp_path)
    with pytest.warns(UserWarning, match="5 of 5 audio files of CMU-MOSEI are missing"):
        corpus = load_mosei(tmp_path, allow_missing=True)
    assert corpus["test"]["audio"][:] == [None]


def test_a_missing_clip(tmp_path):
    make(tmp_path)
    (tmp_path / "Raw" / "Audio" / "Segmented" / f"{TEST}_3.wav").unlink()
    with pytest.raises(ValueError, match=f"1 of 5 audio files .*Videos/Segmented/Combined/{TEST}_3.mp4"):
        load_mosei(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0___0.0___nan___Words", "102408.txt, line 1, is '102408___0___0.0___nan___Words': it must be <video>___"),
        ("0___0.0", "line 1, is '102408___0___0.0'"),
    ],
)
def test_unreadable_transcripts(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        load_mosei(make(tmp_path, transcripts={**TRANSCRIPTS, TEST: [line]}))


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (
            FOLDS.replace("standard_test_fold", "test_fold"),
            "has no list of names standard_test_fold: it must have stand",
        ),
        (FOLDS.replace("['_0efYOjQYRc']", "'_0efYOjQYRc'"), "has no list of names standard_valid_fold"),
        (FOLDS.replace("'7l3BNtSE0xc'", f"'{TRAIN}'"), f"has the video '{TRAIN}' in train and in test"),
        (FOLDS + "x=[", "must have lists of the names of videos and nothing else: "),
        (FOLDS + "x=open('run', 'w')", "must have lists of the names of videos and nothing else: "),
    ],
)
def test_unreadable_folds(tmp_path, monkeypatch, folds, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_mosei(make(tmp_path, folds))
    assert not Path("run").exists()


def test_unreadable_labels(tmp_path):
    make(tmp_path)
    path = tmp_path / "CMU_MOSEI_Labels.csd"
    write_labels(path, {TRAIN: [([0, 1], [0] * 6)]})
    with pytest.raises(
        ValueError, match=r"features of shape \(1, 6\) and intervals of shape \(1, 2\) for the video '--q"
    ):
        load_mosei(tmp_path)
    write_labels(path, {TRAIN: [([0, 1], [0] * 6 + [np.nan])]})
    with pytest.raises(ValueError, match="features that are no numbers for the video '--qXJuDtHPw'"):
        load_mosei(tmp_path)
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(ValueError, match="csd has other: it must have 'All Labels' with 'data' in it"):
        load_mosei(tmp_path)
    write_text(path, "<html>")
    with pytest.raises(ValueError, match=r"csd can't be opened as HDF5: .*; fetch it again"):
        load_mosei(tmp_path)


def test_without_h5py(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match="The labels of CMU-MOSEI are an HDF5 file: pip install h5py"):
        load_mosei(tmp_path)


def test_unknown_labels(tmp_path):
    with pytest.raises(
        ValueError, match="labels of CMU-MOSEI is '7': it must be one of emotions, strongest, sentiment"
    ):
        load_mosei(tmp_path, labels="7")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("cmu_mosei_std_folds.py", "there is no cmu_mosei_std_folds.py in it, but CMU_MOSEI_Labels.csd, Raw; the root"),
        ("CMU_MOSEI_Labels.csd", "there is no CMU_MOSEI_Labels.csd or labels/CMU_MOSEI_Labels.csd"),
        ("Raw", "there is no Raw/Transcript/Segmented/Combined or Transcript/Segmented/Combined"),
    ],
)
def test_another_folder(tmp_path, missing, message):
    make(tmp_path)
    (tmp_path / missing).rename(tmp_path.parent / f"{tmp_path.name} {missing}")
    with pytest.raises(ValueError, match=message):
        load_mosei(tmp_path)
