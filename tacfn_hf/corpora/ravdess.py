"""RAVDESS, speech: 24 actors, two sentences, 8 emotions. Livingstone & Russo 2018, doi:10.1371/journal.pone.0196391."""

import os
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from .corpus_files import audio_files, lookup, parts_of_name
from .emotions import canonical_names
from .schema import build_corpus


# What the parts of 03-01-06-01-02-01-12.wav stand for, in order. From the documentation of the corpus.
NAME = "-".join(
    rf"(?P<{part}>\d\d)" for part in ("modality", "channel", "emotion", "intensity", "statement", "repetition", "actor")
)
LABELS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
SONG = "02"
PUBLISHED = 1440
COLUMNS = {"intensity": Value("string"), "repetition": Value("int64"), "gender": Value("string")}


def load_ravdess(root: str | os.PathLike) -> DatasetDict:
    """
    The speech of RAVDESS. Labels and sentences come from the names of the files; songs are left out. Two files are
    byte-identical in the corpus as published: 03-01-03-01-02-01-07 and 03-01-03-01-02-02-07.

    Protocol: folds over actors (`group`).

    Args:
        root: the folder with Actor_01 to Actor_24.
    """
    rows, songs = [], 0
    for path in audio_files("RAVDESS", root, "Actor_*/*.wav", "the folder with Actor_01 to Actor_24"):
        parts = parts_of_name("RAVDESS", NAME, path)
        if parts["channel"] == SONG:
            songs += 1
        else:
            rows.append(row_of(path, parts))
    return build_corpus(
        "RAVDESS",
        rows,
        canonical_names(LABELS.values()),
        COLUMNS,
        left_out={"songs": songs},
        published={"utterances": (len(rows), PUBLISHED)},
    )


def row_of(path: Path, parts: dict[str, str]) -> dict[str, Any]:
    """The row of a clip, by the parts of its name."""
    return {
        "id": path.stem,
        "audio": str(path),
        "text": lookup(STATEMENTS, parts["statement"], str(path), "statement"),
        "label": lookup(LABELS, parts["emotion"], str(path), "emotion"),
        "corpus_label": parts["emotion"],
        "speaker": parts["actor"],
        "group": parts["actor"],
        "intensity": lookup(INTENSITIES, parts["intensity"], str(path), "intensity"),
        "repetition": int(parts["repetition"]),
        "gender": "male" if int(parts["actor"]) % 2 else "female",
    }
