"""A dataset of audio and text becomes a dataset of features: once, in shards, and through any interruption."""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from accelerate import PartialState
from datasets import Audio, ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, Value, load_from_disk
from tqdm.auto import tqdm

from ..corpora.tables import check_case, plain_label, warn_of_words_for_nothing
from ..files import replacing, write_json
from ..model.decoding_tacfn import AudioError
from ..model.processing_tacfn import TacfnProcessor, is_blank
from .storage import PROVENANCE_COLUMNS, feature_of, nested_array


FORMAT = 1  # of a shard; another one recomputes


PROCESSOR_FOLDER = "processor"


REPORT = "extraction.json"


ENCODED_AT_ONCE = 32  # utterances between two moves of the progress bar


def extract_features(
    dataset: Dataset | DatasetDict,
    processor: TacfnProcessor,
    output_dir: str | os.PathLike,
    *,
    audio_column: str | None = None,
    text_column: str | None = None,
    id_column: str = "id",
    label_column: str = "label",
    speaker_column: str | None = None,
    skip_bad_files: bool = False,
    truncation: bool = False,
    shard_size: int = 128,
) -> Dataset | DatasetDict | None:
    """
    Runs the processor's encoders over a dataset, and writes features that `load_from_disk` opens and train.py reads.

    The output has `id`, `h_a` and `h_t` (float16 `[L, d]`, null where the modality is missing), `label`, every other
    column but the audio, and what made the features as `audio_provenance` and `text_provenance`. Beside them lie the
    processor and `extraction.json`, a report.

    A shard of `shard_size` rows is written whole or not at all, together with a key of what went into it: a run that
    was interrupted goes on with the shards that are not there, and a shard is made anew when its rows, its audio, the
    encoders, their layers or dtype have changed. Under `accelerate launch` each process makes a share of the shards,
    and the last one to finish completes the folder.

    Args:
        dataset: rows with audio (anything that the processor takes) or text or both.
        processor: on the device where it is to run.
        output_dir: a new folder, or that of an earlier run.
        audio_column, text_column: None: "audio" and "text", where they are. Text of nothing but white space is missing.
        id_column: a column whose values differ from row to row.
        label_column: classes, as `ClassLabel` (or a list of them), or as strings, which become one with sorted names,
            without white space around them; an empty one is no label. May be absent.
        speaker_column: a column that becomes `speaker`.
        skip_bad_files: leave out rows whose audio can't be used, and list them in the report, instead of stopping.
        truncation: cut audio and text that is too long, instead of stopping.
        shard_size: rows of a shard. Memory grows with it, and so does what an interruption loses.

    Returns:
        The features, or None in a process that ends while others still work on their share.

    Raises:
        ValueError: a column that is not there, ids that occur twice, labels that differ only in case, a row without
            audio and text, text that can't be used, features that do not fit float16.
        AudioError: audio that can't be used, with the row's id.
        OSError: a shard that can't be written; what was written before is kept.
    """
    if shard_size < 1:
        raise ValueError(f"shard_size is {shard_size}: it must be at least 1.")
    output_dir = Path(output_dir)
    parts = dict(dataset) if isinstance(dataset, DatasetDict) else {"": dataset}
    parts = prepare_rows(parts, audio_column, text_column, id_column, label_column, speaker_column)
    output_dir.mkdir(parents=True, exist_ok=True)
    if PartialState().is_main_process:
        remove_other_kind(output_dir, isinstance(dataset, DatasetDict))
    if PartialState().is_main_process and not is_saved(processor, output_dir / PROCESSOR_FOLDER):
        processor.save_pretrained(output_dir / PROCESSOR_FOLDER)
    complete = True
    for name, part in parts.items():
        extraction = Extraction(part, processor, output_dir / name, name, skip_bad_files, truncation, shard_size)
        complete = extraction.run() and complete
    if not complete:
        return None
    if isinstance(dataset, DatasetDict):
        write_json(output_dir / "dataset_dict.json", {"splits": list(parts)})
    return load_from_disk(output_dir)


def remove_other_kind(folder: Path, has_splits: bool) -> None:
    """Removes what an earlier run with splits, or without, left in the folder: it would be opened in place of this."""
    if has_splits:
        for path in [
            folder / "state.json",
            folder / "dataset_info.json",
            folder / REPORT,
            *folder.glob("shard-*.arrow"),
        ]:
            path.unlink(missing_ok=True)
    else:
        (folder / "dataset_dict.json").unlink(missing_ok=True)


