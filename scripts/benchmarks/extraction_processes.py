"""
Extraction by threads against processes: seconds of speech that WavLM base-plus with BERT base encode in a second (real
sizes, seeded random weights), by one process with one thread, by one with all threads, and by a process for each core.

    python scripts/benchmarks/extraction_processes.py

Each turn extracts few and many utterances of 4 s. The difference of their times counts, so that the start does not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from datasets import Dataset
from extraction_memory import EXTRACT, save_encoders
from tqdm.auto import tqdm


SECONDS = 4.0
FEW = 2  # utterances of each process


def seconds_of(folder: Path, count: int, processes: int, threads: int) -> float:
    """Of extracting `count` utterances."""
    rows = {
        "id": [str(i) for i in range(count)],
        "audio": [str(folder / "clip.wav")] * count,
        "text": ["yes no"] * count,
    }
    Dataset.from_dict(rows).to_parquet(folder / "rows.parquet")
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", processes]
        launcher += ["--num_machines", 1, "--mixed_precision", "no", "--dynamo_backend", "no"]
    arguments = ["--dataset", folder / "rows.parquet", "--text_encoder", folder / "text", "--use_cpu", "true"]
    arguments += ["--audio_encoder", folder / "speech", "--shard_size", 2]
    with tempfile.TemporaryDirectory() as features:
        command = [*launcher, EXTRACT, *arguments, "--output_dir", Path(features, "out")]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        start = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, env=environment, capture_output=True)
        return time.perf_counter() - start


def main() -> None:
    """Prints the speeds and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_utterances", type=int, default=64, help="many (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default: %(default)s)")
    parser.add_argument("--output", help="also write the figures to this JSON file")
    args = parser.parse_args()
    cores = os.cpu_count() or 1
    ways = {
        "one process, one thread": (1, 1),
        f"one process, {cores} threads": (1, cores),
        f"{cores} processes, one thread each": (cores, 1),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_encoders(folder, num_hidden_layers=12, intermediate_size=3072, conv_dim=[512] * 7)
        soundfile.write(folder / "clip.wav", 0.1 * np.random.default_rng(0).normal(size=int(16000 * SECONDS)), 16000)
        for _ in tqdm(range(args.repeats), desc="Turns"):
            for way, (processes, threads) in ways.items():
                few, many = (
                    seconds_of(folder, count, processes, threads) for count in (FEW * processes, args.num_utterances)
                )
                speeds[way].append(SECONDS * (args.num_utterances - FEW * processes) / (many - few))
    first = statistics.median(next(iter(speeds.values())))
    for way, found in speeds.items():
        median = statistics.median(found)
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"{way:<34}{median:6.1f} s of speech/s ({spread}), {median / first:.2f} times the first")
    if args.output:
        Path(args.output).write_text(json.dumps(speeds, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
