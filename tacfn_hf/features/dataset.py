"""A dataset of features: one part of it is opened, its rows are read as arrays."""

import json
from collections.abc import Sequence
from typing import Any

import datasets
import pyarrow.compute as pc
import torch
from datasets import Dataset, concatenate_datasets

from ..corpora.opening import open_dataset
from .arguments import DataArguments
from .collation import MODALITIES
from .splits import split_dataset
from .storage import PROVENANCE_COLUMNS, feature_arrays


class FeatureRows(torch.utils.data.Dataset):
    """
    Rows of a dataset for `TacfnDataCollator`: what it takes of the columns that the dataset's format shows, with
    features as arrays. The formats of datasets themselves take a step in Python for each position.
    """

    def __init__(self, dataset: datasets.Dataset):
        shown = dataset.column_names if dataset.format["output_all_columns"] else dataset.format["columns"]
        labels = "label" if "label" in shown else "labels"  # of both, label is the one that is checked
        names = [name for name in ("id", *MODALITIES, labels) if name in shown]
        self.rows = dataset.select_columns(names).with_format("arrow")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.take([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:  # what torch's DataLoader calls
        return self.take(indices)

    def take(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        table = self.rows[indices]
        columns = {
            name: feature_arrays(table.column(name)) if name in MODALITIES else table.column(name).to_pylist()
            for name in table.column_names
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


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


def open_part(data_args: DataArguments, name: str) -> Dataset:
    """
    One part of a dataset: "train", "valid", "test", or "all" its rows.

    Raises:
        ValueError: there is no such part, and whatever `split_dataset` raises.
    """
    parts = split_dataset(open_dataset(data_args.dataset), data_args)
    if name == "all":
        return concatenate_datasets(list(parts.values()))
    if name not in parts:
        raise ValueError(f"The dataset {data_args.dataset} has no part {name!r}: it has {', '.join(parts)}.")
    return parts[name]
