"""transformers' `Trainer` for rows of features."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from ..evaluation.predictions import Predicted, figures_of
from ..features.collation import TacfnDataCollator
from ..features.feature_rows import FeatureRows
from ..features.labels import label_names_of
from ..features.raw_collation import TacfnRawDataCollator
from ..features.shapes import feature_lengths, lengths_of
from ..features.targets import CLASSES, SEVERAL, VALUES, class_counts
from ..features.time_averages import mean_over_time
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from ..model.modeling_tacfn import TacfnForSequenceClassification
from .arguments import TrainingOptions
from .objective import Objective, balanced_class_weights, positive_weights
from .trainable import without_adapters
from .training_arguments import check_arguments


def make_compute_metrics(config: TacfnConfig) -> Callable[[EvalPrediction], dict[str, float]]:
    """
    For `Trainer(compute_metrics=...)` with a model of this config: the figures of `figures_of`, and the mean and
    standard deviation of beta over the evaluated rows.
    """

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        result = figures_of(Predicted.by(config, prediction.predictions, prediction.label_ids))
        return {name: value for name, value in result.items() if isinstance(value, float)}

    return compute_metrics


class LengthSampler(LengthGroupedSampler):
    """
    transformers' sampler, with an order of its own for each epoch that depends on nothing but the seed: it is the same
    in all processes, and in training that is resumed.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int):
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return super().__iter__()


