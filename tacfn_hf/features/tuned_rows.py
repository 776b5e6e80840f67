"""Which rows an encoder was tuned on: its features of them are better than those of new rows, and no fair test."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from datasets import Dataset


# The column of features that says for what a row was used when their encoders were tuned: "train", "valid" or null.
COLUMN = "tuned_on"


def key_of(row_id: str) -> str:
    """A hash of a row's id, since a shared processor should not hold the ids of a corpus."""
    return hashlib.sha256(row_id.encode()).hexdigest()[:16]


def with_rows(tuned_rows: Mapping[str, Iterable[str]] | None, parts: Mapping[str, Dataset]) -> dict[str, list[str]]:
    """The `tuned_rows` of a processor, with the rows of "train" and "valid" of a tuning."""
    rows = {name: {key_of(row_id) for row_id in parts[name]["id"][:]} for name in ("train", "valid") if name in parts}
    return {name: sorted({*(tuned_rows or {}).get(name, ()), *rows.get(name, ())}) for name in ("train", "valid")}


def uses_of(ids: Iterable[str], tuned_rows: Mapping[str, Iterable[str]]) -> list[str | None]:
    """What each row was used for when the encoders were tuned."""
    train, valid = (set(tuned_rows.get(name, ())) for name in ("train", "valid"))
    keys = map(key_of, ids)
    return ["train" if key in train else "valid" if key in valid else None for key in keys]


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
            remedy = "they are no fair test: give the groups or fractions and the split_seed that it was tuned with"
            if name == "train":
                remedy = "its features of new rows are worse: leave these out, or give --allow_tuned_rows true"
            raise ValueError(
                f"{len(found)} rows of the {name} part, such as {found[0]!r}, are rows that an encoder was tuned on; "
                f"{remedy}."
            )
