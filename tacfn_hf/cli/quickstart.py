"""
The whole way in about a minute, offline: a corpus, features, training, evaluation, a checkpoint, a prediction.

    tacfn quickstart --output_dir quickstart

The corpus is synthetic, and the encoders are small ones with random weights. The figures say that the parts work
together, and whether the gate finds the modality that carries the emotion. They say nothing about real speech.
"""

from pathlib import Path

from .parsing import CommandParser


def main(argv: list[str]) -> None:
    """Goes the whole way in a folder."""
    parser = CommandParser(prog="tacfn quickstart", description=__doc__)
    parser.add_argument("--output_dir", type=Path, default=Path("quickstart"), help="A new or empty folder.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the corpus, the encoders and the training.")
    args = parser.parse_args(argv)

    import datasets
    from transformers import logging

    from ..writing import writing_into
    from .quickstart_steps import go_all_the_way

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    with writing_into(args.output_dir):
        go_all_the_way(args.output_dir, args.seed)
