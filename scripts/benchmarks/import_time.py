"""
What importing the package costs, against importing the classes of transformers that it can't do without.

    python scripts/benchmarks/import_time.py

Each import is timed in fresh processes, in turn, after one round that is not counted.
"""

import argparse
import statistics
import subprocess
import sys


IMPORTS = {
    "transformers": "from transformers import Pipeline, PreTrainedModel, ProcessorMixin, Trainer",
    "tacfn_hf": "import tacfn_hf",
    "its public names": (
        "from tacfn_hf import EmotionRecognitionPipeline, TacfnDataCollator, TacfnForSequenceClassification, "
        "TacfnProcessor"
    ),
}
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds(statement: str) -> float:
    """What the statement takes in a Python that has imported nothing else."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="Rounds that count.")
    args = parser.parse_args()
    rounds = [{name: seconds(IMPORTS[name]) for name in IMPORTS} for _ in range(args.repeats + 1)][1:]
    print(f"Median of {args.repeats}, and the ratio to transformers in the same round:")
    for name in IMPORTS:
        ratio = statistics.median(row[name] / row["transformers"] for row in rounds)
        print(f"  {name:<17} {statistics.median(row[name] for row in rounds):5.2f} s {ratio:5.2f}")


if __name__ == "__main__":
    main()
