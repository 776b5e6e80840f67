"""EmoDB: 10 German actors, 10 sentences, 7 emotions. Burkhardt et al. 2005, doi:10.21437/Interspeech.2005-446."""

import os
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from .corpus_files import audio_files, lookup, parts_of_name
from .emotions import canonical_names
from .schema import build_corpus


# The parts of 03a01Fa.wav and what they stand for. From the documentation of the corpus.
NAME = r"(?P<speaker>\d\d)(?P<sentence>[a-z]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])"
SPEAKERS = {
    "03": ("male", 31),
    "08": ("female", 34),
    "09": ("female", 21),
    "10": ("male", 32),
    "11": ("male", 26),
    "12": ("male", 30),
    "13": ("female", 32),
    "14": ("female", 35),
    "15": ("male", 25),
    "16": ("female", 31),
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
# The letters are those of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer.
LABELS = {
    "W": "angry",
    "L": "bored",
    "E": "disgusted",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
PUBLISHED = 535
COLUMNS = {"version": Value("string"), "gender": Value("string"), "age": Value("int64")}


def load_emodb(root: str | os.PathLike) -> DatasetDict:
    """
    EmoDB. Labels and sentences (German) come from the names of the files, gender and age (in years) of the speakers
    from the documentation. `version` is the letter that tells several takes apart.

    Protocol: folds over speakers (`group`).

    Args:
        root: the folder with wav.

    Raises:
        ValueError: another folder, a name that can't be read or with an unknown code.
    """
    rows = []
    for path in audio_files("EmoDB", root, "wav/*.wav", "the folder with wav"):
        rows.append(row_of(path, parts_of_name("EmoDB", NAME, path)))
    return build_corpus(
        "EmoDB",
        rows,
        canonical_names(LABELS.values()),
        COLUMNS,
        published={"utterances": (len(rows), PUBLISHED)},
    )


def row_of(path: Path, parts: dict[str, str]) -> dict[str, Any]:
    """The row of a clip, by the parts of its name."""
    gender, age = lookup(SPEAKERS, parts["speaker"], str(path), "speaker")
    return {
        "id": path.stem,
        "audio": str(path),
        "text": lookup(SENTENCES, parts["sentence"], str(path), "sentence"),
        "label": lookup(LABELS, parts["emotion"], str(path), "emotion"),
        "corpus_label": parts["emotion"],
        "speaker": parts["speaker"],
        "group": parts["speaker"],
        "version": parts["version"],
        "gender": gender,
        "age": age,
    }
