"""Where somebody speaks in a recording, and segments of that; or windows of one length."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .resampling import mono_blocks


RATE, CHUNK = 16000, 512  # of the detector
PAUSE_SECONDS = 0.1  # a shorter one is no end of speech
MERGE_SECONDS = 0.5  # speech on both sides of a pause of at most this becomes one segment
PAD_SECONDS = 0.2  # before and behind a segment, since quiet first and last sounds of speech are missed
MIN_SECONDS = 0.25  # shorter speech is left out


def load_detector() -> Any:
    """
    The voice activity detector of silero-vad, which brings its weights along; by onnxruntime.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from silero_vad import VADIterator, load_silero_vad

        pauses = {"min_silence_duration_ms": 1000 * PAUSE_SECONDS, "speech_pad_ms": 0}
        return VADIterator(load_silero_vad(onnx=True), sampling_rate=RATE, **pauses)
    except ImportError as error:
        raise ImportError("Speech is found by silero-vad: pip install 'tacfn-hf[recordings]'.") from error


def detect_speech(
    blocks: Iterable[tuple[np.ndarray, int]], name: str = "the recording"
) -> tuple[list[dict[str, float]], float]:
    """
    The stretches of speech of a recording, in the mean of its channels, and the seconds of the recording.

    Args:
        blocks: of `recording_blocks`.
        name: what messages call the recording.

    Returns:
        Stretches with `start` and `end` in seconds, one where there is no pause of 0.1 s.

    Raises:
        AudioError: as `mono_blocks`.
        ImportError: see `load_detector`.
    """
    detector = load_detector()
    found: list[dict[str, float]] = []
    count = 0
    for chunk, length in chunks_of(blocks, name):
        count += length
        event = detector(chunk)
        if event is not None and "start" in event:
            found.append({"start": event["start"] / RATE})
        elif event is not None:
            found[-1]["end"] = event["end"] / RATE
    seconds = count / RATE
    if found and "end" not in found[-1]:
        found[-1]["end"] = seconds
    return [{"start": of["start"], "end": min(of["end"], seconds)} for of in found], seconds


def chunks_of(blocks: Iterable[tuple[np.ndarray, int]], name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Chunks `[512]` at 16 kHz of the mean of the channels; and how many of its samples are of the recording."""
    left = np.zeros(0, np.float32)
    for block in mono_blocks(blocks, RATE, name):
        left = np.concatenate([left, block])
        whole = len(left) - len(left) % CHUNK
        for start in range(0, whole, CHUNK):
            yield left[start : start + CHUNK], CHUNK
        left = left[whole:]
    if len(left):
        yield np.pad(left, (0, CHUNK - len(left))), len(left)


def segments_of_speech(speech: list[dict[str, float]], seconds: float, max_seconds: float) -> list[dict[str, float]]:
    """
    Segments of stretches of speech:

    1. Stretches with a pause of at most 0.5 s between them become one, if its segment is not longer than `max_seconds`.
    2. Speech that is then shorter than 0.25 s is left out.
    3. A segment begins 0.2 s before its speech and ends 0.2 s behind it, as far as the recording goes; in a shorter
       pause two of them meet in the middle.
    4. A segment that is longer than `max_seconds` is divided into equal parts.

    Args:
        speech: of `detect_speech`.
        seconds: how long the recording is.
        max_seconds: the longest segment.
    """
    joined: list[dict[str, float]] = []
    for stretch in speech:
        last = joined[-1] if joined else None
        near = last is not None and stretch["start"] - last["end"] <= MERGE_SECONDS
        if near and stretch["end"] - last["start"] + 2 * PAD_SECONDS <= max_seconds:
            last["end"] = stretch["end"]
        else:
            joined.append(dict(stretch))
    segments = [
        {
            "start": max(0.0, round(of["start"] - PAD_SECONDS, 3)),
            "end": min(seconds, round(of["end"] + PAD_SECONDS, 3)),
        }
        for of in joined
        if of["end"] - of["start"] >= MIN_SECONDS
    ]
    for one, following in zip(segments, segments[1:]):
        if following["start"] < one["end"]:
            one["end"] = following["start"] = (one["end"] + following["start"]) / 2
    return [part for segment in segments for part in parts_of(segment, max_seconds)]


def parts_of(segment: Mapping[str, Any], max_seconds: float) -> list[dict[str, Any]]:
    """A segment, or equal parts of it that are not longer than `max_seconds`."""
    length = segment["end"] - segment["start"]
    count = max(1, math.ceil(length / max_seconds))
    edges = [segment["start"] + i * length / count for i in range(count)] + [segment["end"]]
    return [{**segment, "start": start, "end": end} for start, end in zip(edges, edges[1:])]


def windows(seconds: float, length: float, hop: float) -> list[dict[str, float]]:
    """
    Windows of `length` seconds, one each `hop` seconds, over a recording; the last one ends with it. What is shorter
    than 0.25 s at the end belongs to no window.
    """
    if not 0 < hop <= length:
        raise ValueError(f"hop_seconds is {hop:g} and window_seconds {length:g}: hop must be above 0, and not longer.")
    if seconds < MIN_SECONDS:
        return []
    starts = np.arange(0, max(seconds - MIN_SECONDS, 0) + 1e-9, hop)
    found = [{"start": float(start), "end": float(min(start + length, seconds))} for start in starts]
    whole = next((i + 1 for i, of in enumerate(found) if of["end"] >= seconds), len(found))
    return found[:whole]
