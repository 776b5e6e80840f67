"""The one schema of all corpora: its columns, and what every corpus is checked for."""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, Value
from tqdm.auto import tqdm

from ..importing import describe_counts


# The columns of every corpus.
SCHEMA = {
    "id": Value("string"),
    "audio": Audio(decode=False),
    "text": Value("string"),
    "label": None,  # the corpus' own classes
    "corpus_label": Value("string"),
    "speaker": Value("string"),
    "group": Value("string"),
    "duration": Value("float64"),
}
POINTER = b"version https://git-lfs"
# Of files whose audio PyAV decodes.
CONTAINER_SUFFIXES = (".mp4", ".m4a", ".mov", ".webm", ".mkv", ".avi")


def build_corpus(
    corpus: str,
    rows: Sequence[Mapping[str, Any]],
    label_names: Sequence[str],
    columns: Mapping[str, Any] | None = None,
    *,
    label_feature: Any = None,
    left_out: Mapping[str, int] | None = None,
    published: Mapping[str, tuple[int, int]] | None = None,
    apart: Sequence[str] = ("group", "speaker"),
    allow_missing: bool = False,
    known_missing: Mapping[str, str] | None = None,
) -> DatasetDict:
    """
    The rows of a corpus in the schema, checked: what every reader ends with.

    The columns are `id`, `audio` (`Audio(decode=False)`: a path, nothing is copied or decoded), `text`, `label`,
    `corpus_label` (the corpus' own code), `speaker`, `group` (what must not be split), `duration` in seconds, and
    `columns`.

    Args:
        corpus: what messages call it.
        rows: of each utterance `id`, `audio` (an absolute path, None, or what a table holds: a dict of `bytes` and
            `path`, which is taken as it is, not looked for), `text` (or None), `label` (a name, or None;
            a list of names where `label_feature` says so), `corpus_label`, `speaker` (or None), `group`, the keys of
            `columns`, optionally `split` ("train" where it is absent) and `duration` (else it is read from the header
            of the file).
        label_names: the classes, in the order of their indices.
        columns: further columns and their `datasets` features.
        label_feature: the feature of `label` where it is not a single `ClassLabel`.
        left_out: why rows of the corpus are not among `rows`, and how many.
        published: what is counted, with the number that was found and the one that is published; where they differ,
            a warning has both.
        apart: columns of which no value may be in two splits.
        allow_missing: take utterances whose file is not there as utterances without audio, instead of raising.
        known_missing: ids of clips that are known to be missing or broken, and what is known: these lose their audio,
            with a warning.

    Returns:
        The splits that occur. `info.description` of each says what was counted and left out.

    Raises:
        ValueError: no rows, an id twice, a label that is not among the names, a group or speaker in two splits, a file
            that is missing or is no audio.
    """
    if not rows:
        raise ValueError(f"{corpus} has no utterance: {describe_counts(left_out or {})} left out.")
    rows = [dict(row) for row in rows]
    seen = set()
    for row in rows:
        if row["id"] in seen:
            raise ValueError(f"The id {row['id']!r} occurs twice in {corpus}: every utterance needs an id of its own.")
        seen.add(row["id"])
    notes = {
        "left out": describe_counts(left_out or {}),
        "without audio": str(attach_audio(corpus, rows, allow_missing, known_missing or {})),
        "without text": str(sum(row["text"] is None for row in rows)),
        "without label": str(sum(row["label"] is None for row in rows)),
    }
    for what, (found, number) in (published or {}).items():
        if found != number:
            warnings.warn(f"{corpus}, {what}: {found} were found, {number} are published.", stacklevel=3)

    label = label_feature or ClassLabel(names=list(label_names))
    features = Features({**SCHEMA, "label": label, **(columns or {})})
    index = {name: i for i, name in enumerate(label_names)}
    for row in rows:
        row["label"] = class_index(row["label"], index, row["id"], corpus)
        if isinstance(row["audio"], str):
            row["audio"] = {"bytes": None, "path": row["audio"]}
    description = "\n".join(f"{name:<15}{note}" for name, note in notes.items())
    splits = {}
    for name in dict.fromkeys(row.get("split", "train") for row in rows):
        part = [row for row in rows if row.get("split", "train") == name]
        splits[name] = as_dataset(part, features, description)
    check_apart(corpus, splits, apart)
    return DatasetDict(splits)


