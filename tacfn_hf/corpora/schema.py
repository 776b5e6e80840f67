"""The schema of all corpora: its columns, and the checks that every corpus passes."""

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
from datasets import Audio, ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, Value
from tqdm.auto import tqdm

from ..model.decoding_tacfn import AudioError, audio_seconds
from .similar_paths import file_near
from .tables import describe_counts


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
# The splits by what people call them.
SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
# Suffixes of files that `load_audio` reads.
AUDIO_SUFFIXES = frozenset(
    ".wav .rf64 .w64 .flac .aif .aiff .aifc .au .snd .caf .sph .mp3 .mp2 .ogg .oga .opus .spx .aac .ac3 .eac3 .amr "
    ".wma .ape .tta .wv .mp4 .m4a .m4b .mov .3gp .webm .mkv .mka .avi .flv .mpg .mpeg".split()
)
NAMED = 10  # bad files that a message names


class BadFilesError(ValueError):
    """
    Audio files of a corpus that can't be opened.

    Attributes:
        errors: a sentence for each, by the id of its row.
        corpus: the corpus with these rows in it.
    """

    def __init__(self, found: str, errors: Mapping[str, str], corpus: DatasetDict, description: str):
        """`found` is the beginning of the message, `description` that of the corpus without these rows."""
        some = [sentence.removesuffix(".") for sentence in list(errors.values())[:NAMED]]
        more = f"; and {len(errors) - NAMED} more" if len(errors) > NAMED else ""
        self.found, self.listed = found, f"{'; '.join(some)}{more}."
        super().__init__(f"{found} (skip_bad_files leaves their rows out): {self.listed}")
        self.errors = errors
        self.corpus = corpus
        self.description = description

    def without_bad_files(self) -> DatasetDict:
        """The corpus without these rows, with a warning. If no row is left, raises this error."""
        rest = {}
        for name, split in self.corpus.items():
            kept = [i for i, id_ in enumerate(split["id"][:]) if id_ not in self.errors]
            if kept:
                rest[name] = split.select(kept)
                rest[name].info.description = self.description
        if not rest:
            raise self
        warnings.warn(f"{self.found}, and their rows are left out: {self.listed}", stacklevel=3)
        return DatasetDict(rest)


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
    allow_missing: bool | None = False,
    known_missing: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    options: Collection[str] = (),
) -> DatasetDict:
    """
    Checks the rows of a corpus and puts them into the schema. Every reader of a corpus ends with it.

    The columns are `id`, `audio` (`Audio(decode=False)`: a path, nothing is copied or decoded), `text`, `label`,
    `corpus_label` (the corpus' own code), `speaker`, `group` (what must not be split), `duration` in seconds, and
    `columns`.

    Args:
        corpus: what messages call it.
        rows: each utterance with `id`, `audio` (an absolute path, None, or a dict of `bytes` and `path` from a table,
            whose path is not looked for), `text` (or None), `label` (a name or None; a list of names where
            `label_feature` is one of lists), `corpus_label`, `speaker` (or None), `group`, the keys of `columns`, and
            optionally `split` (else "train") and `duration` (else that of the file).
        label_names: the classes, in the order of their indices.
        columns: further columns and their `datasets` features.
        label_feature: the feature of `label` where it is not a single `ClassLabel`.
        left_out: how many rows of the corpus are not among `rows`, by the reason.
        published: the number that was found and the published one, by what is counted. If they differ, a warning has
            both.
        apart: columns of which no value may be in two splits.
        allow_missing: take utterances whose file is not there as utterances without audio, instead of raising. None:
            the reader has no such option, and a missing file counts as one that can't be opened.
        known_missing: ids of clips that are known to be missing or broken, and what is known: these lose their audio,
            with a warning.
        errors: a sentence for each id whose audio the reader itself could not open.
        options: options of the reader that a message may advise: id_column, audio_root.

    Returns:
        The splits that occur. `info.description` of each says what was counted and left out.

    Raises:
        ValueError: no rows, an id twice, a label that is not among the names, a group or speaker in two splits, files
            that are missing.
        BadFilesError: files that can't be opened.
    """
    if not rows:
        raise ValueError(f"{corpus} has no utterance: {describe_counts(left_out or {})} left out.")
    rows = [dict(row) for row in rows]
    seen = set()
    for row in rows:
        if row["id"] in seen:
            column = ", by a column that id_column names" if "id_column" in options else ""
            raise ValueError(
                f"The id {row['id']!r} occurs twice in {corpus}: every utterance needs an id of its own{column}."
            )
        seen.add(row["id"])
    errors = {**(errors or {}), **attach_audio(corpus, rows, allow_missing, known_missing or {}, options)}
    sounding = sum(row["audio"] is not None for row in rows)
    description = describe(rows, left_out or {})
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
    splits = {}
    for name in dict.fromkeys(row.get("split", "train") for row in rows):
        part = [row for row in rows if row.get("split", "train") == name]
        splits[name] = as_dataset(part, features, description)
    check_apart(corpus, splits, apart)
    warn_of_shared_audio(corpus, rows)
    if errors:
        some = ", ".join(list(errors)[:NAMED]) + (", ..." if len(errors) > NAMED else "")
        kept = [row for row in rows if row["id"] not in errors]
        raise BadFilesError(
            f"{len(errors)} of {sounding} audio files of {corpus} can't be opened",
            errors,
            DatasetDict(splits),
            describe(kept, {**(left_out or {}), f"whose audio can't be opened ({some})": len(errors)}),
        )
    return DatasetDict(splits)


