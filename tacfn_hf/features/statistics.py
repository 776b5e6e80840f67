"""What the columns of features of a dataset hold: lengths, sizes, gaps, statistics."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset, Features, Value
from sklearn.preprocessing import StandardScaler

from .collation import MODALITIES, as_features
from .storage import feature_arrays, feature_of, nested_array


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


def lengths_of(dataset: Dataset, column: str) -> np.ndarray:
    """The lengths of the features in a column, in positions: int64 `[N]`, 0 where a row has none. None is decoded."""
    if column not in dataset.column_names:
        return np.zeros(len(dataset), dtype=np.int64)
    tables = dataset.select_columns([column]).with_format("arrow").iter(batch_size=1000)
    lengths = np.concatenate([np.zeros(0, dtype=np.int64), *(row_lengths(table.column(column)) for table in tables)])
    is_vector = isinstance(getattr(dataset.features[column], "feature", None), Value)
    return np.minimum(lengths, 1) if is_vector else lengths


def feature_lengths(dataset: Dataset) -> np.ndarray:
    """The length of each row's longer modality, in positions: int64 `[N]`. Features are not decoded."""
    return np.maximum(lengths_of(dataset, "h_a"), lengths_of(dataset, "h_t"))


def mean_over_time(dataset: Dataset) -> Dataset:
    """The dataset with the mean over time in place of each row's features, float32 `[1, d]`; null where it has none."""
    columns = [column for column in MODALITIES if feature_size(dataset, column) is not None]
    table = dataset.remove_columns(columns).with_format("arrow")[:]
    features = dataset.features.copy()
    for column in columns:
        means: list[np.ndarray | None] = []
        for batch in dataset.select_columns([column]).with_format("arrow").iter(batch_size=256):
            for values in feature_arrays(batch.column(column)):
                h = as_features({column: values}, column, len(means))
                means.append(None if h is None else h.double().mean(dim=0, keepdim=True).float().numpy())
        size = feature_size(dataset, column)
        table = table.append_column(column, nested_array(means, "float32", size))
        features[column] = feature_of("float32", size)
    features = Features({name: features[name] for name in table.column_names})
    return Dataset(table.cast(features.arrow_schema)).with_format(dataset.format["type"])


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
