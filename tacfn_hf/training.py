"""What training adds to transformers' `Trainer`: arguments, splits, class weights, metrics, results on disk."""

import glob
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import torch
from datasets import ClassLabel, Dataset, DatasetDict, load_dataset, load_from_disk
from sklearn.model_selection import GroupShuffleSplit
from transformers import (
    AutoModelForSequenceClassification,
    EarlyStoppingCallback,
    EvalPrediction,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
)

from .collation import MODALITIES, TacfnDataCollator
from .metrics import EmotionMetric
from .model.configuration_tacfn import TacfnConfig
from .model.modeling_tacfn import TacfnForSequenceClassification


SPLIT_NAMES = {
    "train": "train",
    "validation": "valid",
    "valid": "valid",
    "dev": "valid",
    "val": "valid",
    "test": "test",
}
PACKAGES = ("tacfn-hf", "torch", "transformers", "datasets", "accelerate", "numpy", "scikit-learn")


@dataclass
class DataArguments:
    """Which features to use, and what they are trained, validated and tested on."""

    dataset: str = field(
        metadata={
            "help": "Features: a folder written by save_to_disk, a Parquet file, a pattern or folder of them, or a "
            "dataset id on the Hub. Columns: id, label (ClassLabel), h_a and/or h_t."
        }
    )
    split_column: str | None = field(
        default=None,
        metadata={"help": "Column that says train, validation (or valid, val, dev) or test for each row."},
    )
    group_column: str | None = field(
        default=None,
        metadata={"help": "Column of what must not be on both sides of a split: session, speaker, dialogue."},
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


@dataclass
class ModelArguments:
    """A checkpoint to go on from, or the sizes of a new network."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to go on from: a folder or a model id on the Hub."}
    )
    hidden_size: int | None = field(
        default=None, metadata={"help": "Size of the network (TacfnConfig's default: 768)."}
    )
    num_hidden_layers: int | None = field(default=None, metadata={"help": "Cross-modal blocks (default: 2)."})
    num_attention_heads: int | None = field(default=None, metadata={"help": "Heads of every attention (default: 8)."})
    gate_hidden_size: int | None = field(
        default=None, metadata={"help": "Inner size of the gate's MLP (default: 256)."}
    )
    hidden_dropout_prob: float | None = field(
        default=None, metadata={"help": "Dropout of sublayers and classifier (default: 0.2)."}
    )


@dataclass
class TacfnTrainingArguments(TrainingArguments):
    """transformers' `TrainingArguments` with the defaults of this task, and two arguments of its own."""

    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must be False: the collator picks the columns."}
    )
    label_names: list[str] | None = field(
        default_factory=lambda: ["labels"], metadata={"help": "Key of the labels in a batch."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate on the validation part."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(
        default=1, metadata={"help": "Checkpoints to keep: the last ones, and always the best one."}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the checkpoint that was best on the validation part."}
    )
    metric_for_best_model: str | None = field(
        default="UA",
        metadata={"help": "Validation figure that chooses the best: UA, WA, wF1, macro_F1 or loss."},
    )
    greater_is_better: bool | None = field(
        default=True, metadata={"help": "Whether a larger metric_for_best_model is better. False for loss."}
    )
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the training loss."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Samples of a step on each device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "The same in evaluation."})
    num_train_epochs: float = field(default=20, metadata={"help": "Passes over the training part."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate of AdamW."})
    warmup_steps: float = field(
        default=0.1,
        metadata={"help": "Steps in which the learning rate rises; below 1: their share of all steps."},
    )
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    class_weights: Literal["none", "balanced"] = field(
        default="balanced",
        metadata={
            "help": "balanced: class c of C weighs N / (C * n_c) in the loss, where n_c of the N training rows have it."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after this many evaluations without a better metric_for_best_model."},
    )


def parse_arguments(classes: tuple[type, ...], argv: Sequence[str]) -> tuple[Any, ...]:
    """
    One instance of each dataclass from a command line: flags, or a JSON file of arguments and flags that override it.

    Raises:
        ValueError: an argument that does not exist.
    """
    argv = list(argv)
    if argv and argv[0].endswith(".json"):
        with open(argv.pop(0), encoding="utf-8") as file:
            argv = [*flags(json.load(file)), *argv]
    return HfArgumentParser(classes, allow_abbrev=False).parse_args_into_dataclasses(argv)


def flags(arguments: dict[str, Any]) -> list[str]:
    """The flags of a dict of arguments; None leaves an argument at its default."""
    found = []
    for name, value in arguments.items():
        if value is not None:
            values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            found += [f"--{name}", *(str(item) for item in values)]
    return found


def load_features(path_or_id: str) -> Dataset | DatasetDict:
    """
    Features from a folder of `save_to_disk`, from Parquet (a file, a pattern, a folder), or from the Hub.

    Returns:
        A `Dataset`, or a `DatasetDict` where the source has several splits.

    Raises:
        ValueError: nothing there that can be read.
    """
    if os.path.isdir(path_or_id):
        if any(os.path.isfile(os.path.join(path_or_id, name)) for name in ("dataset_dict.json", "state.json")):
            return load_from_disk(path_or_id)
        if not glob.glob(os.path.join(glob.escape(path_or_id), "**", "*.parquet"), recursive=True):
            raise ValueError(f"The folder {path_or_id} holds neither a dataset of save_to_disk nor a .parquet file.")
        loaded = load_dataset("parquet", data_dir=path_or_id)
    elif path_or_id.endswith(".parquet"):
        if not glob.glob(path_or_id, recursive=True):
            raise ValueError(f"No file matches the dataset {path_or_id}.")
        loaded = load_dataset("parquet", data_files=path_or_id)
    elif os.path.exists(path_or_id):
        raise ValueError(f"The dataset {path_or_id} is a file that is not .parquet: give a folder or Parquet.")
    else:
        try:
            loaded = load_dataset(path_or_id)
        except Exception as error:  # each way to fail has a class of its own there
            raise ValueError(
                f"The dataset {path_or_id} is no folder or file here, and loading it from the Hub failed: {error}"
            ) from error
    return next(iter(loaded.values())) if list(loaded) == ["train"] else loaded


def named_parts(dataset: Dataset | DatasetDict) -> dict[str, Dataset]:
    """The parts of `dataset` by their names in it; a plain `Dataset` is all "train"."""
    return dict(dataset) if isinstance(dataset, DatasetDict) else {"train": dataset}


def groups_of(dataset: Dataset, column: str, argument: str) -> np.ndarray:
    """The values of a column as strings `[N]`."""
    if column not in dataset.column_names:
        raise ValueError(
            f"{argument} is {column!r}, but the dataset has no such column; it has {', '.join(dataset.column_names)}."
        )
    values = dataset.with_format(None)[column][:]
    if None in values:
        raise ValueError(f"{argument} {column!r} is null in row {values.index(None)}: every row needs a value.")
    return np.array([str(value) for value in values], dtype=object)


def split_dataset(dataset: Dataset | DatasetDict, data_args: DataArguments) -> dict[str, Dataset]:
    """
    Divides a dataset into what is trained, validated and tested on, and checks its rows.

    The parts come from the splits of a `DatasetDict` or from `split_column`; a test or validation part that is not
    given there is taken out of the training part by named groups or by a fraction of the groups.

    Returns:
        `Dataset`s under "train", "valid" and "test", those that there are, giving numpy rows.

    Raises:
        ValueError: a column, split or group that is not there, arguments that exclude each other, an empty part, a
            group on both sides of a split, a row without a valid label, without features, or with the id of another.
    """
    parts = given_parts(named_parts(dataset), data_args.split_column)
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

    check_rows(parts)
    if data_args.group_column is not None:
        drawn_within = data_args.valid_fraction is not None and data_args.valid_group_column is not None
        check_groups(parts, data_args.group_column, apart=("test",) if drawn_within else ("valid", "test"))
    return {name: part.with_format("numpy") for name, part in parts.items()}


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
        if name not in SPLIT_NAMES:
            raise ValueError(f"{origin} is {name!r}: the names that are known are {', '.join(SPLIT_NAMES)}.")
        if SPLIT_NAMES[name] in parts:
            raise ValueError(f"{origin} is {name!r} beside another name of the same part: give it once.")
        parts[SPLIT_NAMES[name]] = part
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


def check_rows(parts: dict[str, Dataset]) -> None:
    """Every part has rows, each with a valid label, features, and an id of its own. Features are not decoded."""
    names, seen = None, {}
    for part_name, part in parts.items():
        if len(part) == 0:
            raise ValueError(f"The {part_name} part has no rows.")
        for column in ("id", "label"):
            if column not in part.column_names:
                raise ValueError(
                    f"The {part_name} part has no column {column!r}: it has {', '.join(part.column_names)}."
                )
        feature_columns = [column for column in MODALITIES if column in part.column_names]
        if not feature_columns:
            raise ValueError(
                f"The {part_name} part has neither a column h_a nor h_t: it has {', '.join(part.column_names)}."
            )
        label = part.features["label"]
        if not isinstance(label, ClassLabel):
            raise ValueError(
                f"The column label of the {part_name} part is {label}: it must be a ClassLabel with names."
            )
        names = names or label.names
        if label.names != names:
            raise ValueError(
                f"The {part_name} part has the labels {', '.join(label.names)}, another part has {', '.join(names)}."
            )

        rows = part.with_format(None)
        ids = rows["id"][:]
        for row_id in ids:
            if row_id in seen:
                where = f"in {part_name}" if seen[row_id] == part_name else f"in {seen[row_id]} and in {part_name}"
                raise ValueError(f"The id {row_id!r} occurs twice, {where}: every row needs an id of its own.")
            seen[row_id] = part_name
        for row_id, value in zip(ids, rows["label"][:], strict=True):
            if value is None or not 0 <= value < len(names):
                raise ValueError(
                    f"The label of the row with id {row_id!r} ({part_name}) is {value}: it must be 0 to "
                    f"{len(names) - 1} ({', '.join(names)})."
                )
        offset = 0
        for table in part.select_columns(feature_columns).with_format("arrow").iter(batch_size=1000):
            lacking = np.logical_and.reduce([lacking_rows(table.column(column)) for column in feature_columns])
            if lacking.any():
                row_id = ids[offset + int(np.argmax(lacking))]
                raise ValueError(f"The row with id {row_id!r} ({part_name}) has neither h_a nor h_t.")
            offset += len(table)


def lacking_rows(column: Any) -> np.ndarray:
    """Boolean `[N]`: where an Arrow column of features is null or has length 0."""
    lacking = []
    for chunk in column.chunks:
        storage = getattr(chunk, "storage", chunk)  # Array2D is an extension type around lists
        lacking.append(pc.fill_null(pc.equal(pc.list_value_length(storage), 0), True).to_numpy(zero_copy_only=False))
    return np.concatenate(lacking)


def check_groups(parts: dict[str, Dataset], column: str, apart: tuple[str, ...]) -> None:
    """No group of the parts in `apart` is in any other part."""
    groups = {name: set(groups_of(part, column, "group_column")) for name, part in parts.items()}
    for name in apart:
        for other in groups:
            shared = sorted(groups.get(name, set()) & groups[other])
            if shared and other != name:
                raise ValueError(f"Groups of {column!r} are in {other} and in {name}: {', '.join(shared)}.")


def feature_size(dataset: Dataset, column: str) -> int | None:
    """The size of one feature vector, from the first row that has any; None where the column is not there."""
    if column not in dataset.column_names:
        return None
    offset = 0
    for table in dataset.select_columns([column]).with_format("arrow").iter(batch_size=1000):
        there = np.flatnonzero(~lacking_rows(table.column(column)))
        if len(there):
            return np.shape(dataset.with_format("numpy")[offset + int(there[0])][column])[-1]
        offset += len(table)
    return None


def balanced_class_weights(labels: Sequence[int] | np.ndarray, label_names: Sequence[str]) -> list[float]:
    """
    A weight for each of the C classes, `N / (C * n_c)` for a class with n_c of the N labels: their mean over the labels
    is 1.

    Raises:
        ValueError: a class without a label, by its name.
    """
    counts = np.bincount(labels, minlength=len(label_names))
    absent = [name for name, count in zip(label_names, counts, strict=True) if count == 0]
    if absent:
        raise ValueError(
            f"No training row has the label {', '.join(absent)}: balanced class weights need every class; give "
            'class_weights "none", or a dataset without these names.'
        )
    return [float(weight) for weight in len(labels) / (len(label_names) * counts)]


def labels_as(dataset: Dataset, label_names: Sequence[str]) -> np.ndarray:
    """
    The dataset's labels as indices into `label_names`, matched by name: int64 `[N]`.

    Raises:
        ValueError: the dataset has a label that is not among `label_names`.
    """
    names = dataset.features["label"].names
    unknown = [name for name in names if name not in label_names]
    if unknown:
        raise ValueError(
            f"The model does not know the dataset's label {', '.join(unknown)}: the dataset has {', '.join(names)}, "
            f"the model {', '.join(label_names)}."
        )
    index = np.array([list(label_names).index(name) for name in names])
    return index[np.asarray(dataset.with_format(None)["label"][:])]


def match_labels(dataset: Dataset, label_names: Sequence[str]) -> Dataset:
    """The dataset with its labels renumbered, by name, in the order of `label_names`; raises as `labels_as`."""
    if list(dataset.features["label"].names) == list(label_names):
        return dataset
    labels = labels_as(dataset, label_names)
    matched = dataset.remove_columns("label").add_column("label", labels, feature=ClassLabel(names=list(label_names)))
    return matched.with_format("numpy")


def check_feature_sizes(dataset: Dataset, config: TacfnConfig) -> None:
    """The dataset's features have the sizes that the model takes, or a ValueError says both."""
    for column, name in (("h_a", "audio_feature_size"), ("h_t", "text_feature_size")):
        size = feature_size(dataset, column)
        if size is not None and size != getattr(config, name):
            raise ValueError(
                f"{column} of the dataset has {size} dimensions, the model's {name} is {getattr(config, name)}: "
                "they must come from the same encoder."
            )


def load_model(name_or_path: str) -> TacfnForSequenceClassification:
    """
    A trained classifier from a folder or the Hub.

    Raises:
        ValueError: a checkpoint whose weights are not exactly this model's, or of another kind of model.
    """
    model, info = AutoModelForSequenceClassification.from_pretrained(
        name_or_path, output_loading_info=True, ignore_mismatched_sizes=True
    )
    if not isinstance(model, TacfnForSequenceClassification):
        raise ValueError(f"{name_or_path} is a {type(model).__name__}: it must be a TacfnForSequenceClassification.")
    wrong = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(info["unexpected_keys"]),
        "of another shape": sorted(entry[0] for entry in info["mismatched_keys"]),
    }
    if any(wrong.values()):
        found = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in wrong.items() if keys)
        raise ValueError(f"The weights in {name_or_path} are not those of its config ({found}).")
    return model


def build_model(train: Dataset, model_args: ModelArguments, class_weights: str) -> TacfnForSequenceClassification:
    """
    A new network for the features and labels of `train`, or the checkpoint to go on from.

    Raises:
        ValueError: sizes given beside a checkpoint, or a checkpoint that doesn't fit the dataset.
    """
    own = {
        name: value for name, value in vars(model_args).items() if name != "model_name_or_path" and value is not None
    }
    names = train.features["label"].names
    if model_args.model_name_or_path is not None:
        if own:
            raise ValueError(f"{', '.join(own)} can't be given beside model_name_or_path, whose config has them.")
        model = load_model(model_args.model_name_or_path)
        check_feature_sizes(train, model.config)
    else:
        sizes = {
            "audio_feature_size": feature_size(train, "h_a"),
            "text_feature_size": feature_size(train, "h_t"),
        }
        config = TacfnConfig(
            **own,
            **{name: size for name, size in sizes.items() if size is not None},
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
            problem_type="single_label_classification",
        )
        model = TacfnForSequenceClassification(config)
    label_names = label_names_of(model.config)
    labels = labels_as(train, label_names)
    model.config.class_weights = balanced_class_weights(labels, label_names) if class_weights == "balanced" else None
    return model


def label_names_of(config: TacfnConfig) -> list[str]:
    """The model's label names, in the order of its logits."""
    return [config.id2label[i] for i in range(config.num_labels)]


def make_compute_metrics(label_names: Sequence[str]) -> Callable[[EvalPrediction], dict[str, float]]:
    """
    For `Trainer(compute_metrics=...)`: WA, UA, wF1, macro_F1, and the mean and standard deviation of beta over the
    evaluated rows.
    """

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits, beta = prediction.predictions
        result = full_metrics(logits, beta, prediction.label_ids, label_names)
        return {name: value for name, value in result.items() if isinstance(value, float)}

    return compute_metrics


def full_metrics(
    logits: np.ndarray, beta: np.ndarray, labels: np.ndarray, label_names: Sequence[str]
) -> dict[str, Any]:
    """
    The result of `EmotionMetric` for `logits [N, C]`, `beta [N, 1]` and `labels [N]`, with `beta_mean` and `beta_std`,
    and with `beta_mean` for each class of the references (None where a class has no row).
    """
    # In memory: several processes may compute at the same time.
    result = EmotionMetric(keep_in_memory=True).compute(
        predictions=logits.argmax(axis=-1), references=labels, label_names=list(label_names)
    )
    beta = beta[:, 0].astype(np.float64)
    for i, row in enumerate(result["per_class"]):
        row["beta_mean"] = float(beta[labels == i].mean()) if row["support"] else None
    return {**result, "beta_mean": float(beta.mean()), "beta_std": float(beta.std())}


def build_trainer(model: TacfnForSequenceClassification, args: TrainingArguments, parts: dict[str, Dataset]) -> Trainer:
    """
    transformers' `Trainer` with the collator, the metrics and early stopping; it trains on "train" of `parts` and
    selects on "valid".

    Raises:
        ValueError: the arguments want a validation part, and there is none.
    """
    if args.eval_strategy != "no" and "valid" not in parts:
        raise ValueError(
            "There is no validation part to select on: give one (valid_groups or valid_fraction), or train without "
            "with --eval_strategy no --save_strategy no --load_best_model_at_end false."
        )
    patience = getattr(args, "early_stopping_patience", None)
    return Trainer(
        model=model,
        args=args,
        data_collator=TacfnDataCollator(),
        train_dataset=parts.get("train"),
        eval_dataset=parts.get("valid"),
        compute_metrics=make_compute_metrics(label_names_of(model.config)),
        callbacks=None if patience is None else [EarlyStoppingCallback(early_stopping_patience=patience)],
    )


def evaluate_split(trainer: Trainer, dataset: Dataset) -> tuple[dict[str, Any], pd.DataFrame]:
    """
    Predicts a dataset with the trainer's model. Call it in every process.

    Returns:
        The result of `full_metrics`, and a table with one row per sample: `id`, `label` and `prediction` as names,
        `score_<name>` (softmax) for each class, and `beta`.
    """
    label_names = label_names_of(trainer.model.config)
    output = trainer.predict(dataset)
    logits, beta = output.predictions
    scores = torch.from_numpy(logits).float().softmax(dim=-1).numpy()
    table = pd.DataFrame(
        {
            "id": dataset.with_format(None)["id"][:],
            "label": [label_names[i] for i in output.label_ids],
            "prediction": [label_names[i] for i in logits.argmax(axis=-1)],
            **{f"score_{name}": scores[:, i] for i, name in enumerate(label_names)},
            "beta": beta[:, 0],
        }
    )
    return full_metrics(logits, beta, output.label_ids, label_names), table


def versions() -> dict[str, str]:
    """The versions of what a result depends on; a package that runs from its source tree is "not installed"."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_results(
    output_dir: str,
    metrics: dict[str, dict[str, Any]],
    tables: dict[str, pd.DataFrame],
    about: dict[str, Any],
) -> None:
    """
    Writes `predictions.parquet` (the tables of all parts, the part in a column `split`) and `metrics.json` (a part's
    metrics under its name, what the result depends on under "about").
    """
    os.makedirs(output_dir, exist_ok=True)
    table = pd.concat([table.assign(split=name) for name, table in tables.items()], ignore_index=True)
    table.to_parquet(os.path.join(output_dir, "predictions.parquet"), index=False)
    with open(os.path.join(output_dir, "metrics.json"), "w", encoding="utf-8") as file:
        json.dump({**metrics, "about": {**about, "versions": versions()}}, file, indent=2)
        file.write("\n")


def check_output_dir(args: TrainingArguments) -> None:
    """`output_dir` holds no model and no checkpoint yet, unless training resumes, or a ValueError says so."""
    if args.resume_from_checkpoint is not None or not os.path.isdir(args.output_dir):
        return
    for name in sorted(os.listdir(args.output_dir)):
        if name in ("model.safetensors", "metrics.json") or name.startswith("checkpoint-"):
            raise ValueError(
                f"output_dir {args.output_dir} already holds {name} of another run: choose another folder, or, to "
                "go on with a training, give --resume_from_checkpoint."
            )