def is_saved(processor: TacfnProcessor, folder: Path) -> bool:
    """Whether the folder holds this processor already."""
    path = folder / "processor_config.json"
    if not path.is_file():
        return False
    saved = json.loads(path.read_text(encoding="utf-8"))
    names = (*PROVENANCE_COLUMNS.values(), "max_audio_seconds")
    return all(saved.get(name) == getattr(processor, name) for name in names)


def processor_of(folder: str | os.PathLike) -> str | None:
    """The folder of the processor that made the features in a folder; None where it is not there."""
    path = Path(folder, PROCESSOR_FOLDER)
    return str(path) if path.is_dir() else None


def prepare_rows(
    parts: dict[str, Dataset],
    audio_column: str | None,
    text_column: str | None,
    id_column: str,
    label_column: str,
    speaker_column: str | None,
) -> dict[str, Dataset]:
    """The parts with the columns `id`, `audio`, `text`, `label`, `speaker` under these names; audio is not decoded."""
    if not any(len(part) for part in parts.values()):
        raise ValueError("The dataset has no rows: there is nothing to extract.")
    columns = next(iter(parts.values())).column_names
    renamed = {}
    for name, wanted in (("audio", audio_column), ("text", text_column)):
        if wanted is not None:
            renamed[wanted] = name
        elif name in columns:
            renamed[name] = name
    if not renamed:
        raise ValueError(f"The dataset has neither audio nor text: it has {', '.join(columns)}; say audio_column.")
    renamed[id_column] = "id"
    if label_column in columns or label_column != "label":
        renamed[label_column] = "label"
    if speaker_column is not None:
        renamed[speaker_column] = "speaker"

    prepared, seen = {}, set()
    for part_name, part in parts.items():
        for column, name in renamed.items():
            if column not in part.column_names:
                raise ValueError(
                    f"{name}_column is {column!r}, but the dataset has no such column; it has "
                    f"{', '.join(part.column_names)}."
                )
            if column != name and name in part.column_names:
                raise ValueError(f"{name}_column is {column!r}, but the dataset also has a column {name!r}: rename it.")
        part = part.rename_columns({column: name for column, name in renamed.items() if column != name})
        for reserved in (*PROVENANCE_COLUMNS, *PROVENANCE_COLUMNS.values()):
            if reserved in part.column_names:
                raise ValueError(f"The dataset already has a column {reserved!r}, which is one of the features.")
        if "audio" in part.column_names and isinstance(part.features["audio"], Audio):
            part = part.cast_column("audio", Audio(decode=False))
        part = part.cast_column("id", Value("string"))
        for value in part.with_format(None)["id"][:]:
            if value is None or value in seen:
                raise ValueError(
                    f"The id {value!r} of column {id_column!r} occurs twice or is null: every row needs an id of its "
                    "own, in the column that id_column names."
                )
            seen.add(value)
        prepared[part_name] = part
    return encode_labels(prepared)


def encode_labels(parts: dict[str, Dataset]) -> dict[str, Dataset]:
    """The parts with labels that are values as a `ClassLabel` of the same names in all of them."""
    if "label" not in next(iter(parts.values())).column_names:
        return parts
    if not any(isinstance(part.features["label"], Value) for part in parts.values()):
        return parts
    if not all(isinstance(part.features["label"], Value) for part in parts.values()):
        raise ValueError("The labels are a ClassLabel in some splits and values in others: make them the same in all.")
    labels = {}
    for name, part in parts.items():
        cells = part.with_format(None)["label"][:]
        labels[name] = [None if cell is None else plain_label(str(cell), fold_case=False) or None for cell in cells]
    counts = Counter(label for values in labels.values() for label in values if label is not None)
    warn_of_words_for_nothing("The dataset", {"label": counts.elements()})
    check_case(counts, "The dataset", "open it as the corpus hub, with fold_case")
    names = sorted(counts)
    encoded = {}
    for name, part in parts.items():
        indices = [None if label is None else names.index(label) for label in labels[name]]
        encoded[name] = part.remove_columns("label").add_column("label", indices, feature=ClassLabel(names=names))
    return encoded