def attach_audio(corpus: str, rows: list[dict[str, Any]], allow_missing: bool, known_missing: Mapping[str, str]) -> int:
    """Sets `audio` to None where there is no usable file, and `duration` where it is not known; how many have none."""
    missing, known = [], []
    for row in tqdm(rows, desc=f"Opening {corpus}", unit="utterance"):
        row.setdefault("duration", None)
        if row["audio"] is not None and row["id"] in known_missing:
            known.append(row["id"])
            row["audio"] = None
        if isinstance(row["audio"], str) and not os.path.isfile(row["audio"]):
            missing.append(row["audio"])
            row["audio"] = None
        if row["audio"] is not None and row["duration"] is None:
            row["duration"] = duration_of(row["audio"], row["id"])
    if missing and not allow_missing:
        raise ValueError(
            f"{len(missing)} of {len(rows)} audio files of {corpus} are missing, the first is {missing[0]}: complete "
            "the corpus, or say allow_missing=true to take these as utterances without audio."
        )
    if missing:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        warnings.warn(f"{len(missing)} of {len(rows)} audio files of {corpus} are missing: {some}.", stacklevel=4)
    if known:
        named = ", ".join(f"{id_} ({known_missing[id_]})" for id_ in known)
        warnings.warn(f"{corpus}: taken as utterances without audio, as known: {named}.", stacklevel=4)
    return sum(row["audio"] is None for row in rows)


def duration_of(audio: str | Mapping[str, Any], id_: str) -> float | None:
    """
    Seconds, from the header of an audio file or of its bytes; None where a table has no bytes of it, and of containers
    that libsndfile does not read.
    """
    if isinstance(audio, str):
        name, file = audio, audio
    elif audio["bytes"] is None:
        return None
    else:
        name, file = audio["path"] or "its bytes", pa.BufferReader(audio["bytes"])
    try:
        return soundfile.info(file).duration
    except soundfile.SoundFileError as error:
        if name.lower().endswith(CONTAINER_SUFFIXES):
            return None
        if isinstance(audio, str) and is_pointer(audio):
            raise ValueError(f"{audio} is a git LFS pointer: run git lfs pull where it comes from.") from error
        reason = getattr(error, "error_string", str(error)).removeprefix("Error : ")
        raise ValueError(f"The audio of id {id_!r} ({name}) can't be opened: {reason}") from error


def is_pointer(path: str) -> bool:
    """Whether a file is the text that a repository holds where git LFS has not fetched it."""
    with open(path, "rb") as file:
        return file.read(len(POINTER)) == POINTER


def class_index(label: Any, index: Mapping[str, int], id_: str, corpus: str) -> Any:
    """The index of a class name, or the indices of a list of them; None stays None."""
    if label is None:
        return None
    names = label if isinstance(label, list) else [label]
    for name in names:
        if name not in index:
            raise ValueError(
                f"The label of id {id_!r} in {corpus} is {name!r}: the labels that are known are {', '.join(index)}."
            )
    return [index[name] for name in names] if isinstance(label, list) else index[label]


def as_dataset(rows: Sequence[Mapping[str, Any]], features: Features, description: str) -> Dataset:
    """Rows whose values are what Arrow stores. Not `Dataset.from_list`, which needs torchcodec for any audio."""
    schema = features.arrow_schema
    arrays = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    return Dataset(pa.table(arrays, schema=schema), info=DatasetInfo(features=features, description=description))


def check_apart(corpus: str, splits: Mapping[str, Dataset], columns: Sequence[str]) -> None:
    """
    No value of the columns is in two splits.

    Raises:
        ValueError: one is; the message names it.
    """
    for column in columns:
        where: dict[str, str] = {}
        for name, split in splits.items():
            for value in dict.fromkeys(split[column][:]):
                if value is not None and where.setdefault(value, name) != name:
                    raise ValueError(f"{corpus} has the {column} {value!r} in {where[value]} and in {name}.")
