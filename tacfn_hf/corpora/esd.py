"""ESD: 10 English and 10 Mandarin speakers, 350 sentences, 5 emotions. Zhou et al. 2022,
doi:10.1016/j.specom.2021.11.006."""

import codecs
import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from datasets import DatasetDict, Value

from .corpus_files import audio_files, check_root, choice, lookup, parts_of_name, read_text
from .emotions import canonical_names
from .schema import build_corpus


NAME = r"(?P<speaker>\d{4})_(?P<number>\d{6})"
# The folders, and what they stand for.
LABELS = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprised"}
# The words of the text files, and their folders.
WORDS = {name: name for name in LABELS} | {
    "生气": "Angry",
    "快乐": "Happy",
    "中立": "Neutral",
    "伤心": "Sad",
    "惊喜": "Surprise",
}
MEN = (4, 5, 6, 8, 10, 11, 12, 13, 14, 20)  # from the documentation of the corpus
SPEAKERS = {
    f"{number:04}": ("mandarin" if number <= 10 else "english", "male" if number in MEN else "female")
    for number in range(1, 21)
}
PARTITIONS = {"train": "train", "evaluation": "evaluation", "test": "test"}
WANTED = "the folder with 0001 to 0020"
PUBLISHED = {"all": 35_000, "english": 17_500, "mandarin": 17_500}
COLUMNS = {"language": Value("string"), "gender": Value("string"), "partition": Value("string")}


class Line(NamedTuple):
    """A line of a text file: its text and its emotion (the name of a folder), if it has them, and where it is."""

    text: str | None
    emotion: str | None
    where: str


def load_esd(root: str | os.PathLike, language: str = "all") -> DatasetDict:
    """
    ESD. The label is the folder of a clip, and the text is in the text file of the speaker. The published text files
    are in several encodings, and some have their emotions in Chinese. In a few lines something is missing, or a space
    stands in place of a tab. All of this is read. Clips without a text or an emotion in their line are warned of; an id
    with two lines has no text. Lines without a clip are left out and counted.

    One release divides the clips of every speaker into train, evaluation and test: that is `partition`, which is None
    in the other release. It is not a split here, since every speaker is in all of its parts.

    Protocol: folds over speakers (`group`).

    Args:
        root: the folder with 0001 to 0020.
        language: "english", "mandarin" or "all".

    Raises:
        ValueError: another folder, a name that can't be read, a text file that is missing or can't be read, or a clip
            for which folder and text file have different emotions.
    """
    choice("ESD", "language", language, list(PUBLISHED))
    root = check_root("ESD", root, WANTED)
    rows, incomplete, others, lines = [], [], 0, {}
    for path in audio_files("ESD", root, "[0-9][0-9][0-9][0-9]/*/**/*.wav", WANTED):
        speaker, emotion, *inner = path.relative_to(root).parts[:-1]
        spoken, gender = lookup(SPEAKERS, speaker, str(path), "speaker")
        if language not in ("all", spoken):
            others += 1
            continue
        if parts_of_name("ESD", NAME, path)["speaker"] != speaker:
            raise ValueError(f"{path} is in the folder of the speaker {speaker}: its name must begin with that.")
        if speaker not in lines:
            lines[speaker] = read_lines(root / speaker / f"{speaker}.txt", spoken)
        label = lookup(LABELS, emotion, str(path), "emotion")
        line = lines[speaker].pop(path.stem, Line(None, None, ""))
        if line.emotion not in (None, emotion):
            raise ValueError(f"{path} is in the folder {emotion}, but {line.where} says {line.emotion}.")
        if line.text is None or line.emotion is None:
            incomplete.append(path.stem)
        rows.append(
            {
                "id": path.stem,
                "audio": str(path),
                "text": line.text,
                "label": label,
                "corpus_label": emotion,
                "speaker": speaker,
                "group": speaker,
                "language": spoken,
                "gender": gender,
                "partition": lookup(PARTITIONS, "/".join(inner), str(path), "partition") if inner else None,
            }
        )
    if incomplete:
        warnings.warn(
            f"ESD: {len(incomplete)} clips have no line with text and emotion, the first is {incomplete[0]}.",
            stacklevel=2,
        )
    return build_corpus(
        "ESD",
        rows,
        canonical_names(LABELS.values()),
        COLUMNS,
        left_out={
            "of the other language": others,
            "lines without a clip": sum(len(rest) for rest in lines.values()),
        },
        published={"utterances": (len(rows), PUBLISHED[language])},
    )


def read_lines(path: Path, language: str) -> dict[str, Line]:
    """The lines of a text file by their ids, such as `0011_000001<tab>The nine the eggs, I keep.<tab>Neutral`."""
    lines: dict[str, Line] = {}
    for number, line in enumerate(read_text(path, encoding_of(path, language)).split("\n"), start=1):
        where = f"{path}, line {number},"
        if not line.strip():
            continue
        match = re.fullmatch(r"(\d{4}_\d{6})\b\s*(.*)", line.strip())
        if match is None:
            raise ValueError(f"{where} is {line!r}: it must be an id, a text and an emotion, separated by tabs.")
        text, tab, word = match[2].rpartition("\t")
        if not tab:
            text, _, word = match[2].rpartition(" ")
            if word not in WORDS:  # the emotion is missing
                text, word = match[2], None
        emotion = None if word is None else lookup(WORDS, word.strip(), where, "emotion")
        known = match[1] in lines  # which of two texts is that of the clip can't be known
        lines[match[1]] = Line(None if known else text.strip() or None, emotion, where)
    return lines


def encoding_of(path: Path, language: str) -> str:
    """Which of the encodings of the published text files this one is in."""
    if not path.is_file():
        return "utf-8-sig"  # reading it says so
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if decodes(data, "utf-8") is not None:
        return "utf-8-sig"
    text = decodes(data, "gb18030")
    # GB 18030 makes Chinese characters of most bytes: where the speech is English, it is right only without them.
    if language == "english" and (text is None or re.search(r"[\u3400-\u9fff]", text)):
        return "cp1252"
    return "gb18030"


def decodes(data: bytes, encoding: str) -> str | None:
    """The text that bytes are in an encoding; None if they are not in it."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None
