"""Rows of audio and text for a command, from a corpus or from a dataset with columns of any names."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from ..corpora import CORPORA


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass
class CorpusArguments:
    """What kind of dataset it is, what its columns are called, and what to do with rows that can't be used."""

    corpus: str | None = field(
        default=None,
        metadata={
            "help": f"Name of the corpus in --dataset: {', '.join(CORPORA)}. Without it the dataset is what "
            "save_to_disk wrote, Parquet, or on the Hub."
        },
    )
    corpus_options: list[str] = field(
        default_factory=list, metadata={"help": "Options of the corpus, such as labels=6 group_by=speaker."}
    )
    audio_column: str | None = field(
        default=None, metadata={"help": "Column with the audio (default: audio, if it exists)."}
    )
    text_column: str | None = field(
        default=None, metadata={"help": "Column with the text (default: text, if it exists)."}
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column with the classes (default: label, if it exists)."}
    )
    speaker_column: str | None = field(
        default=None, metadata={"help": "Column with the speaker. It is renamed to speaker."}
    )
    id_column: str | None = field(
        default=None, metadata={"help": "Column with a unique id for each row (default: id; a corpus has ids)."}
    )
    skip_bad_files: bool = field(
        default=False, metadata={"help": "Leave out rows whose audio can't be used, and say which."}
    )
    truncation: bool = field(
        default=False, metadata={"help": "Cut audio and text that is too long. Without this it is an error."}
    )


COLUMNS = [of.name for of in fields(CorpusArguments) if of.name.endswith("_column")]


def open_rows(
    dataset: str, args: CorpusArguments, keep_bad_files: bool = False
) -> tuple["Dataset | DatasetDict", dict[str, str]]:
    """
    The rows, and the columns that `rows_to_encode` is to rename.

    Args:
        keep_bad_files: with `skip_bad_files`, rows of a corpus whose audio can't be used stay, for whoever lists them.

    Raises:
        ValueError: what the corpus refuses, or options of a corpus that is not named.
    """
    from ..corpora import load_corpus, parse_options
    from ..corpora.dataset_opening import named_parts, open_dataset, unparted
    from ..corpora.schema import BadFilesError

    columns = {name: getattr(args, name) for name in COLUMNS if getattr(args, name) is not None}
    if args.corpus is None:
        if args.corpus_options:
            raise ValueError("corpus_options is given without corpus, whose options they are.")
        return open_dataset(dataset), columns
    options = parse_options(args.corpus, args.corpus_options) | columns
    args.skip_bad_files |= options.pop("skip_bad_files", False)
    try:
        rows = load_corpus(args.corpus, dataset, **options)
    except BadFilesError as error:
        if not args.skip_bad_files:
            raise
        rows = error.corpus if keep_bad_files else error.without_bad_files()
    rows = unparted(rows)
    print(next(iter(named_parts(rows).values())).info.description)
    return rows, {}
