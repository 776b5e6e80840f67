"""
MELD: utterances of the series Friends, 7 emotions and 3 sentiments. Poria et al. 2019, doi:10.18653/v1/P19-1050.

Read as MELD.Raw is delivered, its three inner archives unpacked.
"""

import os
import re
from pathlib import Path
from typing import Any

from datasets import DatasetDict, Value

from .corpus_files import check_root, choice, lookup, need
from .emotions import canonical_names
from .schema import build_corpus
from .tables import read_rows


LABELS = {
    "emotion": {
        "neutral": "neutral",
        "joy": "happy",
        "sadness": "sad",
        "anger": "angry",
        "surprise": "surprised",
        "fear": "fearful",
        "disgust": "disgusted",
    },
    "sentiment": {name: name for name in ("negative", "neutral", "positive")},
}
NAMES = {"emotion": canonical_names(LABELS["emotion"].values()), "sentiment": list(LABELS["sentiment"])}
# The corpus' name of each split: ours, its folder of clips, and how many utterances it has.
SPLITS = {
    "train": ("train", "train_splits", 9989),
    "dev": ("validation", "dev_splits_complete", 1109),
    "test": ("test", "output_repeated_splits_test", 2610),
}
CSV_COLUMNS = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime".split(",")
)
COLUMNS = {
    "emotion": Value("string"),
    "sentiment": Value("string"),
    "dialogue": Value("int64"),
    "utterance": Value("int64"),
    "season": Value("int64"),
    "episode": Value("int64"),
    "start": Value("float64"),
    "end": Value("float64"),
}
SUFFIXES = (".wav", ".flac", ".mp4")  # the later ones where there are none before
REPLACEMENT = "final_videos_test"  # in front of the name of a clip
# The first release has the codes of cp1252 as characters; the authors replaced these later on, as is done here.
CHARACTERS = {code: bytes([code]).decode("cp1252") for code in b"\x85\x91\x92\x93\x94\x96\x97"} | {0xA0: " "}
KNOWN_MISSING = {
    "train_dia125_utt3": "the clip can't be opened",
    "dev_dia110_utt7": "the clip is not in the release",
    "test_dia38_utt4": "the clip is cut wrongly, 305 s long",
    "test_dia220_utt0": "the clip is cut wrongly, 235 s of another scene",
}
WANTED = "the folder MELD.Raw with its train.tar.gz, dev.tar.gz and test.tar.gz unpacked in it"


def load_meld(root: str | os.PathLike, labels: str = "emotion", allow_missing: bool = False) -> DatasetDict:
    """
    MELD with its official splits. The `group` is the dialogue. The main characters speak in all splits, so results are
    not independent of speakers.

    The tables are read as UTF-8, or else as cp1252. The first release has UTF-8 with codes of cp1252 for quotes and
    dashes; they become these characters, as in the later release.

    Audio is taken from a wav or flac beside the mp4 of the same name, if there is one, else from the mp4, which PyAV
    decodes. The `duration` of an mp4, and of an utterance without a clip, is that of the annotated times: these are 0 s
    apart for test_dia155_utt3 and less than 0.2 s for 146 utterances. `start` and `end` are seconds within the episode.

    132 clips of the test split exist twice, the second time as final_videos_test... Users report that the second one
    has what the table says. It is taken; the first one is counted as left out, like clips that are in no table. Four
    utterances keep their text and lose their audio: train_dia125_utt3 (can't be opened), dev_dia110_utt7 (not in the
    release), test_dia38_utt4 and test_dia220_utt0 (annotated and cut as 305 s and 235 s). These are reported as wrong
    too, and are kept: train_dia309_utt0 (41 s), and clips that the automatic alignment has cut beside their text.

    Args:
        root: the folder MELD.Raw. The tables and folders of clips may be in it or in its folders train, dev and test;
            also read is the form train.csv with clips directly in train.
        labels: "emotion", 7 classes, or "sentiment": negative, neutral, positive.
        allow_missing: take utterances without a clip as text alone; there need be no clips at all.

    Raises:
        ValueError: another folder, archives that are still packed, columns that are missing, codes or times that can't
            be read.
    """
    choice("MELD", "labels", labels, list(LABELS))
    root = check_root("MELD", root, WANTED)
    rows, published, replaced, unknown = [], {}, 0, 0
    for split, (name, folder_name, count) in SPLITS.items():
        table = need("MELD", root, [f"{split}_sent_emo.csv", f"{split}/{split}_sent_emo.csv", f"{split}.csv"], WANTED)
        folders = [folder_name, f"{split}/{folder_name}", split]
        if allow_missing and not any((root / folder).is_dir() for folder in folders):
            folder, clips = root / folder_name, set()
        else:
            folder = need("MELD", root, folders, WANTED)
            clips = {path.name for path in folder.iterdir() if path.suffix in SUFFIXES and path.name[0] != "."}
        part = [
            {**row_of(line, f"{table}, Sr No. {line['Sr No.']},", split, labels, folder, clips), "split": name}
            for line in read_rows(table, CSV_COLUMNS, encoding_of(table))
        ]
        annotated = {f"dia{row['dialogue']}_utt{row['utterance']}" for row in part}
        stems = {Path(clip).stem for clip in clips}
        replaced += sum(f"{REPLACEMENT}{stem}" in stems and stem in stems for stem in annotated)
        unknown += len({stem.removeprefix(REPLACEMENT) for stem in stems} - annotated)
        published[f"utterances of {split}"] = (len(part), count)
        rows += part
    return build_corpus(
        "MELD",
        rows,
        NAMES[labels],
        COLUMNS,
        left_out={f"clips with a {REPLACEMENT} one": replaced, "clips without an utterance": unknown},
        published=published,
        apart=("group",),  # not the speaker
        allow_missing=allow_missing,
        known_missing=KNOWN_MISSING,
    )


