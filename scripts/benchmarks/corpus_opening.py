"""
How long it takes to open IEMOCAP's layout, 10,039 utterances, against merely reading the headers of the same files.

    python scripts/benchmarks/corpus_opening.py [--repeats 5]

Files of 0.1 s are made in a temporary folder; the two are timed alternately.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import soundfile

from tacfn_hf.corpora import load_corpus


DIALOGUES, UTTERANCES = 151, 10039


def make(root: Path) -> list[Path]:
    paths = []
    sizes = [UTTERANCES // DIALOGUES + (i < UTTERANCES % DIALOGUES) for i in range(DIALOGUES)]
    for i, size in enumerate(sizes):
        session = root / f"Session{i % 5 + 1}"
        dialogue = f"Ses{i % 5 + 1:02d}F_impro{i // 5:02d}"
        evaluation, transcription = [], []
        for k in range(size):
            id_ = f"{dialogue}_{'FM'[k % 2]}{k:03d}"
            evaluation.append(f"[{k}.0000 - {k}.5000]\t{id_}\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n")
            transcription.append(f"{id_} [{k:03d}.0000-{k:03d}.5000]: I see.")
            path = session / "sentences" / "wav" / dialogue / f"{id_}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(1600), 16000)
            paths.append(path)
        for folder, lines in (("EmoEvaluation", evaluation), ("transcriptions", transcription)):
            path = session / "dialog" / folder / f"{dialogue}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines), encoding="utf-8")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # the counts of classes are not the published ones
    seconds: dict[str, list[float]] = {"load_corpus": [], "headers": []}
    with tempfile.TemporaryDirectory() as folder:
        paths = make(Path(folder))
        for _ in range(args.repeats):
            start = time.perf_counter()
            corpus = load_corpus("iemocap", folder, labels="all")
            seconds["load_corpus"].append(time.perf_counter() - start)
            start = time.perf_counter()
            for path in paths:
                soundfile.info(path)
            seconds["headers"].append(time.perf_counter() - start)
    ratio = statistics.median(a / b for a, b in zip(seconds["load_corpus"], seconds["headers"], strict=True))
    print(f"{len(corpus['train'])} utterances, median of {args.repeats}:")
    for name, values in seconds.items():
        print(f"  {name:<12} {statistics.median(values):.2f} s")
    print(f"  ratio        {ratio:.2f}")


if __name__ == "__main__":
    main()
