"""The train, validation and test parts of a dataset of features."""

from dataclasses import replace

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from sklearn.model_selection import GroupShuffleSplit
from transformers.utils import logging

from ..corpora.dataset_opening import named_parts, open_dataset
from ..corpora.schema import SPLITS
from ..model.modalities_tacfn import MODALITIES
from .arguments import DataArguments
from .shapes import rows_with
from .targets import VALUES, check_columns, check_range, labelled_rows, problem_type_for, target_names
from .tuned_rows import check_tuned_rows
from .votes import COLUMN as VOTES
from .votes import is_voted


logger = logging.get_logger(__name__)


# The parts by what people call them.
PARTS = {name: "valid" if split == "validation" else split for name, split in SPLITS.items()}


def open_part(data_args: DataArguments, name: str) -> Dataset:
    """
    Opens a dataset of features and gives one part of it: "train", "valid", "test", or "all" its rows.

    Raises:
        ValueError: there is no such part, and what `open_dataset` and `split_dataset` refuse.
    """
    tested = "label" if data_args.target == "votes" else data_args.target
    parts = split_dataset(open_dataset(data_args.dataset), replace(data_args, allow_tuned_rows=True, target=tested))
    if name in ("train", "all"):
        check_tuned_rows({"train": parts["train"]} if "train" in parts else {}, data_args.allow_tuned_rows)
    if name == "all":
        return concatenate_datasets(list(parts.values()))
    if name not in parts:
        raise ValueError(f"The dataset {data_args.dataset} has no part {name!r}: it has {', '.join(parts)}.")
    return parts[name]


def groups_of(dataset: Dataset, column: str, argument: str) -> np.ndarray:
    """
    The values of a column of groups as strings `[N]`; `argument` is the option that names the column, for errors.

    Raises:
        ValueError: the column is not there, or a value is null.
    """
    if column not in dataset.column_names:
        raise ValueError(
            f"{argument} is {column!r}, but the dataset has no such column; it has {', '.join(dataset.column_names)}."
        )
    values = dataset.with_format(None)[column][:]
    if None in values:
        raise ValueError(f"{argument} {column!r} is null in row {values.index(None)}: every row needs a value.")
    return np.array([str(value) for value in values], dtype=object)


def split_dataset(
    dataset: Dataset | DatasetDict, data_args: DataArguments, with_features: bool = True
) -> dict[str, Dataset]:
    """
    Divides a dataset into what is trained, validated and tested on, and checks its rows.

    The parts come from the splits of a `DatasetDict` or from `split_column`; a test or validation part that is not
    given there is taken out of the training part by named groups or by a fraction of the groups.

    Args:
        with_features: False for rows of audio and text, which stay as they are. The parts are those that their features
            are divided into.

    Returns:
        `Dataset`s under "train", "valid" and "test", those that there are, giving numpy rows of features.

    Raises:
        ValueError: a column, split or group that is not there, arguments that exclude each other, an empty part, a
            group on both sides of a split, a row without a valid label or value, without features, or with the id of
            another, or what `check_tuned_rows` refuses.
    """
    check_range(data_args.target, data_args.target_range)
    named = named_parts(dataset)
    if data_args.drop_unlabelled and data_args.target != "votes":
        named = {name: without_unlabelled(part, name, data_args.target) for name, part in named.items()}
    parts = given_parts(named, data_args.split_column)
    for name, groups, fraction, column_argument in (
        ("test", data_args.test_groups, data_args.test_fraction, "group_column"),
        (
            "valid",
            data_args.valid_groups,
            data_args.valid_fraction,
            "group_column" if data_args.valid_group_column is None else "valid_group_column",
        ),
    ):
        if groups is None and fraction is None:
            continue
        if groups is not None and fraction is not None:
            raise ValueError(f"{name}_groups and {name}_fraction are both given: use one of them.")
        if name in parts:
            argument = f"{name}_groups" if fraction is None else f"{name}_fraction"
            raise ValueError(f"{argument} is given, but the dataset already has a {name} part: leave one of them out.")
        if "train" not in parts:
            raise ValueError(f"The dataset has no training part to take a {name} part from.")
        if groups is not None:
            column_argument = "group_column"
            if name == "valid" and (both := set(groups) & set(data_args.test_groups or ())):
                raise ValueError(f"test_groups and valid_groups both name {', '.join(sorted(both))}.")
        column = getattr(data_args, column_argument)
        if column is None:
            raise ValueError(f"A {name} part is to be drawn by groups, but group_column does not say which column.")
        values = groups_of(parts["train"], column, column_argument)
        if groups is not None:
            taken = rows_of_groups(values, groups, f"{name}_groups", column)
        else:
            taken = drawn_rows(values, fraction, data_args.split_seed, f"{name}_fraction", column)
        if taken.all():
            raise ValueError(f"The {name} part takes every group of {column!r}: no training row would be left.")
        train = parts["train"]
        parts[name] = train.select(np.flatnonzero(taken))
        parts["train"] = train.select(np.flatnonzero(~taken))

    if data_args.target == "votes":
        parts = with_votes(parts, data_args.drop_unlabelled)
    check_rows(parts, with_features, data_args.target)
    check_tuned_rows(parts, data_args.allow_tuned_rows)
    if data_args.group_column is not None:
        drawn_within = data_args.valid_fraction is not None and data_args.valid_group_column is not None
        check_groups(parts, data_args.group_column, apart=("test",) if drawn_within else ("valid", "test"))
    return {name: part.with_format("numpy") if with_features else part for name, part in parts.items()}


