"""Rows of a dataset of features as arrays, for torch's DataLoader."""

from collections.abc import Sequence
from typing import Any

import datasets
import torch

from ..model.modalities_tacfn import MODALITIES
from .arrow_layout import feature_arrays


FEATURES = tuple(modality.features for modality in MODALITIES)


class FeatureRows(torch.utils.data.Dataset):
    """
    Rows for `TacfnDataCollator`: `id`, features as arrays, and the label, if the dataset's format shows these columns.

    It exists for speed: the numpy and torch formats of `datasets` make a Python step for each position, and float16 to
    float32.
    """

    def __init__(self, dataset: datasets.Dataset):
        """`dataset` has any of `id`, `h_a`, `h_t`, and `label` or `labels`; of these two, `label` is taken."""
        shown = dataset.column_names if dataset.format["output_all_columns"] else dataset.format["columns"]
        labels = "label" if "label" in shown else "labels"
        names = [name for name in ("id", *FEATURES, labels) if name in shown]
        self.rows = dataset.select_columns(names).with_format("arrow")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.take([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:  # what torch's DataLoader calls
        return self.take(indices)

    def take(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at `indices`, each a dict; features are arrays `[L, d]` or `[d]` in the stored dtype, or None."""
        table = self.rows[indices]
        columns = {
            name: feature_arrays(table.column(name)) if name in FEATURES else table.column(name).to_pylist()
            for name in table.column_names
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
