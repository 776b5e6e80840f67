"""
How much of the network's calibration error is chance: ECE of small test parts is not 0 for perfect probabilities.

    python scripts/benchmarks/calibration_floor.py runs/methods-iemocap runs/methods-session1

Each folder was made by fusion_methods.py. All columns are means over folds and seeds: the number of test rows, ECE, the
ECE that remains where labels are drawn from the scores themselves, and the ECE with the temperature that fits the test
rows best.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from fusion_methods import NETWORK
from tqdm.auto import tqdm

from tacfn_hf.evaluation.calibration import class_scores, expected_calibration_error, fit_temperature
from tacfn_hf.evaluation.predictions import read_predictions, score_column
from tacfn_hf.evaluation.record import RunRecord


def expected_by_chance(scores: np.ndarray, num_draws: int, seed: int) -> float:
    """The mean ECE of `scores [N, C]` over labels that are drawn from them."""
    generator = np.random.default_rng(seed)
    ends = scores.cumsum(axis=1) / scores.sum(axis=1, keepdims=True)
    drawn = (generator.random((num_draws, len(scores), 1)) >= ends).sum(axis=2)
    return float(np.mean([expected_calibration_error(scores, labels) for labels in drawn]))


def of_run(folder: Path, num_draws: int, seed: int) -> dict[str, float]:
    """The columns of one fold and seed."""
    names = RunRecord.read(folder).label_names
    table = read_predictions(folder)
    scores = table[[score_column(name) for name in names]].to_numpy(dtype=np.float64)
    labels = table["label"].map(names.index).to_numpy()
    log_scores = np.log(scores.clip(min=1e-30))  # logits up to a constant of each row, which softmax does not see
    best = class_scores(log_scores, fit_temperature(log_scores, labels))
    return {
        "rows": len(table),
        "ECE": 100 * expected_calibration_error(scores, labels),
        "by chance": 100 * expected_by_chance(scores, num_draws, seed),
        "best temperature": 100 * expected_calibration_error(best, labels),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="Folders of fusion_methods.py.")
    parser.add_argument("--num_draws", type=int, default=100, help="How often labels are drawn.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draws.")
    args = parser.parse_args()
    rows = {}
    for folder in tqdm(args.folders, desc="Calibration", unit="folder"):
        runs = sorted((folder / NETWORK).glob("fold-*/seed-*"))
        if not runs:
            parser.error(f"{folder} has no runs of the network: it must be an output_dir of fusion_methods.py.")
        rows[str(folder)] = pd.DataFrame([of_run(run, args.num_draws, args.seed) for run in runs]).mean()
    print(pd.DataFrame(rows).T.to_string(float_format="{:.1f}".format))


if __name__ == "__main__":
    main()