def without_unlabelled(dataset: Dataset, name: str, target: str = "label") -> Dataset:
    """The rows that have the target; of the others the number is logged."""
    check_columns(dataset, target, f"the part {name}")
    labelled = np.flatnonzero(labelled_rows(dataset, target))
    if len(labelled) < len(dataset):
        lacking = f"{len(dataset) - len(labelled)} of {len(dataset)} rows of {name}"
        logger.warning_once(f"{lacking} have no {target if problem_type_for(target) == VALUES else 'label'}: left out.")
    return dataset.select(labelled)


def with_votes(parts: dict[str, Dataset], drop_unlabelled: bool) -> dict[str, Dataset]:
    """
    The parts for the target "votes": rows without votes are no training rows. Those on whose label the annotators did
    not agree may be in the training part alone; in the others they are left out where `drop_unlabelled` says so.
    """
    if drop_unlabelled:
        parts = {name: part if name == "train" else without_unlabelled(part, name) for name, part in parts.items()}
    if "train" in parts and VOTES in parts["train"].column_names:
        train = parts["train"]
        voted = [i for i, votes in enumerate(train.with_format(None)[VOTES][:]) if is_voted(votes)]
        if len(voted) < len(train):
            logger.warning_once(f"{len(train) - len(voted)} of {len(train)} training rows have no votes: left out.")
        parts = {**parts, "train": train.select(voted)}
    return parts


def given_parts(named: dict[str, Dataset], split_column: str | None) -> dict[str, Dataset]:
    """The parts that the dataset itself names, under this module's names."""
    origin = "The dataset's split"
    if split_column is not None:
        if len(named) > 1:
            raise ValueError(
                f"split_column is {split_column!r}, but the dataset already has the splits {', '.join(named)}."
            )
        (dataset,) = named.values()
        values = groups_of(dataset, split_column, "split_column")
        named = {name: dataset.select(np.flatnonzero(values == name)) for name in dict.fromkeys(values)}
        origin = f"A value of split_column {split_column!r}"
    parts = {}
    for name, part in named.items():
        if name not in PARTS:
            raise ValueError(f"{origin} is {name!r}: the names that are known are {', '.join(PARTS)}.")
        if PARTS[name] in parts:
            raise ValueError(f"{origin} is {name!r} beside another name of the same part: give it once.")
        parts[PARTS[name]] = part
    return parts