def encoding_of(table: Path) -> str:
    """UTF-8 or cp1252, whichever a table can be read in."""
    try:
        table.read_text("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def row_of(line: dict[str, str], where: str, split: str, labels: str, folder: Path, clips: set[str]) -> dict[str, Any]:
    """The row of a line of a table; `clips` are the names of the files in `folder`, of which `load_meld` says more."""
    codes = {"emotion": line["Emotion"], "sentiment": line["Sentiment"]}
    names = {kind: lookup(LABELS[kind], code, where, kind) for kind, code in codes.items()}
    dialogue, utterance, season, episode = (
        whole_number(line, column, where) for column in ("Dialogue_ID", "Utterance_ID", "Season", "Episode")
    )
    start, end = (seconds(line, column, where) for column in ("StartTime", "EndTime"))
    if end < start:
        raise ValueError(f"{where} ends before it starts: {line['StartTime']} to {line['EndTime']}.")
    stem = f"dia{dialogue}_utt{utterance}"
    candidates = [f"{prefix}{stem}{suffix}" for prefix in (REPLACEMENT, "") for suffix in SUFFIXES]
    clip = next((name for name in candidates if name in clips), f"{stem}.mp4")
    return {
        "id": f"{split}_{stem}",
        "audio": str(folder / clip),
        "text": line["Utterance"].translate(CHARACTERS),
        "label": names[labels],
        "corpus_label": codes[labels],
        "speaker": line["Speaker"].translate(CHARACTERS),
        "group": f"{split}_dia{dialogue}",
        **({"duration": end - start} if clip.endswith(".mp4") else {}),  # libsndfile reads no mp4
        **codes,
        "dialogue": dialogue,
        "utterance": utterance,
        "season": season,
        "episode": episode,
        "start": start,
        "end": end,
    }


def whole_number(line: dict[str, str], column: str, where: str) -> int:
    """The number in a cell; a ValueError names a cell that is no whole number."""
    if not line[column].isdecimal():
        raise ValueError(f"{where} has the {column} {line[column]!r}: it must be a whole number.")
    return int(line[column])


def seconds(line: dict[str, str], column: str, where: str) -> float:
    """
    The seconds of a time such as 00:16:16,059. Some times have one digit of hours, or fewer than three after the comma.

    Raises:
        ValueError: a cell that is no such time.
    """
    match = re.fullmatch(r"(\d\d?):(\d\d):(\d\d,\d{1,3})", line[column])
    if match is None:
        raise ValueError(f"{where} has the {column} {line[column]!r}: it must be a time such as 00:16:16,059.")
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3].replace(",", "."))
