"""The timeline of a recording: its segments, and the emotion of each."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..model.audio_tacfn import named
from ..model.pipeline_tacfn import EmotionRecognitionPipeline
from ..model.recordings_tacfn import check_segments, recording_blocks
from .speech_detection import MIN_SECONDS, detect_speech, segments_of_speech, windows
from .transcription import Transcriber


COLUMNS = ("start", "end", "speaker", "channel", "text", "language", "confidence")
KINDS = dict.fromkeys(("speaker", "text", "language"), "object")
MAX_SECONDS = 15.0  # of a segment of found speech


def annotate(
    recognizer: EmotionRecognitionPipeline,
    recording: str | os.PathLike,
    segments: Sequence[dict[str, Any]] | None = None,
    transcriber: Transcriber | None = None,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    max_seconds: float = MAX_SECONDS,
    batch_size: int = 8,
    split_channels: bool = False,
) -> pd.DataFrame:
    """
    The timeline of a recording of any length, which is decoded in pieces.

    Segments are those that are given; else windows, if `window_seconds` says so; else the speech that silero-vad finds,
    see `segments_of_speech`, with the words of the transcriber, if there is one, which may divide it further.

    Args:
        recognizer: the pipeline of a model with its processor.
        recording: a file.
        segments: each with `start` and `end` in seconds, and optionally `text`, `speaker` and `channel`.
        transcriber: writes down what is said where segments have no text.
        window_seconds, hop_seconds: the length of windows, and the seconds from one to the next (one length).
        max_seconds: the longest segment that is made of found speech.
        batch_size: segments in one forward pass.
        split_channels: take windows or found speech of each channel by itself; its speaker is "channel 0" and so on.

    Returns:
        A row for each segment, by their start: `start`, `end`, `speaker`, `text` (None where not known), with a
        transcriber `language` and `confidence`; the best `label` with its `score`, or the answered `labels` of a model
        for several; `score_<name>` of each label or value; and `beta`. No row where nobody speaks.

    Raises:
        ValueError: segments that don't fit the recording, or arguments that exclude each other.
        AudioError: the recording can't be decoded, or its channels cancel each other.
        ImportError: silero-vad is needed and not installed.
    """
    name = named(recording, "The recording")
    if segments is not None and window_seconds is not None:
        raise ValueError("segments and window_seconds are both given: use one of them.")
    if segments is not None and split_channels:
        raise ValueError("segments and split_channels are both given: write the channel of each segment into it.")
    if hop_seconds is not None and window_seconds is None:
        raise ValueError("hop_seconds is given without window_seconds, whose windows it moves.")
    speech_found = segments is None and window_seconds is None
    limit = recognizer.processor.max_audio_seconds
    for option, value in (("window_seconds", window_seconds), ("max_seconds", max_seconds)):
        if value is not None and not MIN_SECONDS <= value <= limit:
            raise ValueError(
                f"{option} is {value:g}: it must be from {MIN_SECONDS:g} to {limit:g}, what the model takes at once."
            )
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1.")
    if segments is not None:
        check_segments(segments)
        long = next((i for i, of in enumerate(segments) if of["end"] - of["start"] > limit), None)
        if long is not None:
            length = segments[long]["end"] - segments[long]["start"]
            raise ValueError(f"Segment {long} is {length:g} s long: the model takes {limit:g} s at once. Divide it.")
    if segments is None:
        channels: Sequence[int | None] = channels_of(recording, name) if split_channels else [None]
        segments = []
        for channel in channels:
            about = {} if channel is None else {"channel": channel, "speaker": f"channel {channel}"}
            found = found_segments(recording, name, channel, window_seconds, hop_seconds, max_seconds)
            segments += [{**segment, **about} for segment in found]
    if transcriber is not None and segments:
        segments = transcriber.of_segments(recording, segments, name, divided=speech_found)
    if not segments:
        return pd.DataFrame(columns=["start", "end", "speaker", "text", "beta"])
    ordered = sorted(segments, key=lambda of: (of["start"], of["end"]))
    answered = recognizer({"audio": os.fspath(recording), "segments": ordered}, batch_size=batch_size)["segments"]
    made = [row_of(segment) for segment in answered]
    names = [name for name in COLUMNS if any(name in row for row in made)]
    names += [name for name in made[0] if name not in COLUMNS]
    rows = [{name: row.get(name) for name in names} for row in made]
    # Of text columns None stays None, which pandas would make NaN.
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=KINDS.get(name)) for name in rows[0]})


def channels_of(recording: str | os.PathLike, name: str) -> Sequence[int]:
    """
    The channels of a recording.

    Raises:
        ValueError: there is only one.
    """
    block = next((block for block, _ in recording_blocks(recording, name)), np.zeros((0, 1)))
    if block.shape[1] == 1:
        raise ValueError(f"{name} has one channel: split_channels is for recordings with a speaker on each of several.")
    return range(block.shape[1])


def found_segments(
    recording: str | os.PathLike,
    name: str,
    channel: int | None,
    window_seconds: float | None,
    hop_seconds: float | None,
    max_seconds: float,
) -> list[dict[str, Any]]:
    """Windows over a recording, or segments of the speech in it: in one channel, or in the mean of all of them."""
    blocks = recording_blocks(recording, name)
    if channel is not None:
        blocks = ((block[:, [channel]], rate) for block, rate in blocks)
    if window_seconds is None:
        return segments_of_speech(*detect_speech(blocks, name), max_seconds)
    seconds = sum(len(block) / rate for block, rate in blocks)
    return windows(seconds, window_seconds, window_seconds if hop_seconds is None else hop_seconds)


def row_of(segment: dict[str, Any]) -> dict[str, Any]:
    """The row of a segment with its answer."""
    row = {name: segment.get(name) for name in ("start", "end", "speaker", "text")}
    row |= {name: segment[name] for name in ("channel", "language", "confidence") if name in segment}
    best = segment["scores"][0]
    if "labels" in segment:
        row["labels"] = segment["labels"]
    elif "range" not in segment:
        row |= {"label": best["label"], "score": best["score"]}
    by_name = sorted(segment["scores"], key=lambda of: of["label"]) if "range" not in segment else segment["scores"]
    return row | {f"score_{of['label']}": of["score"] for of in by_name} | {"beta": segment["beta"]}


def answer_of(row: Any) -> str:
    """What a row says, in one line: its label, labels or values."""
    if "labels" in row:
        return ", ".join(row["labels"]) or "none"
    if "label" in row:
        return f"{row['label']} {row['score']:.0%}"
    return ", ".join(
        f"{name.removeprefix('score_')} {row[name]:.2f}" for name in row.index if name.startswith("score_")
    )


def clock_of(seconds: float) -> str:
    """Seconds as people read them, 01:02:03.5."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{minutes // 60:02}:{minutes % 60:02}:{tenths // 10:02}.{tenths % 10}"


def time_of(seconds: float) -> str:
    """Seconds as SRT has them, 01:02:03,500."""
    milliseconds = int(np.round(1000 * seconds))
    minutes, rest = divmod(milliseconds, 60000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"
