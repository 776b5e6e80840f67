"""From rows of features to one padded batch with its masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..model.feature_padding_tacfn import pad_features
from ..model.modalities_tacfn import MODALITIES


@dataclass
class TacfnDataCollator:
    """
    Makes a batch of rows that hold features. Other keys of a row are left out; `id` is used in error messages.

    Keys in, of each row (a mapping):

    - `h_a`, `h_t`: audio and text features, `[L, d]`, or `[d]` for one vector per utterance, as numpy array, nested
      list or tensor. None, length 0, or no such key: the row lacks the modality.
    - `label`, or else `labels` (optional, in every row or in none): a class as an integer, or a number or vector `[C]`
      of floats (multi-label, regression).

    Keys out:

    - `h_a` float32 `[B, L_a, d_a]`, padded with 0, and `mask_a` bool `[B, L_a]`, **True = PAD**; a row without audio
      is True throughout. `h_t` and `mask_t` likewise. A modality that the whole batch lacks has no keys.
    - `labels`: int64 `[B]` for integers, else float32 `[B]` or `[B, C]`.

    Args:
        pad_to_multiple_of: the padded lengths are rounded up to a multiple of this.

    Raises:
        ValueError: a row that lacks both modalities, features of another shape or of sizes that differ between rows,
            labels that only some rows have or whose shapes differ.
        TypeError: features or labels that are not numbers.
    """

    pad_to_multiple_of: int | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch of these rows; see the class for its keys and shapes."""
        features = {m.features: [as_features(row, m.features, i) for i, row in enumerate(rows)] for m in MODALITIES}
        for i, of_row in enumerate(zip(*features.values(), strict=True)):
            if all(h is None for h in of_row):
                raise ValueError(f"{name_of(rows[i], i)} has neither h_a nor h_t: give at least one modality.")
        batch = {}
        for modality in MODALITIES:
            column = features[modality.features]
            if any(h is not None for h in column):
                check_sizes(column, rows, modality.features)
                batch[modality.features], batch[modality.mask] = pad_features(column, self.pad_to_multiple_of)
        labels = collate_labels(rows)
        if labels is not None:
            batch["labels"] = labels
        return batch


def check_sizes(features: Sequence[torch.Tensor | None], rows: Sequence[Mapping[str, Any]], key: str) -> None:
    """Raises a ValueError that names two rows where not all features `[L, d]` have the same size d."""
    sizes = [(i, h.shape[1]) for i, h in enumerate(features) if h is not None]
    first, size = sizes[0]
    for i, other in sizes:
        if other != size:
            raise ValueError(
                f"{key} has {other} dimensions in {name_of(rows[i], i)} and {size} in {name_of(rows[first], first)}: "
                "every row must have the same."
            )


def name_of(row: Mapping[str, Any], index: int) -> str:
    """What an error message calls the row: its id, or else its place in the batch."""
    return f"the row with id {str(row['id'])!r}" if "id" in row else f"row {index} of the batch"


def as_features(row: Mapping[str, Any], key: str, index: int) -> torch.Tensor | None:
    """
    The row's features as a tensor `[L, d]`; None where the row lacks them. `index` is the row's place in the batch, for
    errors.

    Raises:
        TypeError: the features are not numbers.
        ValueError: they have another shape than `[L, d]` or `[d]`.
    """
    value = row.get(key)
    if value is None:
        return None
    try:
        h = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.asarray(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{key} of {name_of(row, index)} is not an array of numbers: {error}.") from error
    if h.dim() == 0 and h.isnan():  # what the numpy and torch formats of datasets make of a null Array2D
        return None
    if h.dim() > 0 and len(h) == 0:
        return None
    if h.dim() not in (1, 2) or h.shape[-1] == 0:
        raise ValueError(f"{key} of {name_of(row, index)} has shape {list(h.shape)}: it must be [L, d] or [d].")
    return h.unsqueeze(0) if h.dim() == 1 else h


def collate_labels(rows: Sequence[Mapping[str, Any]]) -> torch.Tensor | None:
    """The labels `[B]` or `[B, C]`; None where no row has any. Raises as the collator does."""
    labels: list[Any] = [row.get("labels") if row.get("label") is None else row["label"] for row in rows]
    if all(label is None for label in labels):
        return None
    for i, label in enumerate(labels):
        if label is None:
            raise ValueError(f"{name_of(rows[i], i)} has no label, others of its batch have: label all rows or none.")
    labels = [as_label(label, row, i) for i, (label, row) in enumerate(zip(labels, rows, strict=True))]
    for i, label in enumerate(labels):
        if label.shape != labels[0].shape:
            raise ValueError(
                f"The label of {name_of(rows[i], i)} has shape {list(label.shape)} and that of {name_of(rows[0], 0)} "
                f"{list(labels[0].shape)}: every row must have the same."
            )
    stacked = torch.stack(labels)
    return stacked.to(torch.float32 if stacked.is_floating_point() else torch.int64)


def as_label(label: Any, row: Mapping[str, Any], index: int) -> torch.Tensor:
    """The row's label as a tensor; a TypeError names a row whose label is not numbers."""
    try:
        return torch.as_tensor(label)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"The label of {name_of(row, index)} is {label!r}: it must be a number or numbers; names become numbers "
            'with dataset.class_encode_column("label").'
        ) from error
