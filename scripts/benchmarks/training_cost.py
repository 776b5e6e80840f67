"""
How long the network trains beside concatenation: seconds of the first fold, timed in turns.

    python scripts/benchmarks/training_cost.py --dataset features/session1 --group_column scenario --num_folds 5 \\
        --valid_fraction 0.15 --valid_group_column dialogue --seeds 0 1 2 --output_dir runs/cost

Options are those of `tacfn cross-validate`. Each seed is a turn. What comes before and after training is not counted.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from fusion_methods import NETWORK, be_quiet, open_folds, train
from tqdm.auto import tqdm

from tacfn_hf.cli.parsing import parse_training
from tacfn_hf.features.splits import split_dataset
from tacfn_hf.training.arguments import CrossValidationArguments


def main() -> None:
    """Prints the seconds and their ratio."""
    be_quiet()
    more = (CrossValidationArguments,)
    data_args, model_args, args, cv_args = parse_training(sys.argv[1:], __doc__, "training_cost.py", more)
    dataset, folds = open_folds(data_args, args, cv_args)
    parts = split_dataset(dataset, replace(data_args, test_groups=next(iter(folds.values()))))
    seconds: dict[str, list[float]] = {NETWORK: [], "concatenation": []}
    for seed in tqdm(cv_args.seeds, desc="Training", unit="turn"):
        for method, found in seconds.items():
            folder = Path(args.output_dir, "checkpoints")
            of_run = replace(args, output_dir=str(folder), seed=seed)
            about = train(method, parts, (data_args, model_args, of_run), measured=False)[2]
            found.append(about["training_seconds"])
            shutil.rmtree(folder, ignore_errors=True)
    for method, found in seconds.items():
        print(f"{method}: {', '.join(f'{value:.3g}' for value in found)} s")
    network, other = (np.sum(found) for found in seconds.values())
    print(f"{NETWORK} takes {network / other:.2f} times as long as concatenation.")


if __name__ == "__main__":
    main()
