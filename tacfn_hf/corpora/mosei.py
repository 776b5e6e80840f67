"""CMU-MOSEI: sentences of YouTube videos, 6 emotions and sentiment. Zadeh et al. 2018, doi:10.18653/v1/P18-1208."""

import ast
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, DatasetDict, List, Value

from .corpus_files import check_root, choice, need, read_text
from .emotions import canonical_names
from .schema import build_corpus


# The columns of "All Labels" after the first, which is the sentiment, in the order that the SDK's readme gives.
EMOTION_NAMES = {
    "happy": "happy",
    "sad": "sad",
    "anger": "angry",
    "surprise": "surprised",
    "disgust": "disgusted",
    "fear": "fearful",
}
SENTIMENTS = ["negative", "neutral", "positive"]
FOLDS = {"standard_train_fold": "train", "standard_valid_fold": "validation", "standard_test_fold": "test"}
FOLD_FILE = "cmu_mosei_std_folds.py"
LABEL_FILES = [f"{folder}CMU_MOSEI_Labels.csd" for folder in ("", "labels/", "Labels/")]
TRANSCRIPTS = ["Raw/Transcript/Segmented/Combined", "Transcript/Segmented/Combined"]
CLIPS = (".wav", ".flac", ".mp4")  # the best first
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
TOLERANCE = 0.01  # seconds between the times of a sentence in the labels and in the transcript
WANTED = f"the folder with Raw, with CMU_MOSEI_Labels.csd and with {FOLD_FILE}, the last two from the SDK"
PUBLISHED = 23259  # sentences in CMU_MOSEI_Labels.csd as the SDK serves it; the paper says 23,453
COLUMNS = {
    "sentiment": Value("float64"),
    **{name: Value("float64") for name in EMOTION_NAMES.values()},
    "start": Value("float64"),
    "end": Value("float64"),
}


def load_mosei(root: str | os.PathLike, labels: str = "emotions", allow_missing: bool = False) -> DatasetDict:
    """
    The labelled sentences of CMU-MOSEI in the standard folds of its SDK. `group` is the video; speakers are not named.
    `sentiment` is a mean from -3 to 3, each emotion's column one from 0 to 3, `start` and `end` are seconds in the
    video; they may be a little before it.

    Labels and transcripts are joined by video and times. These are left out and counted: labels of videos in no fold
    (the official files have some), of videos without a transcript, and without a sentence of these times; sentences
    without a label (most are) and with two.

    The clips are `<video>_<sentence>.wav`, `.flac` or `.mp4` in Raw/Audio/Segmented or Raw/Videos/Segmented, or
    folders in these. The release has .mp4, not for all sentences; an .mp4 has the duration of the transcript's times.

    Needs h5py.

    Args:
        root: the folder with Raw, CMU_MOSEI_Labels.csd and cmu_mosei_std_folds.py.
        labels: "emotions": a list of those with an intensity above 0, which may be empty; "strongest": the emotion of
            the highest intensity, or neutral where all are 0, without those that have two; "sentiment": negative,
            neutral (exactly 0) or positive.
        allow_missing: take sentences whose clip is not there as utterances without audio.

    Raises:
        ImportError: h5py is not installed.
    """
    choice("CMU-MOSEI", "labels", labels, ["emotions", "strongest", "sentiment"])
    root = check_root("CMU-MOSEI", root, WANTED)
    folds = read_folds(need("CMU-MOSEI", root, [FOLD_FILE], WANTED))
    labelled = read_labels(need("CMU-MOSEI", root, LABEL_FILES, WANTED))
    transcripts = need("CMU-MOSEI", root, TRANSCRIPTS, WANTED)
    raw = transcripts.parents[2]
    clips = find_clips(raw)
    if not clips and not allow_missing:
        raise ValueError(
            f"CMU-MOSEI has no clips of single sentences in {raw}: they must be Videos/Segmented/Combined/"
            "<video>_<sentence>.mp4 or Audio/Segmented/<video>_<sentence>.wav; Audio/Full has whole videos, to be cut."
        )
    rows: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    for video, (features, times) in labelled.items():
        transcript = transcripts / f"{video}.txt"
        if video not in folds:
            left_out["labels of videos in no fold"] += len(times)
        elif not transcript.exists():
            left_out["labels of videos without a transcript"] += len(times)
        else:
            for sentence, values in joined(read_sentences(transcript), features, times, left_out):
                row = row_of(video, sentence, values, labels)
                clip = clips.get(row["id"], raw / "Videos" / "Segmented" / "Combined" / f"{row['id']}.mp4")
                row.update(split=folds[video], audio=str(clip))
                if clip.suffix == ".mp4":  # which libsndfile does not read
                    row["duration"] = sentence["end"] - sentence["start"]
                rows.append(row)
    if labels == "strongest":
        left_out["sentences of several strongest emotions"] = sum(len(row["label"]) > 1 for row in rows)
        rows = [{**row, "label": row["label"][0]} for row in rows if len(row["label"]) == 1]
    rows.sort(key=lambda row: list(FOLDS.values()).index(row["split"]))
    names = {
        "emotions": canonical_names(EMOTION_NAMES.values()),
        "strongest": canonical_names(["neutral", *EMOTION_NAMES.values()]),
        "sentiment": SENTIMENTS,
    }[labels]
    return build_corpus(
        "CMU-MOSEI",
        rows,
        names,
        COLUMNS,
        label_feature=List(ClassLabel(names=names)) if labels == "emotions" else None,
        left_out=left_out,
        published={"labels": (sum(len(times) for _, times in labelled.values()), PUBLISHED)},
        allow_missing=allow_missing,
    )


