"""
Trains the fusion network on features, and evaluates it on the validation and test parts.

    python scripts/train.py --dataset features/iemocap --group_column session --test_groups 4 \
        --valid_fraction 0.15 --valid_group_column dialogue --output_dir runs/iemocap-4
    python scripts/train.py recipe.json --learning_rate 3e-4
    accelerate launch --multi_gpu --num_processes 2 scripts/train.py recipe.json

A JSON file of arguments comes first, configs/default.json, the recipe, where there is none; flags after it override
it. The defaults that are listed here hold for what neither says; all of them are the plain network's. Every flag of
`TrainingArguments` works, or is refused by name (docs/training.md). `--resume_from_checkpoint true` goes on from the
last checkpoint in output_dir. output_dir gets the model, the processor that made the features, `metrics.json` and
`predictions.parquet`.
"""

import os
import sys


# This folder comes first on the path of a script, and its evaluate.py would hide the evaluate library.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.realpath(__file__))]

from accelerate import PartialState
from transformers.trainer_utils import get_last_checkpoint

from tacfn_hf.cli.shared import parse_arguments, run_command, with_recipe
from tacfn_hf.evaluation.metrics import format_table
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.sharing.hub import push_checkpoint
from tacfn_hf.sharing.model_card import write_card
from tacfn_hf.training.arguments import ModelArguments
from tacfn_hf.training.run import check_output_dir, run_training
from tacfn_hf.training.training_arguments import TacfnTrainingArguments
from tacfn_hf.writing import writing_into


RECIPE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "configs", "default.json")


def main(argv: list[str]) -> None:
    classes = (DataArguments, ModelArguments, TacfnTrainingArguments)
    data_args, model_args, args = parse_arguments(classes, with_recipe(argv, RECIPE), __doc__)
    check_output_dir(args)
    checkpoint = args.resume_from_checkpoint
    if checkpoint is not None and checkpoint.lower() == "true":
        checkpoint = get_last_checkpoint(args.output_dir) if os.path.isdir(args.output_dir) else None
        if checkpoint is None:
            raise ValueError(f"resume_from_checkpoint is true, but output_dir {args.output_dir} holds no checkpoint.")
    with writing_into(args.output_dir):
        metrics = run_training(data_args, model_args, args, {"arguments": argv}, checkpoint)
        if PartialState().is_main_process:
            write_card(args.output_dir, repo_id=args.hub_model_id)
            if args.push_to_hub:
                repo_id = args.hub_model_id or os.path.basename(args.output_dir)
                push_checkpoint(args.output_dir, repo_id, private=args.hub_private_repo, token=args.hub_token)
    if PartialState().is_main_process:
        for name, result in metrics.items():
            print(f"\n{name}: {sum(row['support'] for row in result['per_class'])} rows\n{format_table(result)}")


if __name__ == "__main__":
    run_command(main)