def rows_of_groups(values: np.ndarray, groups: list[str], argument: str, column: str) -> np.ndarray:
    """Boolean `[N]`: the rows of the named groups."""
    there = sorted(set(values))
    unknown = [group for group in groups if group not in there]
    if unknown:
        raise ValueError(f"{argument} names {', '.join(unknown)}, but {column!r} has {', '.join(there)}.")
    return np.isin(values, groups)


def drawn_rows(values: np.ndarray, fraction: float, seed: int, argument: str, column: str) -> np.ndarray:
    """Boolean `[N]`: the rows of a fraction of the groups, drawn with the seed."""
    if not 0 < fraction < 1:
        raise ValueError(f"{argument} is {fraction}: it must be between 0 and 1.")
    if len(set(values)) < 2:
        raise ValueError(f"{argument} needs at least 2 groups in {column!r}, which has {len(set(values))}.")
    splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
    _, rows = next(splitter.split(values, groups=values))
    taken = np.zeros(len(values), dtype=bool)
    taken[rows] = True
    return taken


def check_rows(parts: dict[str, Dataset], with_features: bool, target: str) -> None:
    """
    Raises a ValueError unless each part has rows, and each row the target, an id of its own and, where it is wanted,
    features. Where votes are learned, training rows may lack a label.
    """
    names, seen = None, {}
    for part_name, part in parts.items():
        if len(part) == 0:
            raise ValueError(f"The {part_name} part has no rows.")
        if "id" not in part.column_names:
            raise ValueError(f"The {part_name} part has no column 'id': it has {', '.join(part.column_names)}.")
        check_columns(part, target, f"the {part_name} part", needed=part_name == "train")
        if with_features and not any(modality.features in part.column_names for modality in MODALITIES):
            raise ValueError(
                f"The {part_name} part has neither a column h_a nor h_t: it has {', '.join(part.column_names)}."
            )
        here = target_names(part, target)
        names = names or here
        if here != names:
            raise ValueError(
                f"The {part_name} part has the labels {', '.join(here)}, another part has {', '.join(names)}."
            )

        rows = part.with_format(None)
        ids = rows["id"][:]
        for row_id in ids:
            if row_id in seen:
                where = f"in {part_name}" if seen[row_id] == part_name else f"in {seen[row_id]} and in {part_name}"
                raise ValueError(f"The id {row_id!r} occurs twice, {where}: every row needs an id of its own.")
            seen[row_id] = part_name
        labelled = labelled_rows(part, target)
        if not labelled.all() and not (target == "votes" and part_name == "train"):
            values = problem_type_for(target) == VALUES
            lacks = f"value of {target}: give it one" if values else "label: label it"
            raise ValueError(
                f"The row with id {ids[int(np.argmin(labelled))]!r} ({part_name}) has no {lacks}, or leave all such "
                "rows out with drop_unlabelled."
            )
        for row_id, value in zip(ids, rows["label"][:], strict=True) if target in ("label", "votes") else ():
            if value is not None and not 0 <= value < len(names):
                raise ValueError(
                    f"The label of the row with id {row_id!r} ({part_name}) is {value}: it must be 0 to "
                    f"{len(names) - 1} ({', '.join(names)})."
                )
        if not with_features:
            continue
        present = np.logical_or.reduce([rows_with(part, modality.features) for modality in MODALITIES])
        if not present.all():
            row_id = ids[int(np.argmin(present))]
            raise ValueError(f"The row with id {row_id!r} ({part_name}) has neither h_a nor h_t.")


def check_groups(parts: dict[str, Dataset], column: str, apart: tuple[str, ...]) -> None:
    """Raises a ValueError where a group of the parts in `apart` is also in another part."""
    groups = {name: set(groups_of(part, column, "group_column")) for name, part in parts.items()}
    for name in apart:
        for other in groups:
            shared = sorted(groups.get(name, set()) & groups[other])
            if shared and other != name:
                raise ValueError(f"Groups of {column!r} are in {other} and in {name}: {', '.join(shared)}.")