def warn_of_shared_audio(corpus: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Warns where a file is in two splits, since then a model is tested on what it was trained on."""
    splits = {row.get("split", "train") for row in rows}
    if len(splits) < 2:
        return
    where: dict[str, set[str]] = {}
    for row in rows:
        if row["audio"] is not None and row["audio"]["path"] is not None and row["audio"]["bytes"] is None:
            where.setdefault(os.path.realpath(row["audio"]["path"]), set()).add(row.get("split", "train"))
    shared = [path for path, found in where.items() if len(found) > 1]
    if shared:
        warnings.warn(
            f"{corpus} has {len(shared)} audio files in more than one split, such as {shared[0]}.", stacklevel=4
        )


def describe(rows: Sequence[Mapping[str, Any]], left_out: Mapping[str, int]) -> str:
    """What was counted and left out, as a small table in plain text."""
    notes = {"left out": describe_counts(left_out)}
    for column in ("audio", "text", "label"):
        notes[f"without {column}"] = str(sum(row[column] is None for row in rows))
    return "\n".join(f"{name:<15}{note}" for name, note in notes.items())


def attach_audio(
    corpus: str,
    rows: list[dict[str, Any]],
    allow_missing: bool | None,
    known_missing: Mapping[str, str],
    options: Collection[str],
) -> dict[str, str]:
    """
    Sets `audio` of the rows to None where there is no file, and `duration` where it is not known.

    Returns:
        A sentence for each id whose audio can't be opened.
    """
    missing, known, errors = [], [], {}
    num_files = sum(isinstance(row["audio"], str) for row in rows)
    for row in tqdm(rows, desc=f"Opening {corpus}", unit="utterance"):
        row.setdefault("duration", None)
        if row["audio"] is not None and row["id"] in known_missing:
            known.append(row["id"])
            row["audio"] = None
        if isinstance(row["audio"], str) and allow_missing is not None and not os.path.isfile(row["audio"]):
            missing.append(row["audio"])
            row["audio"] = None
        if row["audio"] is not None and row["duration"] is None:
            try:
                row["duration"] = duration_of(row["audio"], row["id"])
            except AudioError as error:
                errors[row["id"]] = str(error)
    if missing:
        found = f"{len(missing)} of {num_files} audio files of {corpus} are missing"
        near = file_near(missing[0], AUDIO_SUFFIXES)
        first = f"{missing[0]} (there is {near})" if near else missing[0]
        if not allow_missing and len(missing) == num_files:
            other = ", or say audio_root where the audio lies elsewhere" if "audio_root" in options else ""
            what = "write the names as they are" if near else f"check the root{other}"
            raise ValueError(f"{found}, the first is {first}: {what}.")
        if not allow_missing:
            raise ValueError(
                f"{found}, the first is {first}: complete the corpus, or say allow_missing=true to take these as "
                "utterances without audio."
            )
        some = ", ".join([first, *missing[1:3]]) + (", ..." if len(missing) > 3 else "")
        warnings.warn(f"{found}: {some}.", stacklevel=4)
    if known:
        named = ", ".join(f"{id_} ({known_missing[id_]})" for id_ in known)
        warnings.warn(f"{corpus}: taken as utterances without audio, as known: {named}.", stacklevel=4)
    return errors


def duration_of(audio: str | Mapping[str, Any], id_: str) -> float | None:
    """
    Seconds of an audio file or of its bytes; None where a table has neither.

    Raises:
        AudioError: it can't be opened.
    """
    if isinstance(audio, str):
        return audio_seconds(audio, f"The audio of id {id_!r} ({audio})")
    if audio["bytes"] is None:
        return None
    return audio_seconds(pa.BufferReader(audio["bytes"]), f"The audio of id {id_!r} ({audio['path'] or 'its bytes'})")


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
    """A dataset of rows in the schema. Not by `Dataset.from_list`, which needs torchcodec where a column is audio."""
    schema = features.arrow_schema
    arrays = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    return Dataset(pa.table(arrays, schema=schema), info=DatasetInfo(features=features, description=description))


def check_apart(corpus: str, splits: Mapping[str, Dataset], columns: Sequence[str]) -> None:
    """Raises a ValueError that names a value of the columns which is in two splits."""
    for column in columns:
        where: dict[str, str] = {}
        for name, split in splits.items():
            for value in dict.fromkeys(split[column][:]):
                if value is not None and where.setdefault(value, name) != name:
                    raise ValueError(f"{corpus} has the {column} {value!r} in {where[value]} and in {name}.")
