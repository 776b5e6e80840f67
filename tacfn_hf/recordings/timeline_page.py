"""The page of a timeline: it plays the recording from where one clicks."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ..model.audio_tacfn import named
from ..model.recordings_tacfn import recording_blocks
from ..pages.page import CLIP_RATE, picture, sound, write_page
from .drawing import COLUMNS, draw_timeline, envelope
from .resampling import mono_blocks
from .timeline import answer_of, clock_of


STRETCH = CLIP_RATE // 50  # samples: the waveform is kept at 50 stretches a second


def write_timeline_page(table: pd.DataFrame, recording: str | os.PathLike, path: str | os.PathLike) -> None:
    """
    Writes the timeline of a recording as one HTML file. The sound is in it as MP3, of about 13 MB an hour.

    Args:
        table: of `annotate`.
        recording: the file.
        path: the page.
    """
    title = f"Timeline: {Path(recording).name}"
    if not len(table):
        write_page(path, "timeline.html", "timeline.js", title=title, rows=[])
        return
    stretches: list[np.ndarray] = []
    samples = 0

    def kept() -> Iterator[np.ndarray]:
        nonlocal samples
        name = named(recording, "The recording")
        for block in mono_blocks(recording_blocks(recording, name), CLIP_RATE, name):
            samples += len(block)
            stretches.append(envelope(block, max(1, len(block) // STRETCH)))
            yield block

    clip = sound(kept())
    seconds = samples / CLIP_RATE
    low, high = np.concatenate(stretches, axis=1)
    figure = draw_timeline(table, np.stack([envelope(low, COLUMNS)[0], envelope(high, COLUMNS)[1]]), seconds)
    source = picture(figure, bbox_inches=None)  # drawn, so that the axes have their place
    left, right = figure.axes[0].get_position().intervalx.tolist()
    rows = [
        {
            "start": float(row["start"]),
            "end": float(row["end"]),
            "time": f"{clock_of(row['start'])} - {clock_of(row['end'])}",
            "speaker": row["speaker"] or "",
            "answer": answer_of(row),
            "beta": row["beta"],
            "text": row["text"] or "",
        }
        for _, row in table.astype(object).where(table.notna(), None).iterrows()
    ]
    classes = "label" in table or "labels" in table
    write_page(
        path,
        "timeline.html",
        "timeline.js",
        title=title,
        length=clock_of(seconds),
        clip=clip,
        source=source,
        left=left,
        right=right,
        seconds=seconds,
        rows=rows,
        speakers=any(row["speaker"] for row in rows),
        texts=any(row["text"] for row in rows),
        note="A segment is the darker, the higher the score of the lane's label is."
        if classes
        else "A segment is the darker, the higher the value of the lane is, from the lowest to the highest one here.",
    )
