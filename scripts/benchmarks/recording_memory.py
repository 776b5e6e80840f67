"""
Peak memory and seconds of `tacfn annotate` on a long recording against a short one, each in a process of its own.

    python scripts/benchmarks/recording_memory.py --model runs/ravdess --speech clip.wav

Both recordings are noise in which a clip of speech is heard again and again, every 20 s in the short one and every 20
minutes in the long one: the encoders have the same to do. With --window_seconds 5, the long one has many segments.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from extraction_memory import RUN

from tacfn_hf.model.audio_tacfn import load_audio


RATE = 16000
ANNOTATE = "from tacfn_hf.cli.main import main; main()"


def write_recording(path: Path, clip: np.ndarray, seconds: float, every: float) -> None:
    """A wav of noise with the clip in it, written in pieces."""
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for start in range(0, int(seconds * RATE), int(every * RATE)):
            piece = 1e-3 * generator.normal(size=min(int(every * RATE), int(seconds * RATE) - start))
            piece[RATE : RATE + len(clip)] += clip[: max(0, len(piece) - RATE)]
            file.write(piece.astype(np.float32))


def measure(model: str, recording: Path, *options: str) -> tuple[float, float]:
    """Peak memory in MiB and seconds."""
    command = [sys.executable, "-c", ANNOTATE, "annotate", recording, "--model", model, "--use_cpu"]
    command += ["--output", recording.with_suffix(".csv"), *options]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, *command], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="trained model with its processor")
    parser.add_argument("--speech", required=True, help="a clip of speech")
    parser.add_argument("--minutes", type=float, nargs=2, default=[4, 240], help="of the short and the long recording")
    parser.add_argument("--window_seconds", help="of many segments, in place of the speech that is found")
    args = parser.parse_args()
    options = [] if args.window_seconds is None else ["--window_seconds", args.window_seconds]
    clip = load_audio(args.speech, RATE)
    with tempfile.TemporaryDirectory() as name:
        found = []
        for minutes in args.minutes:
            path = Path(name, f"{minutes:g}.wav")
            write_recording(path, clip, 60 * minutes, 5 * minutes)
            found.append(measure(args.model, path, *options))
    for minutes, (memory, seconds) in zip(args.minutes, found):
        print(f"{minutes:g} minutes: {memory:.0f} MiB, {seconds:.0f} s")
    print(f"ratio of memory {found[1][0] / found[0][0]:.3f}")


if __name__ == "__main__":
    main()
