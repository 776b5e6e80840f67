"""The arguments that name a dataset of features and its train, validation and test parts."""

from dataclasses import dataclass, field


@dataclass
class DataArguments:
    """Which features to use, and what they are trained, validated and tested on."""

    dataset: str = field(
        metadata={
            "help": "Features: a folder of tacfn extract, tacfn import or save_to_disk, a Parquet file, a pattern or "
            "folder of them, or a dataset id on the Hub. Columns: id, label (ClassLabel), h_a and/or h_t."
        }
    )
    split_column: str | None = field(
        default=None,
        metadata={"help": "Column that says train, validation (or valid, val, dev) or test for each row."},
    )
    group_column: str | None = field(
        default=None,
        metadata={"help": "Column with the group of each row, such as its speaker. A group is never split."},
    )
    test_groups: list[str] | None = field(
        default=None, metadata={"help": "Values of group_column that are the test part."}
    )
    valid_groups: list[str] | None = field(
        default=None, metadata={"help": "Values of group_column that are the validation part."}
    )
    test_fraction: float | None = field(
        default=None, metadata={"help": "Share of the groups, drawn with split_seed, that is the test part."}
    )
    valid_fraction: float | None = field(
        default=None,
        metadata={"help": "Share of the remaining groups, drawn with split_seed, that is the validation part."},
    )
    valid_group_column: str | None = field(
        default=None,
        metadata={"help": "Column whose groups valid_fraction draws from, where it is not group_column."},
    )
    split_seed: int = field(default=0, metadata={"help": "Seed of the draws. It does not depend on the training seed."})
    target: str = field(
        default="label",
        metadata={
            "help": "What is learned: label, one class; votes, the shares of the annotators' votes (the validation and "
            "test parts are judged by label); labels, several at once; avd, which is arousal,valence,dominance; or "
            "other columns of numbers, with commas between their names."
        },
    )
    target_range: list[float] | None = field(
        default=None,
        metadata={"help": "Lowest and highest value of the scale of the values that are learned, such as 1 5."},
    )
    allow_tuned_rows: bool = field(
        default=False,
        metadata={
            "help": "Take rows that an encoder of the features was tuned on into the training part. In the validation "
            "and test parts they are always refused."
        },
    )
    drop_unlabelled: bool = field(
        default=False, metadata={"help": "Leave out rows without the target, and say how many, instead of stopping."}
    )


@dataclass
class RawDataArguments(DataArguments):
    """The same of a dataset of audio and text."""

    dataset: str = field(
        metadata={
            "help": "Audio and text: with corpus, the folder that the corpus was delivered as; else a folder of "
            "save_to_disk, a Parquet file, a pattern or folder of them, or a dataset id on the Hub."
        }
    )
