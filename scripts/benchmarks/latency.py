"""
How long an answer takes, from a wav file and a sentence: of one utterance (p50, p95), from a cold start of the command,
and utterances a second of the pipeline in batches of 1, 8 and 32.

    python scripts/benchmarks/latency.py --model runs/my-model

Utterances are noise of 4 s, and 4 s to 6 s for throughput. Batches take turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm.auto import tqdm
from transformers import pipeline

import tacfn_hf  # noqa: F401 (registers the pipeline)


TEXT = "and then we went home again"
RATE = 16_000
BATCHES = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model with its processor")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=50, help="questions of one utterance")
    parser.add_argument("--starts", type=int, default=5, help="cold starts")
    parser.add_argument("--clips", type=int, default=64, help="utterances of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    recognizer = pipeline("multimodal-emotion-recognition", model=args.model, device=args.device)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as made:
        clips = []
        for i, seconds in enumerate([4.0, *random.uniform(4, 6, args.clips)]):
            path = Path(made) / f"{i}.wav"
            soundfile.write(path, random.normal(scale=0.1, size=round(seconds * RATE)), RATE)
            clips.append({"audio": str(path), "text": TEXT})
        one, *clips = clips
        recognizer(one)
        times = []
        for _ in tqdm(range(args.repeats), desc="one utterance"):
            start = time.perf_counter()
            recognizer(one)
            times.append(time.perf_counter() - start)
        command = [sys.executable, "-c", "from tacfn_hf.cli.main import main; main()", "predict", "--model", args.model]
        command += ["--audio", one["audio"], "--text", TEXT, *(["--use_cpu"] if args.device == "cpu" else [])]
        cold = []
        for _ in tqdm(range(args.starts), desc="cold starts"):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            cold.append(time.perf_counter() - start)
        taken: dict[int, list[float]] = {size: [] for size in BATCHES}
        for _ in tqdm(range(args.turns), desc="batches"):
            for size, found in taken.items():
                start = time.perf_counter()
                recognizer(clips, batch_size=size)
                found.append(time.perf_counter() - start)
    figures = {
        "threads": torch.get_num_threads(),
        "p50_ms": 1e3 * float(np.quantile(times, 0.5)),
        "p95_ms": 1e3 * float(np.quantile(times, 0.95)),
        "cold_start_s": statistics.median(cold),
        "utterances_per_second": {size: args.clips / statistics.median(found) for size, found in taken.items()},
        "times_as_fast_as_1": {
            size: statistics.median(a / b for a, b in zip(taken[1], found)) for size, found in taken.items()
        },
    }
    print(json.dumps(figures, indent=2))
    if args.output:
        args.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
