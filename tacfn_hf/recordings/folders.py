"""Timelines and transcripts of many files, which go on where they were interrupted."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm
from transformers.utils import logging

from ..corpora.folder import files_in
from ..corpora.schema import AUDIO_SUFFIXES
from ..model.audio_tacfn import load_audio, named
from ..model.decoding_tacfn import AudioError, audio_seconds
from ..model.pipeline_tacfn import EmotionRecognitionPipeline
from ..writing import read_json, replacing, write_json
from .made_of import bytes_or_path, content_of, first_change, model_state
from .segment_files import SUFFIXES as SEGMENT_SUFFIXES
from .segment_files import read_segments
from .timeline import annotate
from .timeline_files import write_table, write_timeline
from .transcription import MAX_CLIP_SECONDS, Transcriber


logger = logging.get_logger(__name__)

SETTINGS = "annotation.json"
WRITTEN = (".srt", ".png", ".csv")  # the table is the sign that all is there
SAID = ("text", "language", "confidence")


def recordings_in(folder: str | os.PathLike) -> list[Path]:
    """
    The audio files below a folder, by their suffixes, in the order of their names.

    Raises:
        ValueError: there is none.
    """
    files = [file for file in files_in(Path(folder)) if file.suffix.lower() in AUDIO_SUFFIXES]
    if not files:
        raise ValueError(f"{folder} has no audio file.")
    return files


def segment_file_of(name: str, folder: str | os.PathLike) -> Path:
    """
    The file of segments of a recording: in the same place below a folder, with the same name but for the suffix.

    Raises:
        ValueError: there is none, or several.
    """
    place = Path(folder, name)
    files = sorted(place.parent.iterdir()) if place.parent.is_dir() else []
    found = [file for file in files if file.stem == place.name and file.suffix.lower() in SEGMENT_SUFFIXES]
    if len(found) != 1:
        there = " and ".join(file.name for file in found) or f"no {place.name}.srt, .csv or the like"
        raise ValueError(f"{place.parent} has {there} with the segments of {name}: it must have one such file.")
    return found[0]


def annotate_folder(
    recognizer: EmotionRecognitionPipeline,
    folder: str | os.PathLike,
    output_dir: str | os.PathLike,
    segments: str | os.PathLike | None = None,
    encoding: str = "utf-8-sig",
    **options: Any,
) -> pd.DataFrame:
    """
    Writes `<name>.srt`, `<name>.png` and at last `<name>.csv` of each recording below a folder. A recording whose CSV
    is there already is left alone, if its file has not changed; what another model or other options made is refused.

    Args:
        segments: a folder with the file of segments of each recording, see `segment_file_of`.
        encoding: of such files that are text.
        options: of `annotate`.

    Returns:
        A row for each recording: its name, its segments, and their seconds; or the error for which it has none.

    Raises:
        ValueError: as `recordings_in`, two files differ only in the suffix, or output_dir has the segments, or
            timelines of another model or of other options.
    """
    output_dir = Path(output_dir)
    if segments is not None and output_dir.resolve() == Path(segments).resolve():
        raise ValueError(f"{output_dir} has the segments: choose another output_dir, since timelines look like them.")
    settings = {"model": model_state(recognizer.model), **{name: str(value) for name, value in options.items()}}
    settings |= {"segments": "found" if segments is None else f"given in {encoding}"}
    if isinstance(transcriber := options.get("transcriber"), Transcriber):
        settings["transcriber"] = f"{model_state(transcriber.recognizer.model)} {transcriber.language}"
    settings.pop("batch_size", None)
    place = output_dir / SETTINGS
    before = read_json(place) if place.is_file() else dict(settings)
    contents = before.pop("recordings", {})  # what each timeline was made of
    if changed := first_change(before, settings):
        raise ValueError(f"{output_dir} holds timelines with {changed}: choose another output_dir.")
    files = recordings_in(folder)
    (twice, count), *_ = Counter(file.with_suffix("") for file in files).most_common(1)
    if count > 1:
        raise ValueError(f"{folder} has several audio files of the name {twice}: their timelines would be one.")
    output_dir.mkdir(parents=True, exist_ok=True)
    rows = []
    for file in tqdm(files, desc="Annotating", unit="recording"):
        name = file.relative_to(folder).with_suffix("").as_posix()
        *others, target = (output_dir / f"{name}{suffix}" for suffix in WRITTEN)
        try:
            content = content_of(file, named(file, "The recording"))
            if segments is not None:
                given = segment_file_of(name, segments)
                content += f" {content_of(given, named(given, 'The file of segments'))}"
                options["segments"] = read_segments(given, encoding)
            if contents.get(name) != content:
                make_room(name, contents, (target, *others))
                contents[name] = content  # before the files, so that a table is always of this content
                write_json(place, {**settings, "recordings": contents})
            if target.is_file():
                table = pd.read_csv(target)
            else:
                table = annotate(recognizer, file, **options)
                for path in (*others, target):
                    write_timeline(table, path)
            seconds = float((table["end"] - table["start"]).sum())
            rows.append({"recording": name, "segments": len(table), "seconds": round(seconds, 2), "error": ""})
        except ValueError as error:  # of this recording; the others go on
            rows.append({"recording": name, "segments": 0, "seconds": 0.0, "error": str(error)})
    return pd.DataFrame(rows)


def make_room(name: str, contents: Mapping[str, str], files: Iterable[Path]) -> None:
    """
    Removes the timeline that a recording had before it changed.

    Raises:
        ValueError: there is a file of this name that is no such timeline.
    """
    there = [file for file in files if file.exists()]
    if there and name not in contents:
        raise ValueError(f"{there[0]} is there already, and was not made by this command: choose another output_dir.")
    if name in contents:
        logger.warning(f"The recording {name} or its segments have changed: its timeline is made anew.")
    for file in there:
        file.unlink()


def transcribe_rows(
    transcriber: Transcriber,
    rows: Iterable[Mapping[str, Any]],
    count: int,
    output: str | os.PathLike,
    skip_bad_files: bool = False,
    source: str = "",
) -> pd.DataFrame:
    """
    Writes a table of rows with their transcripts, in their order. Transcripts are kept beside the table as they are
    made, in `<output>.part.jsonl`, from which a call with the same model and language goes on. What is longer than
    30 s is heard in equal parts.

    Args:
        rows: each with a unique `id`, `sound` (a path, the bytes of a file, a `datasets` struct of one of them, or
            None) and other columns of text.
        count: how many there are.
        output: .csv, .jsonl or .parquet.
        source: where the rows are from; what was kept of another source is refused.
        skip_bad_files: leave rows whose audio can't be used without text, with a warning that names them.

    Returns:
        The table: the rows without `sound`, with `text`, `language` and `confidence`, None without audio or words.

    Raises:
        AudioError: audio that can't be decoded.
        ValueError: what was kept is of another model, language or source; or the table is there already.
    """
    output = Path(output)
    part = output.with_name(f"{output.name}.part.jsonl")
    if output.exists() and not part.exists():
        raise ValueError(f"{output} is there already: choose another output, or remove it.")
    model = model_state(transcriber.recognizer.model)
    settings = {"model": model, "language": transcriber.language, "source": source}
    kept = kept_rows(part, settings)
    with replacing(part) as temporary:  # without the line in which it was interrupted
        temporary.write_text("".join(f"{json.dumps(of)}\n" for of in (settings, *kept.values())), encoding="utf-8")
    said: dict[str, Mapping[str, Any]] = {}
    columns: list[dict[str, Any]] = []
    todo: list[tuple[str, str]] = []  # ids, and of what content
    skipped: list[str] = []

    def clips() -> Iterator[tuple[np.ndarray, int]]:
        for row in rows:
            row_id, sound, name = row["id"], row["sound"], f"the audio of id {row['id']!r}"
            columns.append({of: value for of, value in row.items() if of != "sound"})
            said[row_id] = dict.fromkeys(SAID)
            try:
                content = None if sound is None else content_of(sound, name)
                if content is not None and kept.get(row_id, {}).get("recording") == content:
                    said[row_id] = kept[row_id]
                elif content is not None:
                    if row_id in kept:
                        logger.warning(f"The audio of id {row_id!r} is not what it was before: it is heard anew.")
                    file = bytes_or_path(sound)
                    seconds = audio_seconds(file, name)
                    if seconds <= MAX_CLIP_SECONDS:
                        clip = load_audio(sound, transcriber.rate, name=name)
                        todo.append((row_id, content))
                        yield clip, transcriber.rate
                        continue
                    (answer,) = transcriber.of_segments(file, [{"start": 0.0, "end": seconds}], name)
                    keep(row_id, content, answer)
            except AudioError as error:
                if not skip_bad_files:
                    raise
                skipped.append(str(error))
            bar.update()

    def keep(row_id: str, content: str, answer: Mapping[str, Any]) -> None:
        said[row_id] = {name: answer[name] for name in SAID}
        lines.write(f"{json.dumps({'id': row_id, 'recording': content, **said[row_id]})}\n")
        lines.flush()

    with open(part, "a", encoding="utf-8") as lines, tqdm(total=count, desc="Transcribing", unit="utterance") as bar:
        for answer in transcriber.of_clips(clips()):
            keep(*todo.pop(0), answer)
            bar.update()
    if skipped:
        logger.warning(f"{len(skipped)} rows are left without text: {' '.join(skipped)}")
    table = pd.DataFrame([{**of, **{name: said[of["id"]][name] for name in SAID}} for of in columns])
    write_table(table, output)
    part.unlink()
    return table


def kept_rows(part: Path, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """
    The transcripts of an interrupted call, by the ids of their rows, each with the content of its `recording`.

    Raises:
        ValueError: they are of another model, language or source.
    """
    if not part.is_file():
        return {}
    lines = []
    for line in part.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:  # the line in which it was interrupted
            break
    if lines and (changed := first_change(lines[0], settings)):
        raise ValueError(f"{part} was made with {changed}: choose another output, or remove it.")
    return {row["id"]: row for row in lines[1:]}
