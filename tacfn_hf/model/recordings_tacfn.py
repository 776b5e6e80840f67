"""Long recordings: decoded in pieces, and cut into clips without holding more than the clips that are open."""

import numbers
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from .decoding_tacfn import (
    AudioError,
    check_whole,
    compressed_frames,
    cut_off,
    mixed,
    open_audio,
    open_exact,
    reason_of,
)


try:
    import soundfile
except (ImportError, OSError):
    soundfile = None
try:
    import av
except ImportError:
    av = None

BLOCK_SECONDS = 10
MAX_BEYOND = 0.5  # seconds by which a segment may end behind the recording, as rounded times do


def recording_blocks(
    file: str | os.PathLike | bytes | BinaryIO, name: str = "the recording"
) -> Iterator[tuple[np.ndarray, int]]:
    """
    Decodes a recording in pieces of some seconds, in the formats of `load_audio`.

    Yields:
        Samples float32 `[n, C]` of all channels, and the sampling rate in Hz, which is the same for all pieces.

    Raises:
        AudioError, TypeError, ImportError: as `load_audio`, when the place is reached.
    """
    with open_audio(file, name) as stream:
        sound = open_exact(stream, name)
        if sound is None:
            to_float = None
            for frame, samples in compressed_frames(stream, name):
                to_float = to_float or av.AudioResampler(format="fltp")
                for piece in to_float.resample(frame):
                    yield piece.to_ndarray()[:, :samples].T, frame.sample_rate
            return
        with sound:
            check_whole(sound, name)
            left, size = sound.frames, BLOCK_SECONDS * sound.samplerate
            while left > 0:
                try:
                    block = sound.read(min(size, left), dtype="float32", always_2d=True)
                except soundfile.SoundFileError as error:
                    raise AudioError(f"{name} can't be decoded as audio: {reason_of(error)}") from error
                if not len(block):
                    raise cut_off(name)
                left -= len(block)
                yield block, sound.samplerate


def cut_clips(
    blocks: Iterable[tuple[np.ndarray, int]], segments: Sequence[Mapping[str, Any]], name: str = "the recording"
) -> Iterator[tuple[int, np.ndarray, int]]:
    """
    Cuts a recording into clips. A clip is that of the recording decoded as a whole: samples `round(start * rate)` to
    `round(end * rate)` at the recording's own rate.

    Args:
        blocks: of `recording_blocks`.
        segments: each with `start` and `end` in seconds, and optionally `channel`, from 0; without it the channels are
            averaged. They may overlap, and be in any order.
        name: what messages call the recording.

    Yields:
        The index of a segment, its samples float32 `[S]`, and their rate in Hz; segments that end first come first.

    Raises:
        ValueError: a segment that is empty, reversed or behind the end of the recording, or of a channel that is not
            there.
        AudioError: as `recording_blocks`, and channels that cancel each other.
    """
    check_segments(segments)
    order = sorted(range(len(segments)), key=lambda i: (segments[i]["end"], i))
    # The earliest start of the segments from each place in this order on.
    needed_from = [*np.minimum.accumulate([segments[i]["start"] for i in order][::-1])[::-1], np.inf]
    held: deque[np.ndarray] = deque()  # pieces from sample `first` on
    first = count = rate = done = 0
    for block, rate in blocks:
        held.append(block)
        count += len(block)
        while done < len(order) and round(segments[order[done]]["end"] * rate) <= count:
            yield from clip_of(held, first, segments, order[done], rate, name)
            done += 1
        while held and first + len(held[0]) <= needed_from[done] * rate:
            first += len(held.popleft())
    for i in order[done:]:
        start, end = segments[i]["start"], segments[i]["end"]
        if round(start * rate) >= count or end > count / max(rate, 1) + MAX_BEYOND:
            raise ValueError(
                f"Segment {i} is from {start:g} to {end:g} s, but {name} is {count / max(rate, 1):.2f} s long."
            )
        yield from clip_of(held, first, segments, i, rate, name)


def clip_of(
    held: Iterable[np.ndarray], first: int, segments: Sequence[Mapping[str, Any]], index: int, rate: int, name: str
) -> Iterator[tuple[int, np.ndarray, int]]:
    """The clip of one segment from pieces `[n, C]` that are held from sample `first` on."""
    segment = segments[index]
    start, end = (round(segment[key] * rate) - first for key in ("start", "end"))
    pieces, at = [], 0
    for piece in held:
        if at + len(piece) > start and at < end:
            pieces.append(piece[max(start - at, 0) : end - at])
        at += len(piece)
    channel = segment.get("channel")
    if channel is None:
        clip = mixed(pieces, f"{name}, segment {index},")
    else:
        if not 0 <= channel < pieces[0].shape[1]:
            raise ValueError(f"Segment {index} is of channel {channel}, but {name} has {pieces[0].shape[1]}.")
        clip = np.concatenate([piece[:, channel] for piece in pieces])
    yield index, clip, rate


def check_segments(segments: Sequence[Mapping[str, Any]]) -> None:
    """
    A ValueError names a segment without two finite times of which the second one is later, of a channel that is no
    whole number, or with a text that is none.
    """
    if not isinstance(segments, Sequence) or not all(isinstance(segment, Mapping) for segment in segments):
        raise ValueError(f"segments is a {type(segments).__name__}: it must be a list of mappings with start and end.")
    for i, segment in enumerate(segments):
        times: list[Any] = [segment.get("start"), segment.get("end")]
        if not all(isinstance(time, numbers.Real) and np.isfinite(float(time)) for time in times):
            raise ValueError(f"Segment {i} is {dict(segment)}: it must have start and end, in seconds.")
        channel, text = segment.get("channel"), segment.get("text")
        if not (channel is None or (isinstance(channel, numbers.Integral) and not isinstance(channel, bool))):
            raise ValueError(f"Segment {i} has the channel {channel!r}: it must be a whole number, from 0.")
        if not (text is None or isinstance(text, str)):
            raise ValueError(f"Segment {i} has the text {text!r}: it must be a string.")
        start, end = times
        if start < 0 or end <= start:
            raise ValueError(f"Segment {i} is from {start:g} to {end:g} s: it must start at 0 or later, and end later.")
