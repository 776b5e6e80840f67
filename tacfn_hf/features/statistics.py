"""What the columns of features of a dataset hold: lengths, sizes, gaps, statistics."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from sklearn.preprocessing import StandardScaler

from .collation import MODALITIES, as_features
from .storage import feature_arrays


def row_lengths(column: Any) -> np.ndarray:
    """The lengths of the rows of an Arrow column of features, int64 `[N]`; 0 where it is null."""
    lengths = []
    for chunk in column.chunks:
        storage = getattr(chunk, "storage", chunk)  # Array2D is an extension type around lists
        lengths.append(pc.fill_null(pc.list_value_length(storage), 0).to_numpy(zero_copy_only=False))
    return np.concatenate(lengths).astype(np.int64)


def lacking_rows(column: Any) -> np.ndarray:
    """Boolean `[N]`: where an Arrow column of features is null or has length 0."""
    return row_lengths(column) == 0


def complete_rows(dataset: Dataset) -> np.ndarray:
    """Boolean `[N]`: the rows that lack neither h_a nor h_t. Features are not decoded."""
    return np.logical_and.reduce([rows_with(dataset, column) for column in MODALITIES])


def rows_with(dataset: Dataset, column: str) -> np.ndarray:
    """Boolean `[N]`: the rows that have features in a column. They are not decoded."""
    if column not in dataset.column_names:
        return np.zeros(len(dataset), dtype=bool)
    tables = dataset.select_columns([column]).with_format("arrow").iter(batch_size=1000)
    return ~np.concatenate([np.zeros(0, dtype=bool), *(lacking_rows(table.column(column)) for table in tables)])


def feature_size(dataset: Dataset, column: str) -> int | None:
    """The size of one feature vector, from the first row that has any; None where the column is not there."""
    if column not in dataset.column_names:
        return None
    offset = 0
    for table in dataset.select_columns([column]).with_format("arrow").iter(batch_size=1000):
        there = np.flatnonzero(~lacking_rows(table.column(column)))
        if len(there):
            return np.shape(dataset.with_format("numpy")[offset + int(there[0])][column])[-1]
        offset += len(table)
    return None


def feature_lengths(dataset: Dataset) -> np.ndarray:
    """The length of each row's longer modality, in positions: int64 `[N]`. Features are not decoded."""
    lengths = np.zeros(len(dataset), dtype=np.int64)
    for column in ("h_a", "h_t"):
        if column in dataset.column_names:
            offset = 0
            for table in dataset.select_columns([column]).with_format("arrow").iter(batch_size=1000):
                there = lengths[offset : offset + len(table)]
                np.maximum(there, row_lengths(table.column(column)), out=there)
                offset += len(table)
    return lengths


def positions(dataset: Dataset, column: str) -> Iterator[np.ndarray]:
    """All positions of the rows that have features, float64 `[n, d]` a batch of rows."""
    for table in dataset.select_columns([column]).with_format("arrow").iter(batch_size=256):
        rows = [as_features({column: h}, column, i) for i, h in enumerate(feature_arrays(table.column(column)))]
        rows = [h for h in rows if h is not None]
        if rows:
            yield torch.cat(rows).float().double().numpy()  # in float32, as the collator gives them to the model


def feature_statistics(dataset: Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a column over all positions of the rows that have features: float64 `[d]`."""
    scaler = StandardScaler()
    for h in positions(dataset, column):
        scaler.partial_fit(h)
    return scaler.mean_, np.sqrt(scaler.var_)


def feature_covariance(dataset: Dataset, column: str, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """
    Mean of `z z^T`, `z = (h - mean) / scale`, over the positions of `feature_statistics`: float64 `[d, d]`, which is
    the covariance of z where `mean [d]` is theirs; `scale [d]`.
    """
    total, count = np.zeros((len(mean), len(mean))), 0
    for h in positions(dataset, column):
        h = (h - mean) / scale
        total += h.T @ h
        count += len(h)
    return total / count
