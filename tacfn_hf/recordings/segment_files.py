"""Segments of a recording from a file: a table, RTTM, SRT, WebVTT, or the JSON of whisper or whisperX."""

import html
import os
import re
from pathlib import Path
from typing import Any

from ..corpora.corpus_files import read_text
from ..corpora.tables import TABLE_SUFFIXES, read_table
from ..model.recordings_tacfn import check_segments
from ..writing import read_json


SUFFIXES = (".json", ".rttm", ".srt", ".vtt", *sorted(TABLE_SUFFIXES))
# 00:01:02,500 --> 00:01:04,000, in WebVTT with a point, and without hours
TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
CUE = re.compile(rf"\s*{TIME}\s*-->\s*{TIME}(?:\s.*)?")
MARKUP = re.compile(r"</?[a-zA-Z][^>]*>|<\d[\d:.]*>|\{\\[^}]*\}")  # <i>, <v Mary>, <00:01:02.500>, {\an8}
NOT_CUES = ("WEBVTT", "NOTE", "STYLE", "REGION")  # blocks of WebVTT, up to an empty line
VOICE = re.compile(r"<v(?:\.[\w.]+)?\s+([^>]+)>")


def read_segments(path: str | os.PathLike, encoding: str = "utf-8-sig") -> list[dict[str, Any]]:
    """
    The segments of a file, in its order, each with `start` and `end` in seconds, and `text`, `speaker` and `channel`
    where the file has them.

    By its suffix it is a table with these columns (CSV, TSV, JSONL, Parquet); RTTM, which has speakers and no text; SRT
    or WebVTT, whose markup is left out; or JSON with a list `segments`, as whisper and whisperX write it.

    Args:
        path: the file.
        encoding: of a file of text.

    Raises:
        ValueError: another kind of file, no segment, or a segment without two times that follow each other.
        UnicodeError: the file is in another encoding; the message says which one it looks like.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"The segments {path} must be one of {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ValueError(f"The segments {path} are missing: there is no such file.")
    if suffix == ".json":
        segments = of_json(path)
    elif suffix == ".rttm":
        segments = of_rttm(path, encoding)
    elif suffix in (".srt", ".vtt"):
        segments = of_cues(path, encoding)
    else:
        segments = of_table(path, encoding)
    if not segments:
        raise ValueError(f"{path} has no segment.")
    try:
        check_segments(segments)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return segments


def of_json(path: Path) -> list[dict[str, Any]]:
    """The segments of whisper's or whisperX's JSON."""
    content = read_json(path)
    segments = content.get("segments") if isinstance(content, dict) else content
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise ValueError(f"{path} must have a list of segments, as whisper and whisperX write it.")
    kept = ("start", "end", "text", "speaker", "channel")
    found = [{key: segment[key] for key in kept if segment.get(key) is not None} for segment in segments]
    for segment in found:
        segment |= {key: str(segment[key]).strip() for key in ("text", "speaker") if key in segment}
    return found


def of_rttm(path: Path, encoding: str) -> list[dict[str, Any]]:
    """The turns of an RTTM file: SPEAKER, file, channel, start, duration, -, -, speaker, -, -."""
    segments, files, channels = [], set(), []
    for number, line in enumerate(read_text(path, encoding).split("\n"), 1):
        cells = line.split()
        if not cells or cells[0] != "SPEAKER":
            continue
        try:
            channel, start, duration, speaker = int(cells[2]), float(cells[3]), float(cells[4]), cells[7]
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number}, is {line!r}: it must be SPEAKER file 1 start duration ..."
            ) from error
        files.add(cells[1])
        channels.append(channel - 1)
        segments.append({"start": start, "end": start + duration, "speaker": speaker})
    if len(files) > 1:
        raise ValueError(f"{path} is of several recordings, {', '.join(sorted(files))}: give a file for each.")
    if len(set(channels)) > 1:
        segments = [{**segment, "channel": channel} for segment, channel in zip(segments, channels)]
    return segments


def of_cues(path: Path, encoding: str) -> list[dict[str, Any]]:
    """
    The cues of SRT or WebVTT. A line with times begins one, the next such line ends it: a text may have empty lines. In
    front of such a line stands a number or a name, if an empty line is before that.
    """
    vtt, segments, texts = path.suffix.lower() == ".vtt", [], []
    lines, skipped = read_text(path, encoding).split("\n"), False
    for number, line in enumerate(lines):
        begins = number == 0 or not lines[number - 1].strip()
        if vtt and begins and line.startswith(NOT_CUES):
            skipped = True
        match = None if skipped else CUE.fullmatch(line)
        if match is not None:
            segments.append({"start": seconds_of(match.groups()[:4]), "end": seconds_of(match.groups()[4:])})
            texts.append([])
        elif "-->" in line and not skipped:
            raise ValueError(f"{path}, line {number + 1}, is {line!r}: times must be such as 00:01:02,500.")
        elif not skipped and texts:
            follows = number + 1 < len(lines) and CUE.fullmatch(lines[number + 1]) is not None
            if not (follows and (begins or line.strip().isdecimal())):
                texts[-1].append(line.strip())
        skipped = skipped and bool(line.strip())
    for segment, of_cue in zip(segments, texts):
        text = " ".join(of_cue)
        voices = {voice.strip() for voice in VOICE.findall(text)}
        segment["text"] = " ".join(html.unescape(MARKUP.sub("", text)).split())
        if len(voices) == 1:
            segment["speaker"] = voices.pop()
    return segments


def seconds_of(parts: tuple[str | None, ...]) -> float:
    """Seconds of hours (or None), minutes, seconds and a fraction."""
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(f"{seconds}.{fraction or 0}")


def of_table(path: Path, encoding: str) -> list[dict[str, Any]]:
    """The rows of a table with the columns `start` and `end`."""
    table = read_table(path, encoding)
    for column in ("start", "end"):
        if column not in table.column_names:
            raise ValueError(f"{path} has no column {column!r}; it has {', '.join(table.column_names)}.")
    columns = [name for name in ("start", "end", "text", "speaker", "channel") if name in table.column_names]
    segments = []
    for i, row in enumerate(table.select(columns).to_pylist()):
        segment = {name: value for name, value in row.items() if value is not None and value != ""}
        try:
            numbers = {name: kind(segment[name]) for name, kind in KINDS.items() if name in segment}
        except (TypeError, ValueError) as error:
            raise ValueError(f"Row {i} of {path} has {row}: start, end and channel must be numbers.") from error
        words = {name: str(segment[name]) for name in ("text", "speaker") if name in segment}
        segments.append({**segment, **numbers, **words})
    return segments


KINDS = {"start": float, "end": float, "channel": int}
