"""CREMA-D: 91 actors, 12 sentences, 6 emotions. Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from .annotators import most_voted, vote_count, vote_feature
from .corpus_files import audio_files, check_root, choice, lookup, need, parts_of_name
from .emotions import canonical_names
from .schema import build_corpus
from .tables import read_rows


# The parts of 1001_DFA_ANG_XX.wav and what they stand for. From the documentation of the corpus.
NAME = r"(?P<actor>\d{4})_(?P<sentence>[A-Z]+)_(?P<emotion>[A-Z]+)_(?P<intensity>[A-Z]+)"
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
LABELS = {
    "ANG": "angry",
    "DIS": "disgusted",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
# X is XX: 1040_ITH_SAD_X is the name of one file in older releases.
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
GENDERS = {"Male": "male", "Female": "female"}
FOLDERS = {"AudioWAV": "*.wav", "AudioMP3": "*.mp3"}
WANTED = "the folder with AudioWAV (or AudioMP3) and VideoDemographics.csv"
ACTORS = "VideoDemographics.csv"
KNOWN_MISSING = {"1076_MTI_SAD_XX": "no sound in AudioWAV"}
PUBLISHED, PUBLISHED_ACTORS = 7442, 91
COLUMNS = {"intensity": Value("string"), "gender": Value("string"), "age": Value("int64")}
# The rows of the table of votes are numbered: 1xxxxx for the voice alone, 2xxxxx for the face, 3xxxxx for both.
VOTES = "processedResults/tabulatedVotes.csv"
VOICE = "1"
VOTED = {"A": "angry", "D": "disgusted", "F": "fearful", "H": "happy", "N": "neutral", "S": "sad"}


def load_crema_d(root: str | os.PathLike, labels: str = "acted") -> DatasetDict:
    """
    CREMA-D. Intensities and sentences come from the names of the files, and so does the label, unless `labels` says
    otherwise: it is the emotion that the actor was asked for, not what the crowd heard. Where the table of votes is
    there, `votes` has the number of listeners for each emotion, who heard the voice alone. `gender` and `age` (in
    years) are those of VideoDemographics.csv, and None where that file is not there.

    The clips are those of AudioWAV, and those of AudioMP3 only where there is no AudioWAV. 1076_MTI_SAD_XX.wav is
    known to have no sound: it is taken as an utterance without audio, with a warning.

    Protocol: folds over actors (`group`).

    Args:
        root: the folder with AudioWAV.
        labels: "acted", or "voted": the emotion with the most votes, null where several have as many, or none has.

    Raises:
        ValueError: another folder, a name or table that can't be read, an actor who is not in the table, a clip
            that can't be opened, no table of votes where these are the labels.
    """
    choice("CREMA-D", "labels", labels, ["acted", "voted"])
    root = check_root("CREMA-D", root, WANTED)
    folder = need("CREMA-D", root, list(FOLDERS), WANTED).name
    actors = read_actors(root / ACTORS) if (root / ACTORS).exists() else None
    votes = read_votes(root / VOTES) if labels == "voted" or (root / VOTES).exists() else None
    rows = []
    for path in audio_files("CREMA-D", root, f"{folder}/{FOLDERS[folder]}", WANTED):
        parts = parts_of_name("CREMA-D", NAME, path)
        row = row_of(path, parts, actors)
        if votes is not None:
            row["votes"] = votes.get(path.stem)
        if labels == "voted":
            row["label"] = None if row["votes"] is None else most_voted(row["votes"])
        rows.append(row)
    return build_corpus(
        "CREMA-D",
        rows,
        canonical_names(LABELS.values()),
        COLUMNS if votes is None else COLUMNS | {"votes": vote_feature(VOTED.values())},
        published={
            "utterances": (len(rows), PUBLISHED),
            "actors": (len({row["speaker"] for row in rows}), PUBLISHED_ACTORS),
        },
        known_missing=KNOWN_MISSING if folder == "AudioWAV" else None,
    )


def row_of(path: Path, parts: dict[str, str], actors: Mapping[str, dict] | None) -> dict[str, Any]:
    """The row of a clip, by the parts of its name and what is known of its actor."""
    if actors is not None and parts["actor"] not in actors:
        raise ValueError(f"{path} is of the actor {parts['actor']}, who is not in {ACTORS}.")
    return {
        "id": path.stem,
        "audio": str(path),
        "text": lookup(SENTENCES, parts["sentence"], str(path), "sentence"),
        "label": lookup(LABELS, parts["emotion"], str(path), "emotion"),
        "corpus_label": parts["emotion"],
        "speaker": parts["actor"],
        "group": parts["actor"],
        "intensity": lookup(INTENSITIES, parts["intensity"], str(path), "intensity"),
        **(actors[parts["actor"]] if actors is not None else {"gender": None, "age": None}),
    }


def read_votes(path: Path) -> dict[str, dict[str, int]]:
    """The votes of those who heard the voice alone, by the name of the clip."""
    if not path.exists():
        raise ValueError(f"{path} is not there: the votes of CREMA-D are in it.")
    votes = {}
    for row in read_rows(path, ["", *VOTED, "fileName"]):
        if row[""].startswith(VOICE):
            where = f"{path}, row {row['']},"
            votes[row["fileName"]] = {name: vote_count(row[code], where, code) for code, name in VOTED.items()}
    return votes


def read_actors(path: Path) -> dict[str, dict[str, Any]]:
    """Gender and age of each actor."""
    actors = {}
    for row in read_rows(path, ["ActorID", "Age", "Sex"]):
        where = f"{path}, actor {row['ActorID']},"
        if not row["Age"].isdecimal():
            raise ValueError(f"{where} has the Age {row['Age']!r}: it must be a whole number.")
        actors[row["ActorID"]] = {"gender": lookup(GENDERS, row["Sex"], where, "Sex"), "age": int(row["Age"])}
    return actors
