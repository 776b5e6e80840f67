"""MSP-IMPROV: six pairs of actors, improvised and read. Busso et al. 2017, doi:10.1109/TAFFC.2016.2515617."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from .annotators import count_votes, vote_feature, warn_of_words
from .corpus_files import check_root, choice, lookup, need, read_text, read_transcripts
from .emotions import canonical_names
from .schema import build_corpus


# X is "no agreement".
LABELS = {"A": "angry", "H": "happy", "S": "sad", "N": "neutral", "O": "other", "X": None}
LABEL_SETS = {"4": "AHSN", "all": "AHSNOX"}
RECORDINGS = {"R": "target read", "T": "target improvised", "S": "other improvised", "P": "natural interaction"}
RATINGS = {"A": "arousal", "V": "valence", "D": "dominance", "N": "naturalness"}
NUMBER = r"\d+(?:\.\d+)?|NaN"
# UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.200000; V:3.000000; D:NaN ; N:3.000000;
# The scenario (a sentence, and the emotion it was to evoke), who speaks (the number is that of the session), the
# recording, the turn; the label and the mean ratings. The audio is MSP-IMPROV-S01A-F01-P-FM01.wav.
LINE = re.compile(
    r"UTD-(?P<name>IMPROV-S(?P<scenario>\d\d[AHSN])-(?P<speaker>(?P<gender>[FM])\d(?P<session>\d))-"
    r"(?P<recording>[A-Z])-\w+)\.avi\s*;\s*(?P<label>\w+)\s*;"
    + "".join(rf"\s*{letter}:(?P<{name}>{NUMBER})\s*;" for letter, name in RATINGS.items())
)
# What a rater says, below the line of the turn. WORKER1; Angry; Angry,Frustrated; A:4.000000; V:2.000000; ...
RATER = re.compile(r"[\w-]+\s*;\s*(?P<word>[A-Za-z]+)\s*;.*")
WORDS = {"Angry": "A", "Happy": "H", "Sad": "S", "Neutral": "N", "Other": "O"}
# The corpus spells it so; copies of it do not.
EVALUATIONS = [
    f"{folder}{name}" for folder in ("", "Human labels/", "Labels/") for name in ("Evalution.txt", "Evaluation.txt")
]
TRANSCRIPTS = ("All_human_transcriptions", "Human_transcriptions/All_human_transcriptions")
WANTED = "the folder with Evalution.txt, Audio and All_human_transcriptions"
PUBLISHED, PUBLISHED_OF_4 = 8438, 7798  # tables 3 and 4 of the paper
COLUMNS = {
    "recording": Value("string"),
    "scenario": Value("string"),
    **{name: Value("float64") for name in RATINGS.values()},
    "gender": Value("string"),
}


def load_msp_improv(
    root: str | os.PathLike,
    labels: str = "4",
    group_by: str = "session",
    no_agreement: bool = False,
    allow_missing: bool = False,
) -> DatasetDict:
    """
    MSP-IMPROV. `recording` is target read, target improvised (both are the sentence of the scenario), other improvised
    (the other turns of the scenario) or natural interaction (between the recordings). Arousal, valence, dominance and
    naturalness are means from 1 to 5 as the file has them, None where it has NaN. `votes` has the number of raters for
    each class, None where the file has none.

    Protocol: folds over the six sessions, or over the twelve speakers (`group`).

    Args:
        root: the folder with Evalution.txt, Audio and All_human_transcriptions. Without the latter every text is None,
            with a warning.
        labels: "4" (angry, happy, sad, neutral) or "all": these and other, and a null label where the raters did not
            agree.
        group_by: "session" or "speaker".
        no_agreement: take turns on which the raters did not agree too, with a null label, to learn their votes.
        allow_missing: take turns whose file is not there as utterances without audio.
    """
    choice("MSP-IMPROV", "labels", labels, list(LABEL_SETS))
    choice("MSP-IMPROV", "group_by", group_by, ["session", "speaker"])
    root = check_root("MSP-IMPROV", root, WANTED)
    path = need("MSP-IMPROV", root, EVALUATIONS, WANTED)
    # Audio/session1, or session1 in the root itself.
    audio = need("MSP-IMPROV", root, ["Audio", "session1"], WANTED)
    audio = audio if audio.name == "Audio" else root
    texts = read_transcripts("MSP-IMPROV", root, TRANSCRIPTS)
    rows, left_out = [], Counter()
    turns = read_evaluations(path)
    names = canonical_names([LABELS[code] for code in LABEL_SETS[labels] if code != "X"])
    classes = {word: LABELS[code] for word, code in WORDS.items()}
    warn_of_words("MSP-IMPROV", (turn["words"] for turn, _ in turns), classes)
    for turn, where in turns:
        lookup(LABELS, turn["label"], where, "label")
        if turn["label"] in LABEL_SETS[labels] or (no_agreement and turn["label"] == "X"):
            row = row_of(turn, audio, texts, group_by, where)
            rows.append(row | {"votes": count_votes(turn["words"], classes, names)})
        else:
            left_out[f"labelled {turn['label']}"] += 1
    of_4 = sum(turn["label"] in LABEL_SETS["4"] for turn, _ in turns)
    return build_corpus(
        "MSP-IMPROV",
        rows,
        names,
        COLUMNS | {"votes": vote_feature(names)},
        left_out=left_out,
        published={"turns": (len(turns), PUBLISHED), "turns of 4 emotions": (of_4, PUBLISHED_OF_4)},
        allow_missing=allow_missing,
    )


def read_evaluations(path: Path) -> list[tuple[dict[str, Any], str]]:
    """The parts of each line that is of a turn, with the `words` of the raters below it, and where it is."""
    turns: list[tuple[dict[str, Any], str]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.startswith("UTD-IMPROV-"):
            rater = RATER.fullmatch(line.strip())
            if rater is not None and turns:
                turns[-1][0]["words"].append(rater["word"])
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(
                f"{path}, line {number}, is {line!r}: it must be such as 'UTD-IMPROV-S01A-F01-P-FM01.avi; N; "
                "A:3.200000; V:3.000000; D:3.000000 ; N:3.000000;'."
            )
        turns.append((match.groupdict() | {"words": []}, f"{path}, line {number},"))
    return turns


def row_of(turn: Mapping[str, Any], audio: Path, texts: Mapping[str, str], group_by: str, where: str) -> dict[str, Any]:
    """The row of a turn, by the parts of its line in the evaluations."""
    id_ = f"MSP-{turn['name']}"
    ratings = {name: None if turn[name] == "NaN" else float(turn[name]) for name in RATINGS.values()}
    folder = audio / f"session{turn['session']}" / f"S{turn['scenario']}" / turn["recording"]
    return {
        "id": id_,
        "audio": str(folder / f"{id_}.wav"),
        "text": texts.get(id_) or None,
        "label": LABELS[turn["label"]],
        "corpus_label": turn["label"],
        "speaker": turn["speaker"],
        "group": f"session{turn['session']}" if group_by == "session" else turn["speaker"],
        "recording": lookup(RECORDINGS, turn["recording"], where, "recording"),
        "scenario": turn["scenario"],
        **ratings,
        "gender": "female" if turn["gender"] == "F" else "male",
    }
