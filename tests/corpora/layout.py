"""Small faithful copies of corpora: the official layout with tiny files."""

import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import soundfile


def write_wav(path: Path, seconds: float = 0.1, sampling_rate: int = 16000) -> Path:
    """A wav file of noise, another one for each name; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(path.name.encode())).normal(scale=0.1, size=round(seconds * sampling_rate))
    soundfile.write(path, noise, sampling_rate)
    return path


def write_compressed(path: Path, muxer: str, codec: str, seconds: float = 0.5, **options: str) -> Path:
    """A tone in a format that PyAV writes, whatever the name says; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(np.arange(round(seconds * 16000), dtype=np.float32) / 8)
    with av.open(str(path), "w", format=muxer, options=options) as container:
        stream = container.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for resampled in [*av.AudioResampler(format=stream.format, layout="mono", rate=16000).resample(frame)]:
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return path


def write_text(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """A text file, its ends of lines as given; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Path:
    """A table of strings, of the kind that the suffix says."""
    table = pa.table(list(zip(*rows)) or [[]] * len(head), names=list(head))
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    elif path.suffix == ".jsonl":
        write_text(path, "".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        mark = "," if path.suffix == ".csv" else "\t"
        cells = [[f'"{cell}"' if mark in (cell or "") else cell or "" for cell in row] for row in [head, *rows]]
        write_text(path, "\n".join(mark.join(row) for row in cells))
    return path
