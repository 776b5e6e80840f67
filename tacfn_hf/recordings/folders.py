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
from ..model.audio_tacfn import load_audio
from ..model.decoding_tacfn import AudioError
from ..model.pipeline_tacfn import EmotionRecognitionPipeline
from ..writing import replacing, write_json
from .timeline import annotate
from .timeline_files import write_table, write_timeline
from .transcription import MAX_CLIP_SECONDS, Transcriber


logger = logging.get_logger(__name__)

SETTINGS = "annotation.json"
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


def annotate_folder(
    recognizer: EmotionRecognitionPipeline, folder: str | os.PathLike, output_dir: str | os.PathLike, **options: Any
) -> pd.DataFrame:
    """
    Writes `<name>.srt`, `<name>.png` and at last `<name>.csv` of each recording below a folder. A recording whose CSV
    is there already is left alone; what another model or other options made is refused.

    Args:
        options: of `annotate`.

    Returns:
        A row for each recording: its name, its segments, and their seconds; or the error for which it has none.

    Raises:
        ValueError: as `recordings_in`, two files differ only in the suffix, or output_dir holds timelines of another
            model or of other options.
    """
    output_dir = Path(output_dir)
    settings = {"model": recognizer.model.name_or_path, **{name: str(value) for name, value in options.items()}}
    if isinstance(transcriber := options.get("transcriber"), Transcriber):
        settings["transcriber"] = f"{transcriber.recognizer.model.name_or_path} {transcriber.language}"
    settings.pop("batch_size", None)
    place = output_dir / SETTINGS
    if place.is_file():
        before = json.loads(place.read_text(encoding="utf-8"))
        changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if changed:
            was, now = before.get(changed[0]), settings.get(changed[0])
            raise ValueError(
                f"{output_dir} holds timelines with {changed[0]} {was}, not {now}: choose another output_dir."
            )
    files = recordings_in(folder)
    (twice, count), *_ = Counter(file.with_suffix("") for file in files).most_common(1)
    if count > 1:
        raise ValueError(f"{folder} has several audio files of the name {twice}: their timelines would be one.")
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(place, settings)
    rows = []
    for file in tqdm(files, desc="Annotating", unit="recording"):
        name = file.relative_to(folder).with_suffix("").as_posix()
        target = output_dir / f"{name}.csv"
        try:
            if target.is_file():
                table = pd.read_csv(target)
            else:
                table = annotate(recognizer, file, **options)
                for suffix in (".srt", ".png", ".csv"):  # the table is the sign that all is there
                    write_timeline(table, f"{target.with_suffix('')}{suffix}")
            seconds = float((table["end"] - table["start"]).sum())
            rows.append({"recording": name, "segments": len(table), "seconds": round(seconds, 2), "error": ""})
        except ValueError as error:  # of this recording; the others go on
            rows.append({"recording": name, "segments": 0, "seconds": 0.0, "error": str(error)})
    return pd.DataFrame(rows)


def transcribe_rows(
    transcriber: Transcriber,
    rows: Iterable[Mapping[str, Any]],
    count: int,
    output: str | os.PathLike,
    skip_bad_files: bool = False,
    source: str = "",
) -> pd.DataFrame:
    """
    Writes a table of rows with their transcripts, in their order. Rows are kept beside the table as they are made, in
    `<output>.part.jsonl`, from which a call with the same model and language goes on.

    Args:
        rows: each with a unique `id`, `sound` (what `load_audio` takes, or None) and other columns of text.
        count: how many there are.
        output: .csv, .jsonl or .parquet.
        source: where the rows are from; rows that were kept of another source are refused.
        skip_bad_files: leave rows whose audio can't be used without text, with a warning that names them.

    Returns:
        The table: the rows without `sound`, with `text`, `language` and `confidence`, None without audio or words.

    Raises:
        AudioError: audio that can't be decoded, or is longer than 30 s.
        ValueError: what was kept is of another model or language.
    """
    output = Path(output)
    part = output.with_name(f"{output.name}.part.jsonl")
    model = str(transcriber.recognizer.model.name_or_path)
    settings = {"model": model, "language": transcriber.language, "source": source}
    done = kept_rows(part, settings)
    with replacing(part) as temporary:  # without the line in which it was interrupted
        temporary.write_text("".join(f"{json.dumps(of)}\n" for of in (settings, *done.values())), encoding="utf-8")
    order: list[str] = []
    todo: list[Mapping[str, Any]] = []
    skipped: list[str] = []

    def clips() -> Iterator[tuple[np.ndarray, int]]:
        for row in rows:
            order.append(row["id"])
            clip = None
            if row["id"] in done:
                bar.update()
                continue
            if row["sound"] is not None:
                name, rate = f"the audio of id {row['id']!r}", transcriber.rate
                try:
                    clip = load_audio(row["sound"], rate, max_seconds=MAX_CLIP_SECONDS, name=name)
                except AudioError as error:
                    if not skip_bad_files:
                        raise
                    skipped.append(str(error))
            if clip is None:
                keep(row, dict.fromkeys(SAID))
            else:
                todo.append(row)
                yield clip, transcriber.rate

    def keep(row: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        made = {name: value for name, value in row.items() if name != "sound"} | {name: said[name] for name in SAID}
        done[row["id"]] = made
        file.write(f"{json.dumps(made)}\n")
        file.flush()
        bar.update()

    with open(part, "a", encoding="utf-8") as file, tqdm(total=count, desc="Transcribing", unit="utterance") as bar:
        for answer in transcriber.of_clips(clips()):
            keep(todo.pop(0), answer)
    if skipped:
        logger.warning(f"{len(skipped)} rows are left without text: {' '.join(skipped)}")
    table = pd.DataFrame([done[row_id] for row_id in order])
    write_table(table, output)
    part.unlink()
    return table


def kept_rows(part: Path, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """
    The rows of an interrupted call, by their ids.

    Raises:
        ValueError: they are of another model or language.
    """
    if not part.is_file():
        return {}
    lines = []
    for line in part.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:  # the line in which it was interrupted
            break
    if lines and lines[0] != settings:
        raise ValueError(f"{part} was made with {lines[0]}, not {dict(settings)}: choose another output, or remove it.")
    return {row["id"]: row for row in lines[1:]}
