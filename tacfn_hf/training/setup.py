"""What training starts from: a new network or a checkpoint, with its statistics and processor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
)

from ..features.arguments import DataArguments
from ..features.arrow_layout import provenance_of
from ..features.labels import label_names_of
from ..features.shapes import feature_size
from ..features.statistics import feature_covariance, feature_statistics
from ..features.targets import CLASSES, VALUES, problem_type_for, target_names, value_columns
from ..features.time_averages import mean_over_time
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from ..model.modeling_tacfn import TacfnForSequenceClassification, TacfnModel
from ..model.processing_tacfn import TacfnProcessor
from ..model.provenance_tacfn import check_provenance
from ..model.weights_tacfn import check_weights
from .arguments import ModelArguments


@contextmanager
def few_threads(config: TacfnConfig) -> Iterator[None]:
    """
    One thread on a CPU for a network without cross-modal blocks, whose steps are too small to share: where something
    else runs, too, threads that wait for each other make them many times as slow. `OMP_NUM_THREADS` overrides this.
    """
    before = torch.get_num_threads()
    if not config.num_hidden_layers and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_statistics(model: TacfnModel, train: Dataset) -> None:
    """Gives a model the statistics of its training part, for its standardisers and distances."""
    averaged = mean_over_time(train)
    for modality in MODALITIES:
        if feature_size(train, modality.features) is None:
            continue
        standardizer = getattr(model, f"{modality.name}_standardizer")
        standardizer.set_statistics(*map(torch.from_numpy, feature_statistics(train, modality.features)))
        if model.config.gate_reads_distance:
            statistics = feature_covariance(averaged, modality.features, standardizer)
            getattr(model, f"{modality.name}_distance").set_statistics(*statistics)


def check_features(dataset: Dataset, config: TacfnConfig, name: str) -> None:
    """
    The dataset's features are those that the model takes.

    Raises:
        ValueError: features of another size or, where both sides say what made them, of another encoder; `name` is what
            the message calls the dataset.
    """
    for modality in MODALITIES:
        column, wanted = modality.features, getattr(config, modality.provenance)
        check_provenance(provenance_of(dataset, column), wanted, f"{column} of {name}", "the model")
        size, size_name = feature_size(dataset, column), modality.feature_size
        if size is not None and size != getattr(config, size_name):
            raise ValueError(
                f"{column} of {name} has {size} dimensions, the model's {size_name} is {getattr(config, size_name)}: "
                "they must come from the same encoder."
            )


def load_model(name_or_path: str) -> TacfnForSequenceClassification:
    """
    A trained classifier from a folder or the Hub.

    Raises:
        ValueError: nothing there, a checkpoint whose weights are not exactly this model's, or another kind of model.
    """
    try:
        check_weights(name_or_path)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            name_or_path, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except OSError as error:
        if os.path.isdir(name_or_path):
            raise
        raise ValueError(
            f"The model {name_or_path} is no folder here, and loading it from the Hub failed: {error}"
        ) from error
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


def check_target(config: TacfnConfig, data_args: DataArguments, same_range: bool = True) -> None:
    """A ValueError unless a model of this config answers with the target, where `same_range` says so in its range."""
    kind, wanted = config.problem_type, problem_type_for(data_args.target)
    if kind is None:
        config.problem_type = kind = CLASSES
    if kind != wanted:
        raise ValueError(
            f"target is {data_args.target}, which needs a model of problem_type {wanted}, and the model's is {kind}."
        )
    if wanted == VALUES:
        columns, names = value_columns(data_args.target), label_names_of(config)
        if set(columns) != set(names):
            raise ValueError(f"target is {', '.join(columns)}, and the values of the model are {', '.join(names)}.")
        if same_range and config.value_range is not None and list(data_args.target_range) != list(config.value_range):
            scale = " ".join(f"{value:g}" for value in config.value_range)
            raise ValueError(f"target_range must be {scale}, the one that the model was trained with.")


def build_model(
    train: Dataset,
    model_args: ModelArguments,
    processor_name: str | None = None,
    data_args: DataArguments | None = None,
) -> TacfnForSequenceClassification:
    """
    A new network for the features and labels of `train`, or the checkpoint to go on from.

    Args:
        processor_name: the processor of the features, whose encoders say how large those are that `train` lacks.
        data_args: of which `target` and `target_range` are read; one class by default.

    Raises:
        ValueError: rows of one label only, sizes given beside a checkpoint, or a checkpoint that doesn't fit the
            dataset.
    """
    names = ("model_name_or_path", "processor_name")
    own = {name: value for name, value in vars(model_args).items() if name not in names and value is not None}
    data_args = data_args or DataArguments(dataset="")
    target = data_args.target
    names, present = target_names(train, target), set()
    if target == "label":
        present = {names[label] for label in train.with_format(None)["label"][:] if label is not None}
    if len(present) == 1:
        raise ValueError(
            f"The training part has only one label, {present.pop()}: a classifier learns to tell two or more apart."
        )
    if model_args.model_name_or_path is not None:
        if own:
            raise ValueError(f"{', '.join(own)} can't be given beside model_name_or_path, whose config has them.")
        model = load_model(model_args.model_name_or_path)
        check_features(train, model.config, "the training part")
        check_target(model.config, data_args)
    else:
        sizes = {modality.feature_size: feature_size(train, modality.features) for modality in MODALITIES}
        if processor_name is not None and None in sizes.values():
            for modality in MODALITIES:
                if sizes[modality.feature_size] is None:
                    with suppress(ValueError):  # an encoder that can't be had, and is not needed
                        made = TacfnProcessor.from_pretrained(processor_name).encoder_config(modality.name)
                        sizes[modality.feature_size] = made.hidden_size
        config = TacfnConfig(
            **own,
            **{name: size for name, size in sizes.items() if size is not None},
            **{modality.provenance: provenance_of(train, modality.features) for modality in MODALITIES},
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
            problem_type=problem_type_for(target),
            value_range=data_args.target_range,
        )
        model = TacfnForSequenceClassification(config)
        set_statistics(model.model, train)
    return model


def load_processor(name_or_path: str, config: TacfnConfig) -> TacfnProcessor:
    """
    The processor that goes with a model.

    Raises:
        ValueError: a processor that makes other features than those that the model was trained on.
    """
    processor = TacfnProcessor.from_pretrained(name_or_path)
    for modality in MODALITIES:
        made, wanted = (getattr(of, modality.provenance) for of in (processor, config))
        if wanted is not None and wanted.get("in_model"):
            continue  # what counts are the encoders of the model, see `TacfnProcessor.from_model`
        check_provenance(made, wanted, f"the processor {name_or_path}", "the model")
    return processor
