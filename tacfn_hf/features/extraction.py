"""A dataset of audio and text becomes a dataset of features: once, in shards, and through any interruption."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, Value
from tqdm.auto import tqdm

from ..corpora.dataset_opening import REPORT, is_saved_dataset, open_dataset, shard_paths
from ..corpora.remote_folders import filled_folder, local_copy, output_folder
from ..model.decoding_tacfn import AudioError
from ..model.modalities_tacfn import MODALITIES
from ..model.processing_tacfn import TacfnProcessor, is_blank
from ..writing import AnyPath, read_json
from . import tuned_rows
from .arrow_layout import feature_of, nested_array
from .rows_to_encode import rows_to_encode
from .shards import complete_folder, read_about, write_shard


FORMAT = 1  # of a shard; shards of another format are made anew
PROCESSOR_FOLDER = "processor"
Loaded = tuple[list[np.ndarray | None], dict[int, str]]
Encoded = dict[str, list[np.ndarray | None]]
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
    Runs the processor's encoders over a dataset, and writes features that `open_dataset` opens and training reads.

    The output has `id`, `h_a` and `h_t` (float16 `[L, d]`, null where the modality is missing), `label`, every other
    column but the audio, and what made the features as `audio_provenance` and `text_provenance`. It lies in Arrow files
    of `shard_size` rows, the shards. Beside them lie the processor and `extraction.json`, a report; it is written last
    and makes the folder complete. Each split of a `DatasetDict` has a folder of its own.

    A shard is written whole or not at all, together with a key of all that went into it. A run that was interrupted
    therefore goes on with the shards that are not there. A shard is made anew when its rows, its audio, the encoders,
    their layers or their dtype have changed. Under `accelerate launch` each process makes a share of the shards, and
    the last one to finish completes the folder.

    Args:
        dataset: rows with audio (anything that the processor takes) or text or both.
        processor: on the device where it is to run.
        output_dir: a new folder, or that of an earlier run; or a URL that fsspec knows, such as `s3://bucket/features`.
        audio_column, text_column: None: "audio" and "text", where they are. Text of nothing but white space is missing.
        id_column: a column whose values differ from row to row.
        label_column: classes, as `ClassLabel` (or a list of them), or as strings, which become one with sorted names,
            without white space around them; an empty one is no label. May be absent.
        speaker_column: a column that becomes `speaker`.
        skip_bad_files: leave out rows whose audio can't be used, and list them in the report, instead of stopping.
        truncation: cut audio and text that is too long, instead of stopping.
        shard_size: rows of a shard. Memory grows with it, and so does what an interruption loses, two shards at most.

    Returns:
        The features. None in a process that ends while others still work on their share, and with a URL.

    Raises:
        ValueError: an output folder in which a dataset of `save_to_disk` lies, a column that is not there, ids that
            occur twice, labels that differ only in case, a row without audio and text, text that can't be used,
            features that do not fit float16.
        AudioError: audio that can't be used, with the row's id.
        OSError: a shard that can't be written; what was written before is kept.
    """
    if shard_size < 1:
        raise ValueError(f"shard_size is {shard_size}: it must be at least 1.")
    output_dir = output_folder(output_dir)
    if is_saved_dataset(output_dir):
        raise ValueError(f"The output folder {output_dir} holds a dataset of save_to_disk: choose another folder.")
    rows = rows_to_encode(dataset, audio_column, text_column, id_column, label_column, speaker_column)
    parts = dict(rows) if isinstance(rows, DatasetDict) else {"": rows}
    output_dir.mkdir(parents=True, exist_ok=True)
    if PartialState().is_main_process and not is_saved(processor, output_dir / PROCESSOR_FOLDER):
        (output_dir / REPORT).unlink(missing_ok=True)
        with filled_folder(output_dir / PROCESSOR_FOLDER) as folder:
            processor.save_pretrained(folder)
    extractions = [
        Extraction(part, processor, output_dir, name, skip_bad_files, truncation, shard_size)
        for name, part in parts.items()
    ]
    for extraction in extractions:
        extraction.make_share()
    # Only now, when this process has made its share of all parts: else of two processes neither might see all complete.
    if not all(extraction.is_complete() for extraction in extractions):
        return None
    for extraction in extractions:
        complete_folder(extraction.folder, extraction.report())
    if isinstance(dataset, DatasetDict):
        complete_folder(output_dir, {"splits": list(parts)})
    return open_dataset(output_dir) if isinstance(output_dir, Path) else None


def is_saved(processor: TacfnProcessor, folder: AnyPath) -> bool:
    """Whether the folder holds this processor already."""
    path = folder / "processor_config.json"
    if not path.is_file():
        return False
    saved = read_json(path)
    names = [*(modality.provenance for modality in MODALITIES), "max_audio_seconds", "tuned_rows"]
    return all(saved.get(name) == getattr(processor, name) for name in names)


