"""Timelines and transcripts of many files, which go on where they were interrupted."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..corpora.folder import files_in
from ..corpora.schema import AUDIO_SUFFIXES
from ..model.audio_tacfn import load_audio
from ..model.decoding_tacfn import AudioError
from ..model.pipeline_tacfn import EmotionRecognitionPipeline
from ..writing import replacing, write_json
from .timeline import annotate, write_timeline
from .transcription import Transcriber


SETTINGS = "annotation.json"
MAX_CLIP_SECONDS = 30.0  # what speech recognition takes at once


def recordings_in(folder: str | os.PathLike) -> list[Path]:
    """
    The audio files below a folder, by their suffixes, in the order of their names.

    Raises:
        ValueError: there is none, or two differ only in the suffix.
    """
    files = [file for file in files_in(Path(folder)) if file.suffix.lower() in AUDIO_SUFFIXES]
    if not files:
        raise ValueError(f"{folder} has no audio file.")
    names = [file.with_suffix("") for file in files]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"{folder} has several audio files of the name {twice}: their timelines would be one.")
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
        ValueError: as `recordings_in`, or output_dir holds timelines of another model or of other options.
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
        except AudioError as error:  # the others go on
            rows.append({"recording": name, "segments": 0, "seconds": 0.0, "error": str(error)})
    return pd.DataFrame(rows)


def transcribe_rows(
    transcriber: Transcriber, rows: Iterable[Mapping[str, Any]], count: int, output: str | os.PathLike
) -> pd.DataFrame:
    """
    Writes a table of rows with their transcripts. Rows are kept beside the table as they are made, in
    `<output>.part.jsonl`, from which the same call goes on.

    Args:
        rows: each with a unique `id` and `audio` (what `load_audio` takes, or None), and other columns of text.
        count: how many there are.
        output: .csv, .jsonl or .parquet.

    Returns:
        The table: the rows with `text`, `language` and `confidence`, None without audio or words.

    Raises:
        AudioError: audio that can't be decoded, or is longer than 30 s.
    """
    output = Path(output)
    part = output.with_name(f"{output.name}.part.jsonl")
    done: dict[str, dict[str, Any]] = {}
    if part.is_file():
        for line in part.read_text(encoding="utf-8").splitlines():
            try:
                made = json.loads(line)
            except json.JSONDecodeError:  # the line in which it was interrupted
                break
            done[made["id"]] = made
        part.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in done.values()), encoding="utf-8")
    todo: list[Mapping[str, Any]] = []

    def clips() -> Iterator[tuple[np.ndarray, int]]:
        for row in rows:
            if row["id"] in done:
                bar.update()
            elif row["audio"] is None:
                keep({**described(row), "text": None, "language": None, "confidence": None})
            else:
                todo.append(row)
                name = f"the audio of id {row['id']!r}"
                yield (
                    load_audio(row["audio"], transcriber.rate, max_seconds=MAX_CLIP_SECONDS, name=name),
                    transcriber.rate,
                )

    def keep(made: dict[str, Any]) -> None:
        done[made["id"]] = made
        file.write(f"{json.dumps(made, ensure_ascii=False)}\n")
        file.flush()
        bar.update()

    with open(part, "a", encoding="utf-8") as file, tqdm(total=count, desc="Transcribing", unit="utterance") as bar:
        for answer in transcriber.of_clips(clips()):
            said = {name: answer[name] for name in ("text", "language", "confidence")}
            keep({**described(todo.pop(0)), **said})
    table = pd.DataFrame(list(done.values()))
    with replacing(output) as temporary:
        if output.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        elif output.suffix.lower() == ".jsonl":
            table.to_json(temporary, orient="records", lines=True, force_ascii=False)
        else:
            table.to_csv(temporary, index=False)
    part.unlink()
    return table


def described(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the path of its audio, and without columns of None."""
    audio = row["audio"]
    path = audio["path"] if isinstance(audio, Mapping) else None if audio is None else os.fspath(audio)
    return {**{name: value for name, value in row.items() if name != "audio"}, "audio": path}
