"""What is learned of a dataset: one class, the votes of annotators, several labels, or values such as arousal."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence

import numpy as np
from datasets import (
    ClassLabel,
    Dataset,
    List,
    Value,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from .arguments import DataArguments
from .labels import match_labels
from .votes import has_votes, vote_shares


CLASSES, SEVERAL, VALUES = "single_label_classification", "multi_label_classification", "regression"
DIMENSIONS = ("arousal", "valence", "dominance")


def problem_type_for(target: str) -> str:
    """transformers' name for what a model does that learns the target."""
    return {"label": CLASSES, "votes": CLASSES, "labels": SEVERAL}.get(target, VALUES)


def value_columns(target: str) -> list[str]:
    """
    The columns of numbers that a target names: "avd", or names with commas between them.

    Raises:
        ValueError: a name occurs twice, or there is none.
    """
    columns = list(DIMENSIONS) if target == "avd" else [name.strip() for name in target.split(",")]
    if not all(columns) or len(set(columns)) < len(columns):
        raise ValueError(f"target is {target!r}: it must be label, votes, labels, avd, or names of columns: a,b.")
    return columns


def targets_of(dataset: Dataset) -> list[str]:
    """The targets that a dataset has."""
    found = ["label"] if isinstance(dataset.features.get("label"), ClassLabel) else []
    found += ["labels"] if several_column(dataset) is not None else []
    found += ["votes"] if isinstance(dataset.features.get("votes"), Mapping) else []
    numeric = [name for name, feature in dataset.features.items() if is_number(feature)]
    found += ["avd"] if set(DIMENSIONS) <= set(numeric) else []
    return found + numeric


def several_column(dataset: Dataset) -> str | None:
    """The column with lists of classes: `labels`, or else `label`; None where neither is one."""
    for name in ("labels", "label"):
        if isinstance(getattr(dataset.features.get(name), "feature", None), ClassLabel):
            return name
    return None


def is_number(feature: object) -> bool:
    """Whether a column holds numbers."""
    return isinstance(feature, Value) and feature.dtype.startswith(("float", "int", "uint"))


def check_columns(dataset: Dataset, target: str, name: str, needed: bool = True) -> None:
    """
    The dataset has the columns of a target; votes need not be there unless they are `needed`.

    Raises:
        ValueError: it has not, with those targets that it has; `name` is what the message calls the dataset.
    """
    if target in ("label", "votes"):
        if "label" not in dataset.column_names:
            raise ValueError(f"{name} has no column 'label': it has {', '.join(dataset.column_names)}.")
        if not isinstance(dataset.features["label"], ClassLabel):
            remedy = " Train on it with target labels." if several_column(dataset) == "label" else ""
            found = dataset.features["label"]
            raise ValueError(f"The column label of {name} is {found}: it must be a ClassLabel with names.{remedy}")
    if target == "label":
        return
    if target == "votes":
        lacking = needed and "votes" not in dataset.column_names
    elif target == "labels":
        lacking = several_column(dataset) is None
    else:
        columns = value_columns(target)
        absent = [column for column in columns if column not in dataset.column_names]
        texts = [column for column in columns if column not in absent and not is_number(dataset.features[column])]
        if texts:
            raise ValueError(f"The column {texts[0]} of {name} is {dataset.features[texts[0]]}: it must be numbers.")
        lacking = bool(absent)
    if lacking:
        there = ", ".join(targets_of(dataset)) or "none"
        raise ValueError(f"target is {target}, which {name} does not have. The targets that it has: {there}.")


def target_names(dataset: Dataset, target: str) -> list[str]:
    """The names of what a model learns, in the order of its outputs."""
    if target == "labels":
        return dataset.features[several_column(dataset)].feature.names
    return value_columns(target) if problem_type_for(target) == VALUES else dataset.features["label"].names


def labelled_rows(dataset: Dataset, target: str) -> np.ndarray:
    """Which rows have the target, bool `[N]`: a list of classes may be empty, a value must not be NaN."""
    rows = dataset.with_format(None)
    if problem_type_for(target) == VALUES:
        columns = [np.asarray(rows[column][:], dtype=np.float64) for column in value_columns(target)]
        return ~np.isnan(columns).any(axis=0)
    column = several_column(dataset) if target == "labels" else "label"
    return np.array([cell is not None for cell in rows[column][:]], dtype=bool)


def values_of(dataset: Dataset, columns: Sequence[str], value_range: Sequence[float], name: str) -> np.ndarray:
    """
    The values of columns, mapped from their range to 0 to 1: float64 `[N, D]`.

    Raises:
        ValueError: a value outside of the range, by its row; `name` is what the message calls the dataset.
    """
    rows, (low, high) = dataset.with_format(None), value_range
    values = np.array([np.asarray(rows[column][:], dtype=np.float64) for column in columns]).T
    outside = np.argwhere(~((values >= low) & (values <= high)))
    if len(outside):
        row, column = outside[0]
        raise ValueError(
            f"{columns[column]} of the row with id {rows['id'][int(row)]!r} ({name}) is {values[row, column]:g}: "
            f"target_range says {low:g} to {high:g}. Give a wider range, or leave the row out."
        )
    return (values - low) / (high - low)


