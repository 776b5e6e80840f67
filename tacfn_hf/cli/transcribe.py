"""
Writes down what is said in audio files or in the utterances of a corpus, into a table that the corpus `folder` reads.

    tacfn transcribe recordings/ --model openai/whisper-base --output recordings/transcripts.csv
    tacfn transcribe /data/ravdess --corpus ravdess --model openai/whisper-base --output ravdess.csv

The table has id, audio, the text, the language and a confidence: the mean probability of the tokens of the text. Of a
corpus it also has label, speaker, group and split. If the command is interrupted, the same command goes on. What is
longer than 30 s is heard in equal parts, whose edges may be within a word: see also tacfn annotate --transcribe.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .parsing import CommandParser


KEPT = ("audio", "label", "speaker", "group", "split")
SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass
class TranscriptionArguments:
    """The model, what kind of folder it is, and where the table goes."""

    model: str = field(metadata={"help": "Speech recognition model: a folder or a Hub id."})
    output: str = field(metadata={"help": "Table: a file .csv, .jsonl or .parquet."})
    corpus: str | None = field(default=None, metadata={"help": "Name of the corpus in the folder."})
    corpus_options: list[str] = field(
        default_factory=list, metadata={"help": "Options of the corpus, such as group_by=speaker."}
    )
    language: str | None = field(
        default=None, metadata={"help": "What is spoken, for a model of several languages (default: found out)."}
    )
    skip_bad_files: bool = field(
        default=False, metadata={"help": "Leave rows whose audio can't be used without text, and say which."}
    )
    batch_size: int = field(default=8, metadata={"help": "Clips in one forward pass."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    """Writes a table of transcripts."""
    parser = CommandParser((TranscriptionArguments,), prog="tacfn transcribe", description=__doc__)
    parser.add_argument("root", help="Audio file, folder of audio files, or the folder of a corpus.")
    args, place = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    root = place.root
    output = Path(args.output)
    if output.suffix.lower() not in SUFFIXES:
        parser.error(f"output is {args.output}: it must be one of {', '.join(SUFFIXES)}.")
    if args.corpus is None and args.corpus_options:
        parser.error("corpus_options is given without corpus, whose options they are.")

    from ..recordings.folders import recordings_in, transcribe_rows
    from ..recordings.transcription import Transcriber
    from ..writing import writing_into

    if args.corpus is not None:
        rows, count = rows_of_corpus(args.corpus, root, args.corpus_options, args.skip_bad_files)
    else:
        files = recordings_in(root) if os.path.isdir(root) else [Path(root)]
        base = root if os.path.isdir(root) else os.path.dirname(root)
        names = [os.path.relpath(file, base or ".") for file in files]
        rows = iter([{"id": name, "audio": name, "sound": str(file)} for name, file in zip(names, files)])
        count = len(files)
    transcriber = Transcriber(args.model, args.language, "cpu" if args.use_cpu else None, args.batch_size)
    with writing_into(os.path.dirname(args.output)):
        source = " ".join([args.corpus or "", os.path.abspath(root), *args.corpus_options]).strip()
        table = transcribe_rows(transcriber, rows, count, output, args.skip_bad_files, source)
    said = table["text"].notna()
    confidence = f", mean confidence {table['confidence'].mean():.2f}" if said.any() else ""
    print(f"{args.output}: {len(table)} rows, {int(said.sum())} with words{confidence}")


def rows_of_corpus(
    name: str, root: str, options: list[str], skip_bad_files: bool
) -> tuple[Iterator[dict[str, Any]], int]:
    """The rows of all splits of a corpus, with the names of their labels, and how many there are."""
    from datasets import ClassLabel

    from ..corpora import load_corpus, parse_options
    from ..corpora.schema import BadFilesError

    try:
        corpus = load_corpus(name, root, **parse_options(name, options))
    except BadFilesError as error:
        if not skip_bad_files:
            raise
        corpus = error.corpus  # bad files are named when they are heard

    def rows() -> Iterator[dict[str, Any]]:
        for split, part in corpus.items():
            names = part.features["label"].names if isinstance(part.features["label"], ClassLabel) else None
            for row in part:
                label = row["label"] if names is None or row["label"] is None else names[row["label"]]
                kept = {**row, "split": split, "label": label}
                audio = row["audio"]
                kept["audio"] = None if audio is None else audio["path"]
                yield {"id": row["id"], "sound": audio, **{of: kept.get(of) for of in KEPT}}

    return rows(), sum(map(len, corpus.values()))
