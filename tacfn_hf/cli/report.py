"""
Writes a page about a run, one HTML file that needs nothing else: figures, pictures, mistakes, and all rows.

    tacfn report runs/ravdess-0 --corpus ravdess --dataset /data/ravdess
    tacfn report runs/ravdess --output ravdess.html

The run is one of tacfn train, fine-tune, evaluate or cross-validate. With its corpus, the page has the texts, the sound
of the mistakes that it lists (20 clips at most), and a look at one utterance. Ids, texts and sound are those of people:
mind who gets the page.
"""

import os
from dataclasses import dataclass, field

from .corpus_rows import CorpusArguments, open_rows
from .parsing import CommandParser


@dataclass
class ReportArguments:
    """Where the corpus is, and what the page has of it."""

    dataset: str | None = field(
        default=None, metadata={"help": "Folder of the corpus, or a dataset with audio and text."}
    )
    output: str | None = field(default=None, metadata={"help": "The page (default: report.html in the run's folder)."})
    utterance: str | None = field(
        default=None, metadata={"help": "Id of the row to look at (default: the surest mistake)."}
    )
    no_audio: bool = field(default=False, metadata={"help": "Leave sound out of the page."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    """Writes the page, and says where it is."""
    parser = CommandParser((ReportArguments, CorpusArguments), prog="tacfn report", description=__doc__)
    parser.add_argument("run", help="What a run left: its output_dir.")
    args, corpus_args, place = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    if args.dataset is None and (corpus_args.corpus is not None or args.utterance is not None):
        parser.error("dataset is not given: it says where the corpus is")

    from datasets import Audio, DatasetDict, concatenate_datasets

    from ..features.rows_to_encode import rows_to_encode
    from ..sharing.report import write_report
    from ..writing import writing_into
    from .predict import load_recognizer

    rows, recognizer = None, None
    if args.dataset is not None:
        opened, columns = open_rows(args.dataset, corpus_args, keep_bad_files=True)
        rows = rows_to_encode(opened, **columns)
        parts = rows.values() if isinstance(rows, DatasetDict) else [rows]
        rows = concatenate_datasets(
            [
                part.select_columns([name for name in ("id", "audio", "text") if name in part.column_names])
                for part in parts
            ]
        )
        if "audio" in rows.column_names and isinstance(rows.features["audio"], Audio):
            rows = rows.cast_column("audio", Audio(decode=False))
        if os.path.isfile(os.path.join(place.run, "processor_config.json")):
            recognizer = load_recognizer(parser, place.run, args.use_cpu)
    with writing_into(os.path.dirname(args.output) if args.output else place.run):
        path = write_report(
            place.run, args.output, rows, recognizer, args.utterance, not args.no_audio, corpus_args.truncation
        )
    print(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB")
