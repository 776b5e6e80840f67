"""Files of a timeline: tables, subtitles, a picture, a page."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ..writing import replacing
from .timeline import answer_of, time_of


OUTPUT_SUFFIXES = (".csv", ".jsonl", ".parquet", ".srt", ".png", ".html")


def write_timeline(table: pd.DataFrame, path: str | os.PathLike, recording: str | os.PathLike | None = None) -> None:
    """
    Writes a timeline: a table as CSV, JSONL or Parquet, subtitles with emotions as SRT, a picture as PNG, or a page
    that plays the recording as HTML, by the suffix.

    Raises:
        ValueError: another suffix, or a page without its recording.
    """
    path = Path(path)
    check_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    if suffix == ".html":
        from .timeline_page import write_timeline_page

        if recording is None:
            raise ValueError(f"The page {path} plays the recording: give it.")
        write_timeline_page(table, recording, path)
        return
    if suffix == ".png":
        from .drawing import draw_timeline

        with replacing(path) as temporary:
            draw_timeline(table).savefig(temporary, format="png", dpi=100, metadata={"Software": None})
        return
    if suffix == ".srt":
        with replacing(path) as temporary:
            temporary.write_text("\n".join(cues_of(table)), encoding="utf-8")
        return
    if suffix == ".csv" and "labels" in table:
        table = table.assign(labels=table["labels"].map(";".join))
    write_table(table, path)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table, whole or not at all: as Parquet or JSONL by the suffix, else as CSV."""
    with replacing(path) as temporary:
        if path.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        elif path.suffix.lower() == ".jsonl":
            table.to_json(temporary, orient="records", lines=True, force_ascii=False)
        else:
            table.to_csv(temporary, index=False)


def check_output(path: Path) -> None:
    """A ValueError unless a timeline can be written as a file of this suffix."""
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise ValueError(f"The output {path} must be one of {', '.join(OUTPUT_SUFFIXES)}.")


def cues_of(table: pd.DataFrame) -> Iterator[str]:
    """A cue of SRT for each row: its number, times, what it says of the emotion, and the text."""
    for i, (_, row) in enumerate(table.iterrows(), 1):
        speaker = f"{row['speaker']}: " if row["speaker"] else ""
        # In one line, and without what would begin another cue.
        text, answer = (" ".join(of.split()).replace("-->", "->") for of in (row["text"] or "", answer_of(row)))
        text = f"\n{' '.join([*speaker.split(), text]).strip()}" if speaker or text else ""
        yield f"{i}\n{time_of(row['start'])} --> {time_of(row['end'])}\n[{answer}]{text}\n"
