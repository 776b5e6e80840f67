"""How features lie in a dataset: lists of [L, d] in Arrow, and beside them what made them."""

from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


# The column of features, and that of what made them, as JSON. In every row, so that it stays with the rows wherever
# they go: through filter, concatenate_datasets, Parquet and the Hub.
PROVENANCE_COLUMNS = {"h_a": "audio_provenance", "h_t": "text_provenance"}


def feature_of(dtype: str, size: int) -> datasets.List:
    # not Array2D: datasets reads a null of Array2D((None, d)) as NaN, and fails to filter over it
    return datasets.List(datasets.List(datasets.Value(dtype), length=size))


def nested_array(values: list[np.ndarray | None], dtype: str, size: int) -> pa.Array:
    """Arrow lists of [L, size] without a Python number in between; None becomes null."""
    present = [value for value in values if value is not None]
    flat = np.concatenate([np.empty((0, size), dtype), *present]).reshape(-1)
    offsets = np.cumsum([0] + [0 if value is None else len(value) for value in values], dtype=np.int32)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(flat), size)
    return pa.ListArray.from_arrays(
        pa.array(offsets), rows, mask=pa.array([value is None for value in values], pa.bool_())
    )


def feature_arrays(column: pa.ChunkedArray) -> list[Any]:
    """
    The rows of an Arrow column of features as arrays `[L, d]`, or `[d]`, without a Python number in between; None where
    it is null. A row of another shape, or with a null in it, is as `to_pylist` has it.
    """
    chunks = [getattr(chunk, "storage", chunk) for chunk in column.chunks]  # Array2D is an extension type around lists
    return [to_array(row) for chunk in chunks for row in chunk]


def to_array(row: pa.Scalar) -> Any:
    values = getattr(row, "values", None)  # None where the row is null, or no list
    if values is None:
        return row.as_py()
    shape = [len(values)]
    if is_list(values.type):
        sizes = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(sizes) > 1 or sizes == [None]:
            return row.as_py()
        shape += sizes
        values = values.flatten()
    if values.null_count or not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        return row.as_py()
    return np.array(values.to_numpy(zero_copy_only=False)).reshape(shape)  # a copy: torch wants to write to it


def is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
