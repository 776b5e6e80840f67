"""Sequences of features become one padded batch with its mask."""

from collections.abc import Sequence

import torch


def pad_features(
    rows: Sequence[torch.Tensor | None], pad_to_multiple_of: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Pads with 0 to the length of the longest row.

    Args:
        rows: features `[L_i, d]` of any dtype, None for a row that lacks the modality. At least one row has features,
            and `d` is the same in all.
        pad_to_multiple_of: the padded length is rounded up to a multiple of this.

    Returns:
        The features as float32 `[B, L, d]`, and the mask as bool `[B, L]`, **True = PAD**. For a row of None they are 0
        and True throughout.
    """
    lengths = [0 if row is None else len(row) for row in rows]
    length = max(lengths)
    if pad_to_multiple_of is not None:
        length = -(-length // pad_to_multiple_of) * pad_to_multiple_of
    size = next(row.shape[1] for row in rows if row is not None)
    padded = torch.zeros(len(rows), length, size)
    for place, row in zip(padded, rows):
        if row is not None:
            place[: len(row)] = row
    return padded, torch.arange(length)[None] >= torch.tensor(lengths)[:, None]
