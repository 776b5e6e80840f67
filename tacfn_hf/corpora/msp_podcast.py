"""MSP-Podcast: turns of podcasts with crowd-sourced emotions. Lotfian & Busso 2019, doi:10.1109/TAFFC.2017.2736999."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from .annotators import count_votes, vote_feature, warn_of_words
from .corpus_files import check_root, choice, lookup, need, read_transcripts
from .emotions import canonical_names
from .schema import build_corpus
from .tables import read_rows


# The codes of EmoClass, and which of them are classes; X is "no agreement". From the readme of the corpus.
LABELS = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprised",
    "F": "fearful",
    "D": "disgusted",
    "C": "contempt",
    "N": "neutral",
    "O": "other",
    "X": None,
}
LABEL_SETS = {"8": "ASHUFDCN", "4": "NHAS", "all": "ASHUFDCNOX"}
# Releases up to 1.8 say Validation and "concensus". The labels of Test3 are not public.
SPLITS = {"Train": "train", "Development": "validation", "Validation": "validation"}
TEST_SETS = ("Test1", "Test2")
HIDDEN = "Test3"
LABEL_FILES = ("Labels/labels_consensus.csv", "Labels/labels_concensus.csv")
# The votes of the workers, in columns or in one column such as WORKER00000013; Happy; Happy,Excited; A:5; V:6; D:4;
DETAILED = "Labels/labels_detailed.csv"
DETAIL = re.compile(r"\s*\w+\s*;\s*(?P<word>[^;]*?)\s*;.*")
WORDS = {
    "Angry": "A",
    "Sad": "S",
    "Happy": "H",
    "Surprise": "U",
    "Fear": "F",
    "Disgust": "D",
    "Contempt": "C",
    "Neutral": "N",
}
GENDERS = {"Male": "male", "Female": "female", "Unknown": None}
NAME = r"MSP-PODCAST_(?P<podcast>[0-9A-Za-z]+)_[0-9A-Za-z_]+\.wav"
DIMENSIONS = {"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}
WANTED = "the folder with Labels, Audios and Transcripts"
COLUMNS = {
    **{dimension: Value("float64") for dimension in DIMENSIONS},
    "gender": Value("string"),
    "podcast": Value("string"),
}


def load_msp_podcast(
    root: str | os.PathLike,
    labels: str = "8",
    test_set: str = "Test1",
    no_agreement: bool = False,
    allow_shared_groups: bool = False,
    allow_missing: bool = False,
) -> DatasetDict:
    """
    MSP-Podcast in the partition of its release: train, validation and test. `group` is the speaker, or the podcast
    where the speaker is unknown. Arousal, valence and dominance are means from 1 (calm, negative, weak) to 7. Sizes
    differ between releases, so none is checked.

    Where Labels/labels_detailed.csv is there, `votes` has the number of workers for each class; what they chose besides
    these does not count. Early releases have no transcripts: then every text is None, with a warning.

    Args:
        root: the folder with Labels, Audios and Transcripts.
        labels: "8" (angry, sad, happy, surprised, fearful, disgusted, contempt, neutral), "4" (neutral, happy, angry,
            sad), or "all": these and other, and a null label where the raters did not agree.
        test_set: the set that becomes "test", "Test1" (the usual one) or "Test2". The other is left out: it shares
            speakers with this one.
        no_agreement: take turns of "train" on which the raters did not agree too, with a null label, to learn their
            votes.
        allow_shared_groups: take a partition that has a group in two splits, with a warning, instead of raising.
        allow_missing: take turns whose file is not there as utterances without audio.
    """
    choice("MSP-Podcast", "labels", labels, list(LABEL_SETS))
    choice("MSP-Podcast", "test_set", test_set, TEST_SETS)
    root = check_root("MSP-Podcast", root, WANTED)
    path = need("MSP-Podcast", root, LABEL_FILES, WANTED)
    audio = need("MSP-Podcast", root, ["Audios", "Audio"], WANTED)
    texts = read_transcripts("MSP-Podcast", root, ["Transcripts"])
    splits = {**SPLITS, **dict.fromkeys((*TEST_SETS, HIDDEN)), test_set: "test"}
    columns = ["FileName", "EmoClass", *DIMENSIONS.values(), "SpkrID", "Gender", "Split_Set"]
    names = canonical_names([LABELS[code] for code in LABEL_SETS[labels] if code != "X"])
    votes = read_votes(root / DETAILED, names) if (root / DETAILED).exists() else None
    rows, left_out = [], Counter()
    for number, entry in enumerate(read_rows(path, columns), 2):
        where = f"{path}, row {number},"
        split = lookup(splits, entry["Split_Set"], where, "Split_Set")
        lookup(LABELS, entry["EmoClass"], where, "EmoClass")
        if split is None:
            left_out[f"of {entry['Split_Set']}"] += 1
        elif entry["EmoClass"] in LABEL_SETS[labels] or (no_agreement and (entry["EmoClass"], split) == ("X", "train")):
            of_votes = {} if votes is None else {"votes": votes.get(entry["FileName"])}
            rows.append(row_of(entry, audio, texts, split, where) | of_votes)
        else:
            left_out[f"of EmoClass {entry['EmoClass']}"] += 1
    rows.sort(key=lambda row: ("train", "validation", "test").index(row["split"]))
    check_shared_groups(rows, allow_shared_groups)
    features = COLUMNS if votes is None else COLUMNS | {"votes": vote_feature(names)}
    return build_corpus("MSP-Podcast", rows, names, features, left_out=left_out, apart=(), allow_missing=allow_missing)


def read_votes(path: Path, names: Sequence[str]) -> dict[str, dict[str, int] | None]:
    """The number of workers for each class of `names`, by the name of the file; None where no vote is for one."""
    entries = read_rows(path, ["FileName"])
    column = next((name for name in ("EmoClass_Major", "EmoDetail") if entries and name in entries[0]), None)
    if column is None:
        raise ValueError(f"{path} has neither a column EmoClass_Major nor EmoDetail, which have the workers' votes.")
    said: dict[str, list[str]] = {}
    for number, entry in enumerate(entries, 2):
        word = entry[column]
        if column == "EmoDetail":
            match = DETAIL.fullmatch(word)
            if match is None:
                raise ValueError(f"{path}, row {number}, has the EmoDetail {word!r}: it must be WORKER1; Happy; ...;.")
            word = match["word"]
        said.setdefault(entry["FileName"], []).append("Other" if word.startswith("Other") else word.strip())
    classes = {word: LABELS[code] for word, code in WORDS.items()} | {"Other": LABELS["O"]}
    warn_of_words("MSP-Podcast", said.values(), classes)
    return {file: count_votes(words, classes, names) for file, words in said.items()}


def row_of(entry: Mapping[str, str], audio: Path, texts: Mapping[str, str], split: str, where: str) -> dict[str, Any]:
    """The row of a turn, by its line in the table of labels."""
    name = re.fullmatch(NAME, entry["FileName"])
    if name is None:
        raise ValueError(
            f"{where} has the FileName {entry['FileName']!r}: it must be such as MSP-PODCAST_0001_0008.wav."
        )
    id_ = entry["FileName"].removesuffix(".wav")
    speaker = None if entry["SpkrID"] in ("Unknown", "") else entry["SpkrID"]
    return {
        "id": id_,
        "audio": str(audio / entry["FileName"]),
        "text": texts.get(id_) or None,
        "label": LABELS[entry["EmoClass"]],
        "corpus_label": entry["EmoClass"],
        "speaker": speaker,
        "group": speaker or f"podcast {name['podcast']}",  # the numbers of podcasts are also those of speakers
        "split": split,
        **{dimension: rating(entry[column], where, column) for dimension, column in DIMENSIONS.items()},
        "gender": lookup(GENDERS, entry["Gender"], where, "Gender"),
        "podcast": name["podcast"],
    }


def rating(value: str, where: str, column: str) -> float:
    """The mean rating in a cell; a ValueError names a cell that is no number."""
    try:
        return float(value)
    except ValueError as error:
        raise ValueError(f"{where} has the {column} {value!r}: it must be a number.") from error


def check_shared_groups(rows: Sequence[Mapping[str, Any]], allow_shared_groups: bool) -> None:
    """
    Raises a ValueError, or warns if `allow_shared_groups`, where a group is in several splits. By its readme the
    partition of the corpus "attempts" to keep speakers apart; in some releases it does not.
    """
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    shared = [group for group, where in splits.items() if len(where) > 1]
    if not shared:
        return
    found = (
        f"{len(shared)} of {len(splits)} groups of MSP-Podcast are in several splits of this release, the first is "
        f"{shared[0]!r}"
    )
    if not allow_shared_groups:
        raise ValueError(f"{found}: say allow_shared_groups to take the partition as it is.")
    warnings.warn(f"{found}.", stacklevel=3)
