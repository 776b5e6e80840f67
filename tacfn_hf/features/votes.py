"""Votes of annotators as targets: a distribution over the classes, in place of one class."""

from collections.abc import Mapping, Sequence

import numpy as np
from datasets import Dataset


COLUMN = "votes"  # a struct with the number of votes for each class, by its name; null where there are none


def vote_shares(dataset: Dataset, label_names: Sequence[str], name: str = "the dataset") -> np.ndarray:
    """
    The shares of the votes that each class has, float64 `[N, C]`. A row without votes, or whose votes are all 0, has
    NaN.

    Args:
        label_names: the C classes.
        name: what messages call the dataset.

    Raises:
        ValueError: no votes, votes for a class that is not one of these, or a number below 0.
    """
    if COLUMN not in dataset.column_names:
        raise ValueError(
            f"target is votes, but {name} has no column {COLUMN!r}: it has {', '.join(dataset.column_names)}."
        )
    feature = dataset.features[COLUMN]
    if not isinstance(feature, Mapping):
        raise ValueError(
            f"The column {COLUMN!r} of {name} is {feature}: it must be a struct of a number for each class."
        )
    unknown = [vote for vote in feature if vote not in label_names]
    if unknown:
        raise ValueError(
            f"{name} has votes for {', '.join(unknown)}, which is none of the labels {', '.join(label_names)}."
        )
    rows = dataset.with_format(None)
    shares = np.full((len(rows), len(label_names)), np.nan)
    for i, (row_id, votes) in enumerate(zip(rows["id"][:], rows[COLUMN][:], strict=True)):
        if not is_voted(votes):
            continue
        counts = np.array([float(votes.get(label) or 0) for label in label_names])
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise ValueError(f"The votes of the row with id {row_id!r} are {votes}: they must be at least 0.")
        shares[i] = counts / counts.sum()
    return shares


def is_voted(votes: Mapping[str, float] | None) -> bool:
    """Whether a cell of the column has votes, of which one is not 0."""
    return votes is not None and any(votes.values())


def has_votes(dataset: Dataset, label_names: Sequence[str]) -> bool:
    """Whether the dataset has votes, for none but these classes."""
    feature = dataset.features.get(COLUMN)
    return isinstance(feature, Mapping) and set(feature) <= set(label_names)
