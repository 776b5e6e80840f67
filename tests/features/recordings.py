"""A small dataset of audio and text, and its extraction in a process of its own, which a test may kill or limit."""

import io
import multiprocessing
import os
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from accelerate import PartialState
from datasets import Dataset, load_from_disk

from tacfn_hf import TacfnProcessor
from tacfn_hf.features import extraction


SENTENCES = ["Kids are talking by the door.", "No.", "Dogs are sitting by the door, and nobody minds."]
# Its server imports torch and transformers once, and each process is a copy of it.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tacfn_hf.features.extraction"])


def waveform(i: int) -> np.ndarray:
    """0.2 to 0.6 s of noise at 16 kHz, another for each i."""
    generator = np.random.default_rng(i)
    return 0.1 * generator.normal(size=generator.integers(3200, 9600)).astype(np.float32)


def flac(i: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform(i), 16000, format="FLAC")
    return file.getvalue()


def make(rows: int = 10, **columns) -> Dataset:
    """Rows with embedded audio; the second lacks audio, the third text."""
    data = {
        "id": [f"u{i}" for i in range(rows)],
        "audio": [None if i == 1 else {"bytes": flac(i), "path": f"u{i}.flac"} for i in range(rows)],
        "text": [None if i == 2 else SENTENCES[i % 3] for i in range(rows)],
        "label": [("sad", "angry")[i % 2] for i in range(rows)],
        "speaker": [f"s{i % 4}" for i in range(rows)],
    }
    return Dataset.from_dict({**data, **columns})


def shards(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each shard's time of change and content."""
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.glob("shard-*.arrow"))}


def remade(before: dict, after: dict) -> list[str]:
    return [name for name in after if before.get(name, (0,))[0] != after[name][0]]


class ExtractingProcess:
    """Extracts `folder`/corpus with `folder`/processor, four rows a shard, in a process of its own."""

    def __init__(self, folder: Path, output_dir: Path, file_limit: int | None = None, **environment: str):
        """
        Args:
            file_limit: how many bytes a file may have in it: beyond that, writing fails as on a full disk.
            environment: variables, such as the RANK of one of several processes.
        """
        self.answer, sender = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=extract, args=(sender, folder, output_dir, file_limit, environment))
        self.process.start()
        sender.close()

    def result(self) -> dict[str, Any]:
        """The shards that it `made`, whether it saw all of them `complete`, and its `error`."""
        found = self.answer.recv()
        self.process.join()
        return found


def extract(
    connection: Connection, folder: Path, output_dir: Path, file_limit: int | None, environment: dict[str, str]
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)  # the same everywhere, since the number decides how sums are rounded
    if environment:
        PartialState(cpu=True)
    made, write_shard = [], extraction.write_shard
    extraction.write_shard = lambda path, *rest: (write_shard(path, *rest), made.append(path.name))
    dataset, processor = load_from_disk(folder / "corpus"), TacfnProcessor.from_pretrained(folder / "processor")
    if file_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
    found: dict[str, Any] = {"made": made, "complete": False, "error": None}
    try:
        found["complete"] = extraction.extract_features(dataset, processor, output_dir, shard_size=4) is not None
    except OSError as error:
        found["error"] = str(error)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    connection.send(found)