def joined(
    sentences: list[dict[str, Any]], features: np.ndarray, times: np.ndarray, left_out: Counter[str]
) -> list[tuple[dict[str, Any], list[float]]]:
    """The sentences of a video that have one label, each with its sentiment and emotions; the others are counted."""
    spans = np.array([[sentence["start"], sentence["end"]] for sentence in sentences]).reshape(-1, 2)
    near = (np.abs(spans[:, None] - times[None]) <= TOLERANCE).all(-1)  # [sentences, labels]
    found = near.sum(1)
    left_out["labels without a sentence"] += int((~near.any(0)).sum())
    left_out["sentences without a label"] += int((found == 0).sum())
    left_out["sentences labelled twice"] += int((found > 1).sum())
    return [(sentences[i], features[near[i].argmax()].tolist()) for i in np.flatnonzero(found == 1)]


def row_of(video: str, sentence: Mapping[str, Any], values: list[float], labels: str) -> dict[str, Any]:
    """A row without its clip; its label is a list where it is of emotions, also where one is wanted."""
    sentiment, *intensities = values
    present = [name for name, intensity in zip(EMOTION_NAMES, intensities) if intensity > 0]
    strongest = [name for name, intensity in zip(EMOTION_NAMES, intensities) if intensity == max(intensities)]
    return {
        "id": f"{video}_{sentence['sentence']}",
        "text": sentence["text"],
        "label": {
            "emotions": canonical_names([EMOTION_NAMES[name] for name in present]),
            "strongest": [EMOTION_NAMES[name] for name in strongest] if present else ["neutral"],
            "sentiment": SENTIMENTS[int(np.sign(sentiment)) + 1],
        }[labels],
        "corpus_label": f"{sentiment:g}" if labels == "sentiment" else ",".join(present) or "no emotion",
        "speaker": None,
        "group": video,
        "sentiment": sentiment,
        **dict(zip(EMOTION_NAMES.values(), intensities)),
        "start": sentence["start"],
        "end": sentence["end"],
    }


def read_folds(path: Path) -> dict[str, str]:
    """The split of each video, from the lists in the SDK's file, which is read as text, never run."""
    try:
        statements = ast.parse(read_text(path)).body
        lists = {
            statement.targets[0].id: ast.literal_eval(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path} must have lists of the names of videos and nothing else: {error}.") from error
    folds: dict[str, str] = {}
    for name, split in FOLDS.items():
        if not isinstance(lists.get(name), list) or not all(isinstance(video, str) for video in lists[name]):
            raise ValueError(f"{path} has no list of names {name}: it must have {', '.join(FOLDS)}.")
        for video in lists[name]:
            if folds.setdefault(video, split) != split:
                raise ValueError(f"{path} has the video {video!r} in {folds[video]} and in {split}.")
    return folds


def read_labels(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each video the sentiments and emotions [n, 7] and the times in seconds [n, 2]."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("The labels of CMU-MOSEI are an HDF5 file: pip install h5py.") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} can't be opened as HDF5: {error}; fetch it again.") from error
    labelled = {}
    with file:
        roots = [group for group in file.values() if isinstance(group, h5py.Group) and "data" in group]
        if len(roots) != 1:
            raise ValueError(f"{path} has {', '.join(file) or 'nothing'}: it must have 'All Labels' with 'data' in it.")
        for video, item in roots[0]["data"].items():
            features, times = (np.asarray(item.get(name, []), dtype=float) for name in ("features", "intervals"))
            if features.shape != (len(times), 7) or times.shape != (len(times), 2):
                raise ValueError(
                    f"{path} has features of shape {features.shape} and intervals of shape {times.shape} for the "
                    f"video {video!r}: they must be [n, 7] (sentiment, {', '.join(EMOTION_NAMES)}) and [n, 2]."
                )
            if not np.isfinite(features).all():
                raise ValueError(f"{path} has features that are no numbers for the video {video!r}.")
            labelled[video] = features, times
    return labelled


def read_sentences(path: Path) -> list[dict[str, Any]]:
    """The lines of a transcript: number of the sentence, start and end in seconds, text."""
    line_of = re.compile(
        rf"{re.escape(path.stem)}___(?P<sentence>\d+)___(?P<start>{NUMBER})___(?P<end>{NUMBER})___(?P<text>.*)"
    )
    sentences = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        match = line_of.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}, line {number}, is {line!r}: it must be <video>___<number>___start___end___text.")
        sentences.append(
            {
                "sentence": match["sentence"],
                "start": float(match["start"]),
                "end": float(match["end"]),
                "text": match["text"].strip() or None,
            }
        )
    return sentences


def find_clips(raw: Path) -> dict[str, Path]:
    """The best clip of each sentence by its id."""
    clips: dict[str, Path] = {}
    for folder in ("Audio/Segmented", "Videos/Segmented"):
        for path in sorted((raw / folder).rglob("*")):
            if path.suffix not in CLIPS or path.name.startswith("."):
                continue
            best = clips.setdefault(path.stem, path)
            if CLIPS.index(path.suffix) < CLIPS.index(best.suffix):
                clips[path.stem] = path
    return clips
