"""IEMOCAP: 10 actors in 5 sessions of dialogues, improvised and scripted. Busso et al. 2008,
doi:10.1007/s10579-008-9076-6."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from .annotators import vote_feature, warn_of_words
from .corpus_files import check_root, check_unpacked, choice, lookup, need, read_text
from .emotions import canonical_names
from .schema import build_corpus


# The codes of EmoEvaluation; xxx is "no agreement".
LABELS = {
    "neu": "neutral",
    "ang": "angry",
    "hap": "happy",
    "exc": "excited",
    "sad": "sad",
    "fru": "frustrated",
    "fea": "fearful",
    "sur": "surprised",
    "dis": "disgusted",
    "oth": "other",
    "xxx": None,
}
# What a rater says, by the code. C-E2:<tab>Anger; Frustration;<tab>() has the words of one who is no speaker.
RATER = re.compile(r"C-E\d+:\s*([^(]*)(\(.*)?")
WORDS = {
    "Neutral": "neu",
    "Neutral state": "neu",
    "Anger": "ang",
    "Happiness": "hap",
    "Excited": "exc",
    "Sadness": "sad",
    "Frustration": "fru",
    "Fear": "fea",
    "Surprise": "sur",
    "Disgust": "dis",
    "Other": "oth",
}
# The codes of each set of labels. In that of 4, excited counts as happy: the usual protocol, of 5531 utterances.
LABEL_SETS = {"4": ("neu", "ang", "hap", "exc", "sad"), "6": ("neu", "ang", "hap", "exc", "sad", "fru"), "all": LABELS}
# Utterances of each code: 5531 in the set of 4, 7380 in that of 6, 10039 in all.
PUBLISHED = {"neu": 1708, "ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "fru": 1849}
PUBLISHED |= {"fea": 40, "sur": 107, "dis": 2, "oth": 3, "xxx": 2507}
# [6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5000, 2.5000, 2.5000]
NUMBER = r"(\d+(?:\.\d+)?)"
SUMMARY = re.compile(rf"\[{NUMBER} - {NUMBER}\]\t(\S+)\t(\w+)\t\[{NUMBER}, {NUMBER}, {NUMBER}\]\s*")
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me. The dialogue and the turn, which begins with who speaks.
TURN = re.compile(r"(?P<session>Ses0\d)[FM]_(?P<kind>impro|script)\w+_(?P<gender>[FM])\d+")
TRANSCRIPT = re.compile(r"(\S+) \[[\d.]+-[\d.]+\]: ?(.*)")
KINDS = {"impro": "improvised", "script": "scripted"}
GENDERS = {"F": "female", "M": "male"}
SESSIONS = [f"Session{number}" for number in range(1, 6)]
WANTED = "the folder IEMOCAP_full_release with Session1 to Session5"
COLUMNS = {
    **{name: Value("string") for name in ("session", "dialogue", "kind", "gender")},
    **{name: Value("float64") for name in ("valence", "arousal", "dominance", "start", "end")},
}


def load_iemocap(
    root: str | os.PathLike, labels: str = "4", group_by: str = "session", allow_missing: bool = False
) -> DatasetDict:
    """
    IEMOCAP by its EmoEvaluation, transcriptions and sentence wavs.

    Protocols: leave one session out, or leave one speaker out (`group`). The speaker of an utterance is who says it,
    not whom the dialogue is named after. `votes` has how often the raters, apart from the speakers themselves, named
    each class. A rater may name several, each of which is a vote. Words for none of the classes do not count. Valence,
    arousal and dominance are means from 1 to 5, `start` and `end` are seconds in the dialogue, `kind` is improvised or
    scripted.

    Args:
        root: the folder with Session1 to Session5, or some of them.
        labels: "4" (neutral, angry, happy with excited, sad), "6" (neutral, angry, happy, sad, excited, frustrated),
            or "all": every utterance, with a null label where the raters did not agree.
        group_by: "session" or "speaker".
        allow_missing: take utterances whose file is not there as utterances without audio.

    Raises:
        ValueError: another folder, a session without EmoEvaluation, a line or code that is none of the corpus, an
            utterance that occurs twice or has no transcript, also where `labels` leaves it out.
    """
    choice("IEMOCAP", "labels", labels, list(LABEL_SETS))
    choice("IEMOCAP", "group_by", group_by, ["session", "speaker"])
    root = check_root("IEMOCAP", root, WANTED)
    need("IEMOCAP", root, SESSIONS, WANTED)
    check_unpacked("IEMOCAP", root, [name for name in SESSIONS if not (root / name).exists()])
    rows, seen, left_out, words = [], set(), Counter(), []
    names = canonical_names({named(code, labels) for code in LABEL_SETS[labels]} - {None})
    for evaluation in evaluations_of(root):
        dialogue = evaluation.stem
        session = evaluation.parents[2]
        texts = read_transcription(session / "dialog" / "transcriptions" / f"{dialogue}.txt")
        for turn, where in read_evaluation(evaluation):
            lookup(LABELS, turn["code"], where, "emotion")
            if turn["id"] not in texts:
                raise ValueError(f"{where} has the utterance {turn['id']}, which has no line in the transcription.")
            if turn["id"] in seen:  # maybe with a label that is left out
                raise ValueError(f"{where} has the utterance {turn['id']}, which occurs twice.")
            seen.add(turn["id"])
            audio = session / "sentences" / "wav" / dialogue / f"{turn['id']}.wav"
            row = row_of(turn, where, labels, group_by)
            words += turn["words"]
            said = [name for of_rater in turn["words"] for name in named_by(of_rater, labels)]
            row["votes"] = {name: said.count(name) for name in names} if said else None
            if turn["code"] in LABEL_SETS[labels]:
                rows.append(row | {"text": texts[turn["id"]], "audio": str(audio), "dialogue": dialogue})
            else:
                left_out[f"labelled {turn['code']}"] += 1
    published = {code: PUBLISHED[code] for code in LABEL_SETS[labels]}
    counts = Counter(row["corpus_label"] for row in rows)
    warn_of_words("IEMOCAP", words, WORDS)
    return build_corpus(
        "IEMOCAP",
        rows,
        names,
        COLUMNS | {"votes": vote_feature(names)},
        left_out=left_out,
        published={f"utterances of labels={labels}": (len(rows), sum(published.values()))}
        | {f"utterances labelled {code}": (counts[code], number) for code, number in published.items()},
        allow_missing=allow_missing,
    )


def named(code: str, labels: str) -> str | None:
    """The class of a code in a set of labels."""
    return "happy" if labels == "4" and code == "exc" else LABELS[code]


def named_by(words: Sequence[str], labels: str) -> list[str]:
    """The classes that the words of a rater are for, each once."""
    codes = [WORDS[word] for word in words if WORDS.get(word) in LABEL_SETS[labels]]
    return list(dict.fromkeys(name for code in codes if (name := named(code, labels)) is not None))


def evaluations_of(root: Path) -> list[Path]:
    """The EmoEvaluation files of the sessions that are there, one of each dialogue."""
    paths = []
    for session in (root / name for name in SESSIONS if (root / name).exists()):
        found = sorted(session.glob("dialog/EmoEvaluation/Ses*.txt"))
        if not found:
            raise ValueError(f"{session} has no dialog/EmoEvaluation/Ses*.txt: complete the session, or take it away.")
        paths += found
    return paths


def row_of(turn: Mapping[str, Any], where: str, labels: str, group_by: str) -> dict[str, Any]:
    """A row without its text, audio and dialogue."""
    name = TURN.fullmatch(turn["id"])
    if name is None:
        raise ValueError(f"{where} has the utterance {turn['id']!r}: it must be such as Ses01F_impro01_F000.")
    session, speaker = name["session"][-1], name["session"] + name["gender"]
    return {
        "id": turn["id"],
        "label": named(turn["code"], labels),
        "corpus_label": turn["code"],
        "speaker": speaker,
        "group": session if group_by == "session" else speaker,
        "session": session,
        "kind": KINDS[name["kind"]],
        "gender": GENDERS[name["gender"]],
        **{key: float(turn[key]) for key in ("valence", "arousal", "dominance", "start", "end")},
    }


def read_evaluation(path: Path) -> list[tuple[dict[str, Any], str]]:
    """The summary line of each utterance with the `words` of each rater, and where it is."""
    turns: list[tuple[dict[str, Any], str]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        rater = RATER.fullmatch(line.strip())
        if rater is not None and turns:
            turns[-1][0]["words"].append([word.strip() for word in rater[1].split(";") if word.strip()])
        if not line.lstrip().startswith("["):
            continue
        match = SUMMARY.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{path}, line {number}, is {line!r}: it must be [start - end], utterance, emotion and [valence, "
                "arousal, dominance], separated by tabs."
            )
        names = ("start", "end", "id", "code", "valence", "arousal", "dominance")
        turn = dict(zip(names, match.groups(), strict=True)) | {"words": []}
        turns.append((turn, f"{path}, line {number},"))
    return turns


def read_transcription(path: Path) -> dict[str, str | None]:
    """The text of each utterance. Lines without an id or times, such as of laughter in between, are not read."""
    texts = {}
    for line in read_text(path).split("\n"):
        match = TRANSCRIPT.fullmatch(line.rstrip())
        if match is not None:
            texts[match[1]] = match[2].strip() or None
    return texts
