"""Lengths and sizes of a dataset's features, and which rows have any. Features are not decoded for this."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Value

from ..model.modalities_tacfn import MODALITIES
from .arrow_layout import column_batches, storage_chunks


def row_lengths(column: pa.ChunkedArray) -> np.ndarray:
    """The lengths of the rows of an Arrow column of features, int64 `[N]`; 0 for a null."""
    lengths = [pc.fill_null(pc.list_value_length(chunk), 0) for chunk in storage_chunks(column)]
    return np.concatenate([np.zeros(0), *(chunk.to_numpy(zero_copy_only=False) for chunk in lengths)]).astype(np.int64)


def lengths_of(dataset: Dataset, column: str) -> np.ndarray:
    """
    The lengths of a dataset's rows in a column of features, int64 `[N]`; 0 where it is null, or not there. A vector
    `[d]` has the length 1.
    """
    if column not in dataset.column_names:
        return np.zeros(len(dataset), dtype=np.int64)
    lengths = np.concatenate([np.zeros(0, dtype=np.int64), *map(row_lengths, column_batches(dataset, column))])
    is_vector = isinstance(getattr(dataset.features[column], "feature", None), Value)
    return np.minimum(lengths, 1) if is_vector else lengths


def feature_lengths(dataset: Dataset) -> np.ndarray:
    """The length of each row's longer modality, in positions: int64 `[N]`."""
    return np.maximum.reduce([lengths_of(dataset, modality.features) for modality in MODALITIES])


def rows_with(dataset: Dataset, column: str) -> np.ndarray:
    """Boolean `[N]`: the rows that have features in a column."""
    return lengths_of(dataset, column) > 0


def complete_rows(dataset: Dataset) -> np.ndarray:
    """Boolean `[N]`: the rows that have both h_a and h_t."""
    return np.logical_and.reduce([rows_with(dataset, modality.features) for modality in MODALITIES])


def feature_size(dataset: Dataset, column: str) -> int | None:
    """The size of one feature vector, from the first row that has any; None if no row has."""
    if column not in dataset.column_names:
        return None
    offset = 0
    for batch in column_batches(dataset, column):
        there = np.flatnonzero(row_lengths(batch))
        if len(there):
            row = dataset.select_columns([column]).with_format("numpy")[offset + int(there[0])]
            return np.shape(row[column])[-1]
        offset += len(batch)
    return None
