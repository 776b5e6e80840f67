"""How features lie in a dataset: lists of [L, d] in Arrow, and beside them what made them."""

import json
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
    return pa.ListArray.from_arrays(pa.array(offsets), rows, mask=pa.array([value is None for value in values]))


def provenance_of(dataset: datasets.Dataset, column: str) -> dict[str, Any] | None:
    """
    What made the features of `column` (`h_a` or `h_t`); None where the dataset does not say.

    Raises:
        ValueError: rows that were made by different encoders.
    """
    provenance_column = PROVENANCE_COLUMNS[column]
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
