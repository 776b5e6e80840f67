"""A folder with a table of utterances and its features in several forms of files."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from feature_files import IDS, LENGTHS, table, utterances
from safetensors.numpy import save_file


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "audio": generator.normal(size=(sum(LENGTHS), 4)).astype("float32"),
        "offsets": np.cumsum([0, *LENGTHS]),
        "text": generator.normal(size=(5, 6)).astype("float16"),
        "padded": generator.normal(size=(5, 7, 3)).astype("float64"),
        "lengths": np.array(LENGTHS, dtype="int32"),
    }


@pytest.fixture
def folder(tmp_path, arrays, monkeypatch) -> Path:
    """The working folder of a test, with a table and its features in several forms."""
    monkeypatch.chdir(tmp_path)
    save_file(arrays, "f.safetensors")
    pq.write_table(table(), "t.parquet")
    for name in ("audio", "text", "padded"):
        np.save(f"{name}.npy", arrays[name])
    np.savez("f.npz", **arrays)
    os.mkdir("files")
    for id_, values in zip(IDS, utterances(arrays), strict=True):
        np.save(f"files/{id_}.npy", values)
    return tmp_path
