"""A recording at another sampling rate, piece by piece."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr


def mono_blocks(blocks: Iterable[tuple[np.ndarray, int]], target_rate: int) -> Iterator[np.ndarray]:
    """Pieces `[n]`, none of them empty, of the mean of the channels at `target_rate`, from `recording_blocks`."""
    stream = None
    for block, rate in blocks:
        stream = stream or soxr.ResampleStream(rate, target_rate, 1, dtype="float32")
        piece = stream.resample_chunk(block.mean(axis=1).astype(np.float32))
        if len(piece):
            yield piece
    if stream is not None and len(piece := stream.resample_chunk(np.zeros(0, np.float32), last=True)):
        yield piece