def labels_of(dataset: Dataset, label_names: Sequence[str], name: str) -> np.ndarray:
    """
    Which labels each row has, float64 `[N, C]` of 0 and 1.

    Raises:
        ValueError: the classes of the dataset are not those in `label_names`, or a label is none of them.
    """
    column = several_column(dataset)
    names = dataset.features[column].feature.names
    if set(names) != set(label_names):
        raise ValueError(f"{name} has the labels {', '.join(names)}, the model {', '.join(label_names)}.")
    place = [list(label_names).index(of) for of in names]
    found = np.zeros((len(dataset), len(names)))
    rows = dataset.with_format(None)
    for i, cell in enumerate(rows[column][:]):
        if not all(label is not None and 0 <= label < len(names) for label in cell):
            raise ValueError(
                f"The labels of the row with id {rows['id'][i]!r} ({name}) are {cell}: they must be 0 to "
                f"{len(names) - 1} ({', '.join(names)})."
            )
        found[i, [place[label] for label in cell]] = 1
    return found


def check_range(target: str, value_range: Sequence[float] | None) -> None:
    """A ValueError unless values have a range, of two rising numbers, and nothing else has one."""
    if problem_type_for(target) != VALUES:
        if value_range is not None:
            raise ValueError(f"target_range is given, but target is {target}: only values have a range.")
        return
    if value_range is None:
        raise ValueError(
            f"target is {target}, which is none of label, votes and labels: for values give their scale, such as "
            "--target_range 1 5."
        )
    if len(value_range) != 2 or not value_range[0] < value_range[1] or not np.isfinite(value_range).all():
        raise ValueError(f"target_range is {' '.join(map(str, value_range))}: give the lowest and the highest value.")


def with_targets(
    parts: Mapping[str, Dataset], label_names: Sequence[str], data_args: DataArguments
) -> dict[str, Dataset]:
    """
    The parts with what a model learns, in the order of its `label_names`. One class is an index in the column `label`.
    Several labels (0 or 1) and values (mapped to 0 to 1) are `[C]` in the column `labels`, in place of `label`; so are
    the shares of votes, in the training part alone.

    Raises:
        ValueError: labels that the model does not know; a training row without votes; what `vote_shares`, `values_of`
            and `labels_of` refuse.
    """
    target = data_args.target
    for name, part in parts.items():
        if problem_type_for(target) == CLASSES and has_votes(part, label_names):
            vote_shares(part, label_names, f"the {name} part")  # which would fail after training
    found = {}
    for name, part in parts.items():
        where = f"the {name} part"
        if problem_type_for(target) == VALUES:
            found[name] = with_vectors(part, values_of(part, label_names, data_args.target_range, name))
        elif target == "labels":
            found[name] = with_vectors(part, labels_of(part, label_names, where))
        elif target == "votes" and name == "train":
            shares = vote_shares(part, label_names, where)
            without = np.isnan(shares[:, 0])
            if without.any():
                row_id = part.with_format(None)["id"][int(np.argmax(without))]
                raise ValueError(
                    f"The row with id {row_id!r} (train) has no votes: leave such rows out, or train on labels."
                )
            found[name] = with_vectors(part, shares)
        else:
            found[name] = match_labels(part, label_names)
            if "labels" in part.column_names:  # of another target, which a collator would take for this one
                found[name] = found[name].remove_columns("labels")
    return found


def with_vectors(part: Dataset, vectors: np.ndarray) -> Dataset:
    """The rows with vectors `[N, C]` as their column `labels`, in place of `label`."""
    old = [name for name in ("label", "labels") if name in part.column_names]
    plain, folder = part.with_format("arrow").remove_columns(old), None
    if plain._indices is not None:
        plain, folder = in_order(plain)
    made = plain.add_column("labels", vectors.astype(np.float32).tolist(), feature=List(Value("float32")))
    made = made.with_format("numpy")
    if folder is not None:
        weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
    return made


def in_order(rows: Dataset) -> tuple[Dataset, str]:
    """
    The rows without a selection behind them, and the folder that they are in. `datasets` would leave a copy in the
    dataset's own folder at each call.
    """
    folder, shown = tempfile.mkdtemp(prefix="tacfn-"), not are_progress_bars_disabled()
    disable_progress_bars()  # it is the work of a moment, and would be a line in the middle of other bars
    try:
        made = rows.flatten_indices(cache_file_name=f"{folder}/rows.arrow", new_fingerprint=rows._fingerprint)
    finally:
        if shown:
            enable_progress_bars()
    return made, folder


def class_counts(train: Dataset, label_names: Sequence[str]) -> np.ndarray:
    """How many rows each class has, `[C]`; of votes the sum of its shares."""
    if "label" not in train.column_names:
        return np.array(train.with_format(None)["labels"][:]).sum(axis=0)
    names = train.features["label"].names
    counts = np.bincount(train.with_format(None)["label"][:], minlength=len(names))
    return np.array([counts[names.index(name)] if name in names else 0 for name in label_names])
