"""
Tunes the encoders of a trained model together with its fusion network, on audio and text, and tests the result.

    tacfn fine-tune --model_name_or_path runs/ravdess --corpus ravdess --dataset corpora/ravdess \\
        --group_column group --test_fraction 0.25 --valid_fraction 0.15 --output_dir runs/ravdess-tuned
    accelerate launch --multi_gpu --num_processes 8 scripts/fine_tune.py --config fine-tune ...

Give the groups or fractions that the model was trained with, so that no row that it was trained on is tested. Every
option of transformers' `TrainingArguments` works too (--seed, --bf16, --gradient_checkpointing, ...), or is refused by
name. `--help_all` lists them. `--resume_from_checkpoint true` goes on from the last checkpoint in output_dir.
"""

from pathlib import Path
from typing import Any

from ..features.arguments import RawDataArguments
from ..training.arguments import FineTuningArguments, FineTuningOptions
from .corpus_rows import CorpusArguments, open_rows
from .parsing import parse_training
from .train import run_and_publish


def main(argv: list[str]) -> None:
    """Tunes a model, tests it, writes its card, and uploads it where that is asked for."""
    data_args, tuning_args, args, corpus_args = parse_training(
        argv, __doc__, "tacfn fine-tune", (CorpusArguments,), FineTuningArguments, FineTuningOptions, RawDataArguments
    )

    from ..features.rows_to_encode import rows_to_encode
    from ..sharing.model_card import write_card
    from ..training.cross_validation import REPORT, format_report
    from ..training.fine_tuning import fine_tune, tune_folds

    rows, columns = open_rows(data_args.dataset, corpus_args)
    dataset = rows_to_encode(rows, **columns)
    reading = {"skip_bad_files": corpus_args.skip_bad_files, "truncation": corpus_args.truncation}
    if Path(tuning_args.model_name_or_path, REPORT).is_file():
        print(format_report(tune_folds(dataset, data_args, tuning_args, args, after_run=write_card, **reading)))
        return

    def run(checkpoint: str | None) -> dict[str, dict[str, Any]]:
        return fine_tune(dataset, data_args, tuning_args, args, {"arguments": argv}, checkpoint, **reading)

    run_and_publish(args, run)
