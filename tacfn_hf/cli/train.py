"""
Trains the fusion network on features, and tests it on the validation and test parts.

    tacfn train --dataset features/iemocap --group_column session --test_groups 4 --valid_fraction 0.15 \\
        --valid_group_column dialogue --output_dir runs/iemocap-4
    tacfn train --config iemocap --dataset features/iemocap --test_groups 4 --output_dir runs/iemocap-4
    accelerate launch --multi_gpu --num_processes 2 scripts/train.py --config my.json

Every option of transformers' `TrainingArguments` works too (--seed, --bf16, --push_to_hub, ...), or is refused by name.
`--help_all` lists them. `--resume_from_checkpoint true` goes on from the last checkpoint in output_dir. output_dir gets
the model, the processor that made the features, metrics.json, predictions.parquet and the model card.
"""

import os
from collections.abc import Callable
from typing import Any

from .parsing import parse_training


def main(argv: list[str]) -> None:
    """Trains a model, tests it, writes its card, and uploads it where that is asked for."""
    data_args, model_args, args = parse_training(argv, __doc__, "tacfn train")

    from ..training.run import run_training

    run_and_publish(args, lambda checkpoint: run_training(data_args, model_args, args, {"arguments": argv}, checkpoint))


def run_and_publish(args: Any, run: Callable[[str | None], dict[str, dict[str, Any]]]) -> None:
    """
    What all trainings do around their run: they find the checkpoint to go on from, write the card of what it left,
    upload that where it is asked for, and print its figures.

    Args:
        args: the `TacfnTrainingArguments`.
        run: takes the folder of the checkpoint to go on from, or None, and returns metrics by part.

    Raises:
        ValueError: `output_dir` holds another run, or no checkpoint to go on from.
    """
    from accelerate import PartialState
    from transformers.trainer_utils import get_last_checkpoint

    from ..evaluation.metrics import format_table
    from ..sharing.hub import push_checkpoint
    from ..sharing.model_card import write_card
    from ..training.run import check_output_dir, check_shared_folder
    from ..writing import writing_into

    check_output_dir(args)
    check_shared_folder(args)
    checkpoint = args.resume_from_checkpoint
    if checkpoint is not None and checkpoint.lower() == "true":
        checkpoint = get_last_checkpoint(args.output_dir) if os.path.isdir(args.output_dir) else None
        if checkpoint is None:
            raise ValueError(f"resume_from_checkpoint is true, but output_dir {args.output_dir} holds no checkpoint.")
    with writing_into(args.output_dir):
        metrics = run(checkpoint)
        if PartialState().is_main_process:
            write_card(args.output_dir, repo_id=args.hub_model_id)
            if args.push_to_hub:
                repo_id = args.hub_model_id or os.path.basename(args.output_dir)
                push_checkpoint(args.output_dir, repo_id, private=args.hub_private_repo, token=args.hub_token)
    if PartialState().is_main_process:
        for name, result in metrics.items():
            print(f"\n{name}: {result['rows']} rows\n{format_table(result)}")
