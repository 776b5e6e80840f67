"""
Leaves one group out after the other, with several seeds, and prints one table.

    python scripts/cross_validate.py --dataset features/iemocap --group_column session --seeds 0 1 2 \
        --valid_fraction 0.15 --valid_group_column dialogue --output_dir runs/iemocap
    python scripts/cross_validate.py recipe.json --dataset features/ravdess --group_column speaker --num_folds 6 ...

Arguments are those of train.py, configs/default.json among them, and two more. A run that was interrupted goes on, fold
by fold, when the same command is given again. output_dir gets `cross_validation.json`, and a folder for each fold and
seed as train.py writes it.
"""

import os
import sys
import warnings


# This folder comes first on the path of a script, and its evaluate.py would hide the evaluate library.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.realpath(__file__))]

from transformers.utils import logging

from tacfn_hf.cli.shared import parse_arguments, run_command, with_recipe
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.sharing.model_card import write_card
from tacfn_hf.training.arguments import CrossValidationArguments, ModelArguments
from tacfn_hf.training.cross_validation import cross_validate, format_report
from tacfn_hf.training.training_arguments import TacfnTrainingArguments


RECIPE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "configs", "default.json")


def main(argv: list[str]) -> None:
    # What every run would print among the progress: a bar for each checkpoint, and that there is no GPU to pin for.
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message="'pin_memory' argument")
    classes = (DataArguments, ModelArguments, TacfnTrainingArguments, CrossValidationArguments)
    arguments = parse_arguments(classes, with_recipe(argv, RECIPE), __doc__)
    print(format_report(cross_validate(*arguments, after_run=write_card)))


if __name__ == "__main__":
    run_command(main)