class Extraction:
    """The features of one part of a dataset, in one folder."""

    def __init__(
        self,
        rows: Dataset,
        processor: TacfnProcessor,
        folder: Path,
        name: str,
        skip_bad_files: bool,
        truncation: bool,
        shard_size: int,
    ):
        self.rows = rows.with_format("arrow")
        self.processor = processor
        self.folder = folder
        self.name = name
        self.skip_bad_files = skip_bad_files
        self.truncation = truncation
        self.shards = [range(i, min(i + shard_size, len(rows))) for i in range(0, len(rows), shard_size)]
        self.provenance = {
            "h_a": processor.audio_provenance if "audio" in rows.column_names else None,
            "h_t": processor.text_provenance if "text" in rows.column_names else None,
        }
        self.provenance = {column: made for column, made in self.provenance.items() if made is not None}
        self.sizes = {
            column: (processor.audio_encoder if column == "h_a" else processor.text_encoder).model.config.hidden_size
            for column in self.provenance
        }
        self.features = Features(
            {"id": Value("string")}
            | {column: feature_of("float16", size) for column, size in self.sizes.items()}
            | {name: kind for name, kind in rows.features.items() if name not in ("id", "audio")}
            | {PROVENANCE_COLUMNS[column]: Value("string") for column in self.provenance}
        )

    def run(self) -> bool:
        """Makes this process' share of the shards that are not there; whether the folder is complete now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = PartialState()
        keys = [self.key(shard) for shard in self.shards]
        share = [i for i in range(len(self.shards)) if i % state.num_processes == state.process_index]
        missing = [i for i in share if not self.is_done(i, keys[i])]
        if missing:
            (self.folder / "state.json").unlink(missing_ok=True)  # a folder that is half new can't be loaded
        rows = sum(len(self.shards[i]) for i in share)
        bar = tqdm(
            desc=f"Extracting {self.name}".rstrip(),
            total=rows,
            initial=rows - sum(len(self.shards[i]) for i in missing),
            unit="utterance",
            position=state.process_index,
        )
        with bar:
            self.bar, self.started, self.seconds = bar, time.monotonic(), 0.0
            for i in missing:
                self.write_shard(i, keys[i])
        if not all(self.is_done(i, key) for i, key in enumerate(keys)):
            return False
        self.complete(keys)
        return True

    def path(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.arrow"

    def key(self, shard: range) -> str:
        """A hash of all that goes into a shard: its rows, their audio (or the state of its files), the encoders."""
        settings = [FORMAT, str(self.features), self.truncation and self.processor.max_audio_seconds, self.provenance]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        table = self.rows[shard.start : shard.stop]
        if "audio" in table.column_names:
            for audio in table.column("audio").to_pylist():
                digest.update(audio_identity(audio))
            table = table.drop_columns("audio")
        digest.update(json.dumps(table.to_pylist(), sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def is_done(self, index: int, key: str) -> bool:
        """Whether the shard is there, made of the same, and without rows that would now be an error."""
        found = read_metadata(self.path(index))
        return found is not None and found["key"] == key and (self.skip_bad_files or not found["skipped"])

    def write_shard(self, index: int, key: str) -> None:
        table = self.rows[self.shards[index].start : self.shards[index].stop]
        ids = table.column("id").to_pylist()
        audio, skipped = self.load_audio(table, ids)
        kept = [i for i in range(len(ids)) if i not in skipped]
        texts = table.column("text").to_pylist() if "text" in table.column_names else [None] * len(ids)
        texts = [None if is_blank(text) else text for text in texts]
        for i in kept:
            if audio[i] is None and texts[i] is None:
                raise ValueError(f"The row with id {ids[i]!r} has neither audio nor text: leave it out.")
        with_text = [i for i in kept if texts[i] is not None]
        h_t: list[np.ndarray | None] = [None] * len(ids)
        encoded = self.processor.encode_text(
            [texts[i] for i in with_text], self.truncation, [f"The text of id {ids[i]!r}" for i in with_text]
        )
        for i, h in zip(with_text, encoded):
            h_t[i] = stored(h.numpy(), f"h_t of id {ids[i]!r}")
        h_a = self.encode_audio(audio, ids)

        places = pa.array(kept, pa.int64())
        columns = {name: table.column(name).take(places) for name in table.column_names if name != "audio"}
        for column, values in (("h_a", h_a), ("h_t", h_t)):
            if column in self.provenance:
                columns[column] = nested_array([values[i] for i in kept], "float16", self.sizes[column])
                made = json.dumps(self.provenance[column], sort_keys=True)
                columns[PROVENANCE_COLUMNS[column]] = pa.array([made] * len(kept), pa.string())
        about = {
            "key": key,
            "skipped": [{"id": ids[i], "error": error} for i, error in skipped.items()],
            "seconds": sum(len(w) for w in audio if w is not None) / self.processor.sampling_rate,
        }
        schema = self.features.arrow_schema
        schema = schema.with_metadata({**schema.metadata, b"extraction": json.dumps(about).encode()})
        written = pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)
        try:
            write_table(self.path(index), written)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self.path(index)} can't be written ({error.strerror}): the shards before it are kept; make room, "
                "and give the same command again",
            ) from error
        self.bar.update(len(ids) - sum(w is not None for w in audio))

    def load_audio(self, table: pa.Table, ids: Sequence[str]) -> tuple[list[np.ndarray | None], dict[int, str]]:
        """Waveforms, None for a row without audio or with bad audio; and the error of each bad one, by its place."""
        waveforms: list[np.ndarray | None] = [None] * len(ids)
        skipped: dict[int, str] = {}
        if "audio" not in table.column_names:
            return waveforms, skipped
        for i, audio in enumerate(table.column("audio").to_pylist()):
            if is_missing(audio):
                continue
            try:
                waveforms[i] = self.processor.load_audio(
                    audio, truncation=self.truncation, name=f"The audio of id {ids[i]!r}"
                )
            except AudioError as error:
                if not self.skip_bad_files:
                    raise
                skipped[i] = str(error)
        return waveforms, skipped

    def encode_audio(self, waveforms: Sequence[np.ndarray | None], ids: Sequence[str]) -> list[np.ndarray | None]:
        """Features in float16, in batches by length."""
        features: list[np.ndarray | None] = [None] * len(waveforms)
        order = sorted((i for i, w in enumerate(waveforms) if w is not None), key=lambda i: len(waveforms[i]))
        for start in range(0, len(order), ENCODED_AT_ONCE):
            batch = order[start : start + ENCODED_AT_ONCE]
            for i, h in zip(batch, self.processor.encode_audio([waveforms[i] for i in batch])):
                features[i] = stored(h.numpy(), f"h_a of id {ids[i]!r}")
            self.seconds += sum(len(waveforms[i]) for i in batch) / self.processor.sampling_rate
            speed = self.seconds / (time.monotonic() - self.started)
            self.bar.set_postfix_str(f"{speed:.1f} s of speech/s", refresh=False)
            self.bar.update(len(batch))
        return features

    def complete(self, keys: Sequence[str]) -> None:
        """Makes the folder one that `load_from_disk` opens, with a report, and without what does not belong there."""
        about = [read_metadata(self.path(i)) for i in range(len(keys))]
        skipped = [row for shard in about for row in shard["skipped"]]
        names = [self.path(i).name for i in range(len(keys))]
        fingerprint = hashlib.sha256("".join(keys).encode()).hexdigest()[:16]
        with suppress(FileNotFoundError):
            with open(self.folder / "state.json", encoding="utf-8") as file:
                if json.load(file)["_fingerprint"] == fingerprint:
                    return
        write_json(
            self.folder / REPORT,
            {
                "rows": len(self.rows) - len(skipped),
                "skipped": skipped,
                "seconds_of_speech": round(sum(shard["seconds"] for shard in about), 1),
                "provenance": self.provenance,
            },
        )
        for path in [*self.folder.glob("shard-*.arrow"), *self.folder.glob(".*.tmp")]:
            if path.name not in names:
                path.unlink(missing_ok=True)
        DatasetInfo(features=self.features).write_to_directory(str(self.folder))
        write_json(  # last, since it is what makes the folder a dataset for `load_from_disk`
            self.folder / "state.json",
            {
                "_data_files": [{"filename": name} for name in names],
                "_fingerprint": fingerprint,
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": None,
            },
        )


def is_missing(audio: Any) -> bool:
    """Whether a cell holds no audio: null, or a struct without any of bytes, path and array."""
    if isinstance(audio, dict):
        return all(audio.get(name) is None for name in ("bytes", "path", "array"))
    return audio is None


def audio_identity(audio: Any) -> bytes:
    """A hash of embedded audio; of a file its path, size and time of change, which cost no reading."""
    if is_missing(audio):
        return b"missing"
    if isinstance(audio, dict) and audio.get("bytes") is None and audio.get("array") is None:
        audio = audio["path"]
    if isinstance(audio, str):
        with suppress(OSError):  # of a missing file the encoding complains
            status = os.stat(audio)
            audio = f"{audio} {status.st_size} {status.st_mtime_ns}"
        return hashlib.sha256(audio.encode()).digest()
    if isinstance(audio, dict) and audio.get("bytes") is not None:
        audio = audio["bytes"]
    return hashlib.sha256(audio if isinstance(audio, bytes) else json.dumps(audio).encode()).digest()


def stored(h: np.ndarray, name: str) -> np.ndarray:
    """Features as they are stored, in float16."""
    with np.errstate(over="ignore"):
        half = h.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{name} holds {np.abs(h).max():g}, which float16 can't: features must be within 65504.")
    return half


def read_metadata(path: Path) -> dict[str, Any] | None:
    """What a shard says of itself; None where it is not there."""
    if not path.is_file():
        return None
    with pa.memory_map(str(path)) as file:
        return json.loads(pa.ipc.open_stream(file).schema.metadata[b"extraction"])


def write_table(path: Path, table: pa.Table) -> None:
    """Writes an Arrow file that appears whole or not at all."""
    with replacing(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
