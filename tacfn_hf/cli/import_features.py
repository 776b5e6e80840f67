"""
Turns features that exist already, and their table of utterances, into a dataset for `tacfn train`.

    tacfn import --table utterances.csv --audio opensmile/ --text bert.npz:tokens --text_offsets bert.npz:offsets \\
        --label_column emotion --output_dir features/mine
"""

from dataclasses import asdict, dataclass, field

from .parsing import parse_arguments


@dataclass
class ImportArguments:
    """The table, its features, and where the dataset goes."""

    table: str = field(metadata={"help": "Table with one row per utterance: .parquet, .csv, .tsv or .jsonl."})
    output_dir: str = field(metadata={"help": "New or empty folder for the dataset."})
    audio: str | None = field(
        default=None,
        metadata={
            "help": "Audio features: FILE or FILE:KEY (.safetensors, .npy, .npz) in the order of the table, "
            "[N, d] or [N, L, d], or with offsets [T, d]; or FOLDER with <id>.npy, .npz or .safetensors, "
            "each [d] or [L, d]."
        },
    )
    text: str | None = field(default=None, metadata={"help": "Text features, given like the audio features."})
    audio_offsets: str | None = field(
        default=None,
        metadata={"help": "FILE:KEY of [N + 1]: utterance i is rows offsets[i] to offsets[i + 1] of [T, d]."},
    )
    audio_lengths: str | None = field(
        default=None, metadata={"help": "FILE:KEY of [N]: the valid length of each utterance in [N, L, d]."}
    )
    text_offsets: str | None = field(default=None, metadata={"help": "Like audio_offsets, for text."})
    text_lengths: str | None = field(default=None, metadata={"help": "Like audio_lengths, for text."})
    label_column: str = field(default="label", metadata={"help": "Column of the table that holds the class names."})
    label_names: list[str] | None = field(
        default=None,
        metadata={"help": "Classes in the order of their indices; without it the column's values, sorted."},
    )
    id_columns: list[str] = field(
        default_factory=lambda: ["id"], metadata={"help": "Columns that make the id, joined with '_'."}
    )
    exclude: list[str] = field(
        default_factory=list,
        metadata={"help": "Rows that have no features: 'column=value,column=value', one or several such conditions."},
    )
    allow_missing: bool = field(
        default=False,
        metadata={"help": "Take an utterance without a file, or of length 0, as a missing modality."},
    )
    drop_unlabelled: bool = field(default=False, metadata={"help": "Leave out rows whose label is empty."})
    fold_case: bool = field(default=False, metadata={"help": "Make labels and label_names lower case."})
    encoding: str | None = field(
        default=None,
        metadata={"help": "Encoding of a table in .csv, .tsv or .jsonl, such as cp1252 or utf-16 (default: UTF-8)."},
    )
    separator: str | None = field(
        default=None,
        metadata={"help": r"What is between cells, such as ';' or '\t'; without it a comma in .csv, a tab in .tsv."},
    )


def main(argv: list[str]) -> None:
    """Makes a dataset of features that exist."""
    (args,) = parse_arguments((ImportArguments,), argv, __doc__, "tacfn import")

    from ..features.importing import import_features
    from ..writing import writing_into

    given = {name: value for name, value in asdict(args).items() if value is not None}
    with writing_into(args.output_dir):
        dataset = import_features(**given)
    print(dataset.info.description)
