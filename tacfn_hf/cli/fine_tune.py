"""
Tunes the encoders of a trained model together with its fusion network, on audio and text, and tests the result.

    tacfn fine-tune --model_name_or_path runs/ravdess --corpus ravdess --dataset corpora/ravdess \\
        --group_column group --test_fraction 0.25 --valid_fraction 0.15 --output_dir runs/ravdess-tuned

Give the groups or fractions that the model was trained with. Rows that it was tested on are refused in training. What
else is said of `tacfn train` holds here too.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ..corpora import CORPORA
from ..training.arguments import FineTuningArguments, FineTuningOptions
from .parsing import parse_training
from .train import run_and_publish


@dataclass
class CorpusArguments:
    """What kind of dataset it is."""

    corpus: str | None = field(
        default=None,
        metadata={
            "help": f"The corpus that the dataset is: {', '.join(CORPORA)}. Without it the dataset is what "
            "save_to_disk wrote, Parquet, or on the Hub, with the columns id, audio, text and label."
        },
    )
    corpus_options: list[str] = field(
        default_factory=list, metadata={"help": "Options of the corpus, such as labels=6 group_by=speaker."}
    )


def main(argv: list[str]) -> None:
    """Tunes a model, tests it, writes its card, and uploads it where that is asked for."""
    data_args, tuning_args, args, corpus_args = parse_training(
        argv, __doc__, "tacfn fine-tune", (CorpusArguments,), FineTuningArguments, FineTuningOptions
    )

    from ..corpora import load_corpus, parse_options
    from ..corpora.dataset_opening import open_dataset, unparted
    from ..sharing.model_card import write_card
    from ..training.cross_validation import REPORT, format_report
    from ..training.fine_tuning import fine_tune, tune_folds

    if corpus_args.corpus is not None:
        options = parse_options(corpus_args.corpus, corpus_args.corpus_options)
        dataset = unparted(load_corpus(corpus_args.corpus, data_args.dataset, **options))
    elif corpus_args.corpus_options:
        raise ValueError("corpus_options is given without corpus, whose options they are.")
    else:
        dataset = open_dataset(data_args.dataset)
    if Path(tuning_args.model_name_or_path, REPORT).is_file():
        print(format_report(tune_folds(dataset, data_args, tuning_args, args, after_run=write_card)))
        return
    run_and_publish(
        args, lambda checkpoint: fine_tune(dataset, data_args, tuning_args, args, {"arguments": argv}, checkpoint)
    )
