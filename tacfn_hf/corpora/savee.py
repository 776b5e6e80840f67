"""SAVEE: 4 British men, TIMIT sentences, 7 emotions. Haq & Jackson 2009, Speaker-dependent audio-visual emotion
recognition, AVSP; http://kahlan.eps.surrey.ac.uk/savee."""

import os
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from .corpus_files import audio_files, check_root, lookup, need, parts_of_name
from .emotions import canonical_names
from .schema import build_corpus


# The official release has AudioData/DC/a01.wav, another one ALL/DC_a01.wav.
PATTERNS = {"AudioData": "AudioData/*/*.wav", "ALL": "ALL/*.wav"}
NAMES = {
    "AudioData": r"(?P<emotion>[a-z]+)(?P<sentence>\d\d)",
    "ALL": r"(?P<speaker>[A-Z]+)_(?P<emotion>[a-z]+)(?P<sentence>\d\d)",
}
SPEAKERS = {"DC": "male", "JE": "male", "JK": "male", "KL": "male"}
LABELS = {
    "a": "angry",
    "d": "disgusted",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
WANTED = "the folder with AudioData (or ALL)"
PUBLISHED = 480
COLUMNS = {"sentence": Value("int64"), "gender": Value("string")}


def load_savee(root: str | os.PathLike) -> DatasetDict:
    """
    SAVEE. Labels come from the names of the files, speakers from the folders (or, in ALL, from the names).

    There is no text: the corpus has no transcripts, and its documentation does not say which sentence has which
    number. `text` is None; `sentence` is the number, which counts anew for each emotion.

    Protocol: folds over speakers (`group`).

    Args:
        root: the folder with AudioData.

    Raises:
        ValueError: another folder, a name that can't be read or with an unknown code.
    """
    root = check_root("SAVEE", root, WANTED)
    folder = need("SAVEE", root, list(PATTERNS), WANTED).name
    rows = []
    for path in audio_files("SAVEE", root, PATTERNS[folder], WANTED):
        parts = {"speaker": path.parent.name, **parts_of_name("SAVEE", NAMES[folder], path)}
        rows.append(row_of(path, parts))
    return build_corpus(
        "SAVEE",
        rows,
        canonical_names(LABELS.values()),
        COLUMNS,
        published={"utterances": (len(rows), PUBLISHED)},
    )


def row_of(path: Path, parts: dict[str, str]) -> dict[str, Any]:
    """The row of a clip, by its speaker and the parts of its name."""
    return {
        "id": f"{parts['speaker']}_{parts['emotion']}{parts['sentence']}",
        "audio": str(path),
        "text": None,
        "label": lookup(LABELS, parts["emotion"], str(path), "emotion"),
        "corpus_label": parts["emotion"],
        "speaker": parts["speaker"],
        "group": parts["speaker"],
        "sentence": int(parts["sentence"]),
        "gender": lookup(SPEAKERS, parts["speaker"], str(path), "speaker"),
    }
