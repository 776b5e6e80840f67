"""A recording at another sampling rate, piece by piece."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from ..model.decoding_tacfn import AudioError, mixed


MIN_CHECKED = 0.25  # seconds: a few samples may cancel each other by chance
QUIET = 0.01  # share of the recording's variance: what is as quiet as noise may cancel each other


def mono_blocks(blocks: Iterable[tuple[np.ndarray, int]], target_rate: int, name: str) -> Iterator[np.ndarray]:
    """
    Pieces `[n]`, none of them empty, of the mean of the channels at `target_rate`.

    Args:
        blocks: of `recording_blocks`.
        target_rate: Hz.
        name: what messages call the recording.

    Raises:
        AudioError: as `recording_blocks`; samples that are not finite; and at the end, if channels cancel each other in
            a second that is not quiet.
    """
    stream, at, total = None, 0.0, 0.0
    loudest, cancelled = 0.0, None
    for samples, rate in stretches(blocks):
        if not np.isfinite(samples).all():
            raise AudioError(f"{name}, from {at:.1f} s on, has NaN or infinite samples: all must be finite.")
        variance = float(samples.var(axis=0, dtype=np.float64).mean())
        try:
            mean = mixed([samples], f"{name}, from {at:.1f} s on,")
        except AudioError as error:
            mean = samples.mean(axis=1)
            if len(samples) >= MIN_CHECKED * rate and variance > loudest:
                loudest, cancelled = variance, error
        seconds = len(samples) / rate
        at, total = at + seconds, total + variance * seconds
        stream = stream or soxr.ResampleStream(rate, target_rate, 1, dtype="float32")
        piece = stream.resample_chunk(mean)
        if len(piece):
            yield piece
    if stream is not None and len(piece := stream.resample_chunk(np.zeros(0, np.float32), last=True)):
        yield piece
    if cancelled is not None and loudest * at >= QUIET * total:
        raise cancelled


def stretches(blocks: Iterable[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
    """A recording in stretches `[n, C]` of one to two seconds; the last one may be shorter."""
    waiting: list[np.ndarray] = []
    count, rate = 0, 1
    for block, rate in blocks:
        for start in range(0, len(block), rate):
            waiting.append(block[start : start + rate])
            count += len(waiting[-1])
            if count >= rate:
                yield np.concatenate(waiting), rate
                waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting), rate
