"""
Leaves one group out after the other, with several seeds, and prints one table.

    tacfn cross-validate --config iemocap --dataset features/iemocap --seeds 0 1 2 --output_dir runs/iemocap
    tacfn cross-validate --dataset features/ravdess --group_column speaker --num_folds 6 --valid_fraction 0.15 \\
        --output_dir runs/ravdess

Its options are those of `tacfn train`, and two more. The same command again goes on with a run that was interrupted,
fold by fold. output_dir gets cross_validation.json, and a folder for each fold and seed as `tacfn train` writes it.
"""

import warnings

from ..training.arguments import CrossValidationArguments
from .parsing import parse_training


def main(argv: list[str]) -> None:
    """Trains and tests on each fold with each seed, and prints the table."""
    arguments = parse_training(argv, __doc__, "tacfn cross-validate", (CrossValidationArguments,))

    from transformers.utils import logging

    from ..sharing.model_card import write_card
    from ..training.cross_validation import cross_validate, format_report

    # What every run would print among the progress: a bar for each checkpoint, and that there is no GPU to pin for.
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message="'pin_memory' argument")
    print(format_report(cross_validate(*arguments, after_run=write_card)))
