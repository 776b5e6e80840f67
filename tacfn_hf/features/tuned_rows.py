"""Which rows an encoder was tuned on: its features of them are better than those of new rows, and no fair test."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..model.utterances_tacfn import is_blank


# The column of features that says for what a row was used when their encoders were tuned: "train", "valid" or null.
COLUMN = "tuned_on"


def keys_of(row_id: str, audio: Any) -> list[str]:
    """
    What a row is known by: hashes of its id and of its audio, since a shared processor should not hold the ids of a
    corpus, and the same audio may have another id elsewhere. Older processors have hashes of ids alone.

    Args:
        audio: in any form that the rows of a dataset have; None: there is none. All bytes of a file are read.

    Returns:
        One key, or two with audio, each as `hash_of`.

    Raises:
        OSError: a file that can't be read.
    """
    keys = [hash_of(row_id.encode())]
    if isinstance(audio, Mapping) and audio.get("array") is not None:
        return [*keys, hash_of(np.asarray(audio["array"], dtype=np.float32).tobytes())]
    if isinstance(audio, Mapping):
        audio = audio.get("path") if audio.get("bytes") is None else audio["bytes"]
    if audio is None or is_blank(audio):
        return keys
    return [*keys, hash_of(Path(audio).read_bytes() if isinstance(audio, str) else audio)]


def hash_of(content: bytes) -> str:
    """The first 16 hexadecimal digits of SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def keys_in(rows: Dataset) -> Iterator[list[str]]:
    """The `keys_of` each row."""
    columns = [name for name in ("id", "audio") if name in rows.column_names]
    for row in rows.with_format(None).select_columns(columns):
        yield keys_of(row["id"], row.get("audio"))


def with_rows(tuned_rows: Mapping[str, Iterable[str]] | None, parts: Mapping[str, Dataset]) -> dict[str, list[str]]:
    """The `tuned_rows` of a processor, with the rows of "train" and "valid" of a tuning."""
    keys = {name: chain.from_iterable(keys_in(parts[name])) for name in ("train", "valid") if name in parts}
    return {name: sorted({*(tuned_rows or {}).get(name, ()), *keys.get(name, ())}) for name in ("train", "valid")}


def uses_of(keys: Iterable[Iterable[str]], tuned_rows: Mapping[str, Iterable[str]]) -> list[str | None]:
    """What each row was used for when the encoders were tuned, by its `keys_of`."""
    train, valid = (set(tuned_rows.get(name, ())) for name in ("train", "valid"))
    of_rows = map(set, keys)
    return ["train" if of_row & train else "valid" if of_row & valid else None for of_row in of_rows]


def check_tuned_rows(parts: Mapping[str, Dataset], allow_tuned_rows: bool) -> None:
    """`check_uses` of the parts of a dataset of features, by its column."""
    uses = {name: part.with_format(None)[COLUMN][:] for name, part in parts.items() if COLUMN in part.column_names}
    check_uses(parts, uses, allow_tuned_rows)


def check_uses(parts: Mapping[str, Dataset], uses: Mapping[str, Sequence[str | None]], allow_tuned_rows: bool) -> None:
    """
    Args:
        uses: what the rows of each part were used for when an encoder was tuned.

    Raises:
        ValueError: rows that an encoder was tuned on are in the validation or the test part; or in the training part,
            unless that is allowed; or rows that chose the best state of an encoder are in the test part.
    """
    refused = {"train": () if allow_tuned_rows else ("train",), "valid": ("train",), "test": ("train", "valid")}
    for name, of_part in uses.items():
        ids = parts[name].with_format(None)["id"][:]
        found = [row_id for row_id, use in zip(ids, of_part) if use in refused[name]]
        if found:
            remedy = (
                "they are no fair test: give the groups or fractions and the split_seed that it was tuned with, or "
                "leave these rows out"
            )
            if name == "train":
                remedy = "its features of new rows are worse: leave these out, or give --allow_tuned_rows true"
            raise ValueError(
                f"{len(found)} rows of the {name} part, such as {found[0]!r}, are rows that an encoder was tuned on, "
                f"by their ids or their audio; {remedy}."
            )
