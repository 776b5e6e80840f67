"""Labels of a dataset and of a model, matched by their names."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from datasets import ClassLabel, Dataset

from ..model.configuration_tacfn import TacfnConfig


def label_names_of(config: TacfnConfig) -> list[str]:
    """The model's label names, in the order of its logits."""
    return [config.id2label[i] for i in range(config.num_labels)]


class UnknownLabelsError(ValueError):
    """A dataset has labels that a model does not know."""


def labels_as(dataset: Dataset, label_names: Sequence[str]) -> np.ndarray:
    """
    The dataset's labels as indices into `label_names`, matched by name: int64 `[N]`.

    Raises:
        UnknownLabelsError: the dataset has a label that is not among `label_names`.
    """
    names = dataset.features["label"].names
    unknown = [name for name in names if name not in label_names]
    if unknown:
        raise UnknownLabelsError(
            f"The model does not know the dataset's label {', '.join(unknown)}: the dataset has {', '.join(names)}, "
            f"the model {', '.join(label_names)}."
        )
    index = np.array([list(label_names).index(name) for name in names])
    return index[np.asarray(dataset.with_format(None)["label"][:])]


def match_labels(dataset: Dataset, label_names: Sequence[str]) -> Dataset:
    """The dataset with its labels as indices into `label_names`, matched by name; raises as `labels_as`."""
    if list(dataset.features["label"].names) == list(label_names):
        return dataset
    return relabelled(dataset, labels_as(dataset, label_names), label_names)


def relabelled(dataset: Dataset, labels: Sequence[int] | np.ndarray, label_names: Sequence[str]) -> Dataset:
    """The dataset with other labels `[N]`, indices into `label_names`; its rows are in the numpy format."""
    feature = ClassLabel(names=list(label_names))
    plain = dataset.with_format("arrow").remove_columns("label")  # a selection is copied then, as it is stored
    return plain.add_column("label", list(labels), feature=feature).with_format("numpy")


def share_labels(dataset: Dataset, label_names: Sequence[str]) -> tuple[Dataset, list[str], dict[str, int]]:
    """
    The rows whose labels a model with `label_names` knows too.

    Returns:
        These rows, the labels that both have in the order of the model's, and how many rows of each other label were
        left out.

    Raises:
        ValueError: no label is in both.
    """
    names = dataset.features["label"].names
    shared = [name for name in label_names if name in names]
    if not shared:
        raise ValueError(
            f"Dataset and model have no label in common: the dataset has {', '.join(names)}, the model "
            f"{', '.join(label_names)}."
        )
    labels = [names[i] for i in dataset.with_format(None)["label"][:]]
    kept = [i for i, name in enumerate(labels) if name in shared]
    if not kept:
        raise ValueError(f"No row of the dataset has one of the labels that the model has too, {', '.join(shared)}.")
    left_out = Counter(name for name in labels if name not in shared)
    rows = relabelled(dataset.select(kept), [shared.index(labels[i]) for i in kept], shared)
    return rows, shared, dict(left_out)