class FeatureTrainer(Trainer):
    """
    transformers' `Trainer` for features. Its samplers by length take the lengths of features. It evaluates all rows, in
    their order, whatever strategy and `dataloader_drop_last` are. Rows of a `datasets.Dataset` are read by
    `FeatureRows`, as means over time where the network begins with these. Rows of audio and text, for a model with its
    encoders, are the collator's, which crops in training alone. The loss is the objective's, which knows
    `label_smoothing_factor`. As in transformers, the loss in evaluation has it too.
    """

    def __init__(self, *args: Any, objective: Objective, learning_rates: dict[str, float] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.objective = objective
        self.learning_rates = learning_rates
        self.means: dict[str, Dataset] = {}
        self.label_smoother = None  # the objective's
        self.args.remove_unused_columns = False  # the collator picks the columns, and needs id for its messages
        self.label_names = ["labels"]

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """As `Trainer.compute_loss`, by the objective."""
        features = {name: value for name, value in inputs.items() if name != "labels"}
        # In several processes what was compiled wraps DDP's own wrapper, which would be called again.
        network = self.accelerator.unwrap_model(model, keep_torch_compile=self.args.world_size <= 1)
        network = without_adapters(network)
        with self.accelerator.autocast():
            loss, output = self.objective(model, features, inputs["labels"], num_items_in_batch, network)
        if self.objective.is_of_all_rows(network):
            return (loss, output) if return_outputs else loss
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # the count is of all processes, whose gradients are averaged
        return (loss, output) if return_outputs else loss

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """As `Trainer.create_optimizer`, with the learning rates of the weights where they differ."""
        made = self.optimizer is not None
        optimizer = super().create_optimizer(model)
        if self.learning_rates is None or made:
            return optimizer
        rates = {id(parameter): self.learning_rates[name] for name, parameter in self.model.named_parameters()}
        groups = []
        for group in optimizer.param_groups:
            for rate in sorted({rates[id(parameter)] for parameter in group["params"]}, reverse=True):
                chosen = [parameter for parameter in group["params"] if rates[id(parameter)] == rate]
                groups.append({**group, "params": chosen, "lr": rate})
        optimizer.param_groups = groups
        return optimizer

    def _get_dataloader(self, dataset: Any, *args: Any, is_training: bool = False, **kwargs: Any) -> DataLoader:
        collator, drop_last = self.data_collator, self.args.dataloader_drop_last
        if isinstance(collator, TacfnRawDataCollator):
            self.data_collator = collator if is_training else replace(collator, crop_seconds=None)
        elif isinstance(dataset, Dataset) and dataset.format["type"] != "custom":  # not what with_transform has made
            if getattr(self.model, "averages_over_time", False):  # once for each row here, not in each step
                if dataset._fingerprint not in self.means:
                    self.means[dataset._fingerprint] = mean_over_time(dataset)
                dataset = self.means[dataset._fingerprint]
            dataset = FeatureRows(dataset)
        self.args.dataloader_drop_last = drop_last and is_training
        try:
            return super()._get_dataloader(dataset, *args, is_training=is_training, **kwargs)
        finally:
            self.data_collator, self.args.dataloader_drop_last = collator, drop_last

    def train_lengths(self) -> list[int]:
        """The lengths of the training rows, by which samplers go: of features, or of audio in 50ths of a second."""
        rows = self.train_dataset  # not FeatureRows, which hide other columns
        if not isinstance(self.data_collator, TacfnRawDataCollator):
            return feature_lengths(rows).tolist()
        longest = self.data_collator.crop_seconds or float("inf")
        return [max(round(50 * min(seconds or 0.0, longest)), 1) for seconds in rows.with_format(None)["duration"][:]]

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        args, rows = self.args, self.train_dataset
        if args.train_sampling_strategy == "batch_rebalance" and args.length_column_name not in rows.column_names:
            rows = Dataset.from_dict({args.length_column_name: self.train_lengths()})
        if args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(rows)
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        seed = args.seed if args.data_seed is None else args.data_seed
        return LengthSampler(batch_size, self.train_lengths(), seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        # Transformers groups these too: predictions would come in another order than the rows.
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None


def build_objective(model: PreTrainedModel, args: TrainingArguments, train: Dataset | None) -> Objective:
    """The objective of the arguments, with class weights of the training part; the plain loss where there is none."""
    if train is None or not isinstance(args, TrainingOptions):
        return Objective(label_smoothing=args.label_smoothing_factor)
    class_weights, kind = None, model.config.problem_type
    if args.class_weights == "balanced" and kind != VALUES:
        label_names = label_names_of(model.config)
        counts = class_counts(train, label_names)
        if kind == SEVERAL:
            class_weights = positive_weights(counts, len(train), label_names)
        else:
            class_weights = balanced_class_weights(counts, label_names)
    num_positions = {}
    for modality in MODALITIES:
        lengths = lengths_of(train, modality.features)
        averaged = getattr(model, "averages_over_time", False) and lengths.any()
        num_positions[modality.name] = float(lengths[lengths > 0].mean()) if averaged else 1.0
    return Objective(
        class_weights=class_weights,
        label_smoothing=args.label_smoothing_factor,
        unimodal_loss_weight=args.unimodal_loss_weight,
        gate_loss_weight=args.gate_loss_weight,
        noise_prob=args.noise_prob,
        num_positions=num_positions,
        regression_loss=args.regression_loss,
    )


def build_trainer(
    model: TacfnForSequenceClassification,
    args: TrainingArguments,
    parts: dict[str, Dataset],
    collator: TacfnDataCollator | TacfnRawDataCollator | None = None,
    learning_rates: dict[str, float] | None = None,
) -> Trainer:
    """
    A `Trainer` with the collator, the metrics and early stopping; it trains on "train" of `parts` and selects on
    "valid".

    Args:
        collator: a [`TacfnRawDataCollator`] where the parts are rows of audio and text for a model with its encoders.
        learning_rates: of the weights by their names; None: that of the arguments.

    Raises:
        ValueError: the arguments want a validation part or lengths, and there are none; or what `check_arguments`
            refuses.
    """
    check_arguments(args, model.config.problem_type or CLASSES)
    raw = isinstance(collator, TacfnRawDataCollator)
    by_length = args.train_sampling_strategy in ("group_by_length", "batch_rebalance")
    if raw and by_length and "duration" not in parts["train"].column_names:
        raise ValueError(
            f"train_sampling_strategy is {args.train_sampling_strategy}, which goes by the column duration, in "
            "seconds: the dataset does not have it; give random."
        )
    if raw and args.world_size > 1 and args.ddp_find_unused_parameters is None:
        args.ddp_find_unused_parameters = True  # an encoder does not run where its modality is missing in a whole step
    if args.eval_strategy != "no" and "valid" not in parts:
        raise ValueError(
            "There is no validation part to evaluate on: give one (--valid_fraction or --valid_groups, with "
            "--group_column), or train without with --eval_strategy no --save_strategy no --load_best_model_at_end "
            "false."
        )
    patience = getattr(args, "early_stopping_patience", None)
    valid = parts.get("valid")
    return FeatureTrainer(
        model=model,
        objective=build_objective(model, args, parts.get("train")),
        learning_rates=learning_rates,
        args=args,
        data_collator=TacfnDataCollator() if collator is None else collator,
        train_dataset=parts.get("train"),
        eval_dataset=valid if raw or valid is None else valid.select(np.argsort(feature_lengths(valid), kind="stable")),
        compute_metrics=make_compute_metrics(model.config),
        callbacks=None if patience is None else [EarlyStoppingCallback(early_stopping_patience=patience)],
    )
