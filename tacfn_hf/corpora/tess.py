"""TESS: two actresses, 200 words in one sentence, 7 emotions. Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF."""

import filecmp
import os
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from ..model.decoding_tacfn import AudioError, audio_seconds
from .corpus_files import audio_files, lookup, parts_of_name
from .emotions import canonical_names
from .schema import build_corpus


# The parts of OAF_back_angry.wav and what they stand for. From the documentation of the corpus.
NAME = r"(?P<speaker>[A-Z]+)_(?P<word>[A-Za-z]+)_(?P<emotion>[A-Za-z]+)"
# The older and the younger adult female; one file is called OA_bite_neutral.
SPEAKERS = {"OAF": ("OAF", 64), "YAF": ("YAF", 26), "OA": ("OAF", 64)}
LABELS = {
    "angry": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",  # pleasant surprise
    "sad": "sad",
}
# Broken in some releases, sound in others.
BROKEN = ("YAF_germ_angry", "YAF_neat_fear")
PUBLISHED = 2800
COLUMNS = {"word": Value("string"), "gender": Value("string"), "age": Value("int64")}


def load_tess(root: str | os.PathLike) -> DatasetDict:
    """
    TESS. Speakers, words and labels come from the names of the files, wherever in the folder they lie: releases differ
    in their folders, and one has all of them once more in a nested folder. Such copies are left out and counted.
    Surprise is pleasant surprise. YAF_germ_angry.wav and YAF_neat_fear.wav can't be opened in some releases: there
    they are taken as utterances without audio, with a warning.

    Protocol: folds over speakers (`group`), of which there are two.

    Args:
        root: the folder with OAF_angry to YAF_sad.

    Raises:
        ValueError: another folder, a name that can't be read or with an unknown code, two different files of one name.
    """
    rows, first, copies = [], {}, 0
    paths = audio_files("TESS", root, "**/*.wav", "the folder with OAF_angry to YAF_sad")
    for path in sorted(paths, key=lambda path: len(path.parts)):
        parts = parts_of_name("TESS", NAME, path)
        original = first.setdefault(path.name, path)
        if path != original and filecmp.cmp(path, original, shallow=False):
            copies += 1
        else:
            rows.append(row_of(path, parts))
    broken = {
        row["id"]: "can't be opened in some releases" for row in rows if row["id"] in BROKEN and not opens(row["audio"])
    }
    return build_corpus(
        "TESS",
        rows,
        canonical_names(LABELS.values()),
        COLUMNS,
        left_out={"copies of a file in another folder": copies},
        published={"utterances": (len(rows), PUBLISHED)},
        known_missing=broken,
    )


def row_of(path: Path, parts: dict[str, str]) -> dict[str, Any]:
    """The row of a clip, by the parts of its name."""
    speaker, age = lookup(SPEAKERS, parts["speaker"], str(path), "speaker")
    return {
        "id": path.stem,
        "audio": str(path),
        "text": f"Say the word {parts['word']}.",
        "label": lookup(LABELS, parts["emotion"].lower(), str(path), "emotion"),
        "corpus_label": parts["emotion"],
        "speaker": speaker,
        "group": speaker,
        "word": parts["word"],
        "gender": "female",
        "age": age,
    }


def opens(path: str) -> bool:
    """Whether an audio file can be opened."""
    try:
        audio_seconds(path)
    except AudioError:
        return False
    return True