def processor_of(folder: str | os.PathLike) -> str | None:
    """The folder of the processor that made the features in a folder; None where it is not there."""
    path = Path(local_copy(folder), PROCESSOR_FOLDER)
    return str(path) if path.is_dir() else None


class Extraction:
    """The features of one part of a dataset, in one folder: which shards it has, and how a shard is made."""

    def __init__(
        self,
        rows: Dataset,
        processor: TacfnProcessor,
        output_dir: AnyPath,
        name: str,
        skip_bad_files: bool,
        truncation: bool,
        shard_size: int,
    ):
        """`rows` as `rows_to_encode` gives them; `name` is that of the split, or empty. See `extract_features`."""
        self.rows = rows.with_format("arrow")
        self.processor = processor
        self.output_dir = output_dir
        self.folder = output_dir / name
        self.name = name
        self.skip_bad_files = skip_bad_files
        self.truncation = truncation
        self.modalities = [modality for modality in MODALITIES if modality.name in rows.column_names]
        self.provenance = {m.features: getattr(processor, m.provenance) for m in self.modalities}
        encoders = {m.features: getattr(processor, f"{m.name}_encoder") for m in self.modalities}
        self.sizes = {column: encoder.model.config.hidden_size for column, encoder in encoders.items()}
        tuned = {} if processor.tuned_rows is None else {tuned_rows.COLUMN: Value("string")}
        self.features = Features(
            {"id": Value("string")}
            | {column: feature_of("float16", size) for column, size in self.sizes.items()}
            | {name: kind for name, kind in rows.features.items() if name not in ("id", "audio")}
            | {modality.provenance: Value("string") for modality in self.modalities}
            | tuned
        )
        self.settings = [FORMAT, str(self.features), truncation and processor.max_audio_seconds, self.provenance]
        if tuned:  # by a hash, since a corpus is long
            rows_tuned_on = json.dumps(processor.tuned_rows, sort_keys=True)
            self.settings.append(hashlib.sha256(rows_tuned_on.encode()).hexdigest())
        starts = range(0, max(len(rows), 1), shard_size)  # a split without rows has a shard without rows
        self.shards = [range(i, min(i + shard_size, len(rows))) for i in starts]
        self.paths = list(shard_paths(self.folder, len(self.shards)))
        self.keys = [self.key(shard) for shard in self.shards]

    def make_share(self) -> None:
        """Makes those of this process' share of the shards that are not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = PartialState()
        share = range(state.process_index, len(self.shards), state.num_processes)
        missing = [i for i in share if not self.is_done(i)]
        if missing:  # a folder that is half new can't be opened
            for folder in (self.output_dir, self.folder):
                (folder / REPORT).unlink(missing_ok=True)
        rows = sum(len(self.shards[i]) for i in share)
        self.bar = tqdm(
            desc=f"Extracting {self.name}".rstrip(),
            total=rows,
            initial=rows - sum(len(self.shards[i]) for i in missing),
            unit="utterance",
            position=state.process_index,
        )
        self.started, self.seconds = time.monotonic(), 0.0
        # While a shard is encoded, the audio of the next one is decoded, and the last one is written.
        with self.bar, ThreadPoolExecutor(2) as pool:
            loading = [pool.submit(self.load_audio, i) for i in missing[:1]]
            writing: list[Future] = []
            for i, following in zip(missing, [*missing[1:], None]):
                loaded = loading.pop().result()
                if following is not None:
                    loading.append(pool.submit(self.load_audio, following))
                encoded = self.encode(i, loaded)
                for last in writing:
                    last.result()
                writing = [pool.submit(self.write, i, loaded, encoded)]
            for last in writing:
                last.result()

    def key(self, shard: range) -> str:
        """A hash of all that goes into a shard: its rows, their audio (or the state of its files), the encoders."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        table = self.rows[shard.start : shard.stop]
        if "audio" in table.column_names:
            for audio in table.column("audio").to_pylist():
                digest.update(audio_identity(audio))
            table = table.drop_columns("audio")
        digest.update(json.dumps(table.to_pylist(), sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def is_done(self, index: int) -> bool:
        """Whether a shard is there, made of the same, and without rows that would now be an error."""
        found = read_about(self.paths[index])
        return found is not None and found["key"] == self.keys[index] and (self.skip_bad_files or not found["skipped"])

    def is_complete(self) -> bool:
        """Whether all shards are there, also those of other processes."""
        return all(self.is_done(i) for i in range(len(self.shards)))

    def report(self) -> dict[str, Any]:
        """What `extraction.json` says of the shards, which are all there."""
        about = [read_about(path) for path in self.paths]
        skipped = [row for shard in about for row in shard["skipped"]]
        return {
            "shards": len(self.shards),
            "rows": len(self.rows) - len(skipped),
            "skipped": skipped,
            "seconds_of_speech": round(sum(shard["seconds"] for shard in about), 1),
            "dimensions": self.sizes,
            "provenance": self.provenance,
        }

    def encode(self, index: int, loaded: Loaded) -> Encoded:
        """The features of a shard's rows by column, in float16 `[L, d]`; None for a row without the modality."""
        audio, skipped = loaded
        table = self.rows[self.shards[index].start : self.shards[index].stop]
        ids = table.column("id").to_pylist()
        texts = table.column("text").to_pylist() if "text" in table.column_names else [None] * len(ids)
        texts = [None if i in skipped or is_blank(text) else text for i, text in enumerate(texts)]
        for i, name in enumerate(ids):
            if audio[i] is None and texts[i] is None and i not in skipped:
                raise ValueError(f"The row with id {name!r} has neither audio nor text: leave it out.")
        # Text first: it is cheap, and what it refuses is refused before the audio is encoded.
        encoded = {"h_t": self.encode_text(texts, ids), "h_a": self.encode_audio(audio, ids)}
        self.bar.update(len(ids) - sum(w is not None for w in audio))
        return encoded

    def write(self, index: int, loaded: Loaded, encoded: Encoded) -> None:
        """Writes a shard: its rows with their features, and what it says of itself (key, rows left out, seconds)."""
        audio, skipped = loaded
        table = self.rows[self.shards[index].start : self.shards[index].stop]
        ids = table.column("id").to_pylist()
        kept = [i for i in range(len(ids)) if i not in skipped]
        places = pa.array(kept, pa.int64())
        columns = {name: table.column(name).take(places) for name in table.column_names if name != "audio"}
        for modality in self.modalities:
            column = modality.features
            columns[column] = nested_array([encoded[column][i] for i in kept], "float16", self.sizes[column])
            made = json.dumps(self.provenance[column], sort_keys=True)
            columns[modality.provenance] = pa.array([made] * len(kept), pa.string())
        if tuned_rows.COLUMN in self.features:
            heard = table.column("audio").to_pylist() if "audio" in table.column_names else [None] * len(ids)
            keys = (tuned_rows.keys_of(ids[i], heard[i]) for i in kept)
            columns[tuned_rows.COLUMN] = pa.array(tuned_rows.uses_of(keys, self.processor.tuned_rows), pa.string())
        schema = self.features.arrow_schema
        about = {
            "key": self.keys[index],
            "skipped": [{"id": ids[i], "error": error} for i, error in skipped.items()],
            "seconds": sum(len(w) for w in audio if w is not None) / self.processor.sampling_rate,
        }
        cast = [columns[name].cast(schema.field(name).type) for name in schema.names]
        write_shard(self.paths[index], pa.table(cast, schema=schema), about)

    def load_audio(self, index: int) -> Loaded:
        """The waveforms `[S]` of a shard, None for a row without audio or with bad audio; and the error of each bad."""
        table = self.rows[self.shards[index].start : self.shards[index].stop]
        ids = table.column("id").to_pylist()
        waveforms: list[np.ndarray | None] = [None] * len(ids)
        skipped: dict[int, str] = {}
        if "audio" not in table.column_names:
            return waveforms, skipped

        def load(i: int, audio: Any) -> None:
            try:
                name = f"The audio of id {ids[i]!r}"
                waveforms[i] = self.processor.load_audio(audio, truncation=self.truncation, name=name)
            except AudioError as error:
                if not self.skip_bad_files:
                    raise
                skipped[i] = str(error)

        there = [(i, audio) for i, audio in enumerate(table.column("audio").to_pylist()) if not is_missing(audio)]
        with ThreadPoolExecutor(decoding_threads(self.processor)) as pool:
            for done in [pool.submit(load, *one) for one in there]:
                done.result()
        return waveforms, dict(sorted(skipped.items()))

    def encode_text(self, texts: Sequence[str | None], ids: Sequence[str]) -> list[np.ndarray | None]:
        """Features in float16 `[L, d]` of each text; None stays None."""
        features: list[np.ndarray | None] = [None] * len(texts)
        present = [i for i, text in enumerate(texts) if text is not None]
        names = [f"The text of id {ids[i]!r}" for i in present]
        for i, h in zip(present, self.processor.encode_text([texts[i] for i in present], self.truncation, names)):
            features[i] = stored(h.numpy(), f"h_t of id {ids[i]!r}")
        return features

    def encode_audio(self, waveforms: Sequence[np.ndarray | None], ids: Sequence[str]) -> list[np.ndarray | None]:
        """Features in float16 `[L, d]` of each waveform, in batches by length; None stays None."""
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


def decoding_threads(processor: TacfnProcessor) -> int:
    """How many threads decode audio. On a CPU one is faster than the encoder, which needs all cores."""
    encoder = processor.audio_encoder
    return 1 if encoder is None or encoder.device.type == "cpu" else min(8, os.cpu_count() or 1)


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
    """Features as they are stored, in float16; a ValueError calls features that do not fit it by `name`."""
    with np.errstate(over="ignore"):
        half = h.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{name} holds {np.abs(h).max():g}, which float16 can't: features must be within 65504.")
    return half
