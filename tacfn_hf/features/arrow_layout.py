"""The Arrow layout of features: a row is a list of [L, d], and a column beside says what made it."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, List, Value

from ..model.modalities_tacfn import MODALITIES


def feature_of(dtype: str, size: int) -> List:
    """The `datasets` feature of a column of features `[L, size]`."""
    # not Array2D: datasets reads a null of Array2D((None, d)) as NaN, and fails to filter over it
    return List(List(Value(dtype), length=size))


def nested_array(values: list[np.ndarray | None], dtype: str, size: int) -> pa.Array:
    """An Arrow column of features from arrays `[L, size]`; None becomes null. No number becomes a Python object."""
    present = [value for value in values if value is not None]
    flat = np.concatenate([np.empty((0, size), dtype), *present]).reshape(-1)
    offsets = np.cumsum([0] + [0 if value is None else len(value) for value in values], dtype=np.int32)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(flat), size)
    return pa.ListArray.from_arrays(
        pa.array(offsets), rows, mask=pa.array([value is None for value in values], pa.bool_())
    )


def column_batches(dataset: Dataset, column: str, batch_size: int = 1000) -> Iterator[pa.ChunkedArray]:
    """A column of a dataset as Arrow holds it, some rows at a time."""
    for table in dataset.select_columns([column]).with_format("arrow").iter(batch_size):
        yield table.column(column)


def feature_arrays(column: pa.ChunkedArray) -> list[Any]:
    """
    The rows of an Arrow column of features as arrays `[L, d]`, or `[d]` where it holds vectors; None for a null. A row
    whose vectors differ in size, or with a null in it, is a nested list.
    """
    return [to_array(row) for chunk in storage_chunks(column) for row in chunk]


def storage_chunks(column: pa.ChunkedArray) -> list[pa.Array]:
    """The chunks of a column as lists; those of an Array2D are an extension type around them."""
    return [getattr(chunk, "storage", chunk) for chunk in column.chunks]


def to_array(row: pa.Scalar) -> Any:
    """One row of `feature_arrays`."""
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
    """Whether an Arrow type is one of lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def provenance_of(dataset: Dataset, column: str) -> dict[str, Any] | None:
    """
    What made the features of a column (`h_a` or `h_t`); None if the dataset does not say. It is stored as JSON in every
    row, so that it stays with the rows through filter, concatenate_datasets, Parquet and the Hub.

    Raises:
        ValueError: rows that were made by different encoders.
    """
    (provenance_column,) = [modality.provenance for modality in MODALITIES if modality.features == column]
    if column not in dataset.column_names or provenance_column not in dataset.column_names:
        return None
    table = dataset.select_columns([provenance_column]).with_format("arrow")[:]
    made = [json.loads(text) for text in pc.unique(table.column(0)).to_pylist() if text is not None]
    if len(made) > 1:
        raise ValueError(
            f"The rows of the dataset have {column} of different encoders: {made[0]} and {made[1]}. Extract them anew "
            "with one processor."
        )
    return made[0] if made else None
