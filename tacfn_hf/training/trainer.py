"""transformers' `Trainer` for rows of features."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from ..evaluation.predictions import full_metrics
from ..features.collation import TacfnDataCollator
from ..features.dataset import FeatureRows
from ..features.labels import label_names_of
from ..features.statistics import feature_lengths
from ..model.configuration_tacfn import TacfnConfig
from ..model.modeling_tacfn import TacfnForSequenceClassification
from .training_arguments import check_arguments


def make_compute_metrics(config: TacfnConfig) -> Callable[[EvalPrediction], dict[str, float]]:
    """
    For `Trainer(compute_metrics=...)` with a model of this config: WA, UA, wF1, macro_F1, ECE, and the mean and
    standard deviation of beta over the evaluated rows.
    """

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits, beta = prediction.predictions
        temperature = config.temperature_of(beta[:, 0])
        result = full_metrics(logits, beta, prediction.label_ids, label_names_of(config), temperature)
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
    transformers' `Trainer`, whose strategies of sampling by length know how long rows of features are, and which
    evaluates all rows, in their order, whatever strategy and `dataloader_drop_last` are. Rows of a `datasets.Dataset`
    are read by `FeatureRows`. `label_smoothing_factor` is left to the model, whose loss has terms of its own; as in
    transformers, the loss in evaluation has it too.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.label_smoother = None  # it takes the labels away from the model
        self.args.remove_unused_columns = False  # the collator picks the columns, and needs id for its messages

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        if self.args.label_smoothing_factor:
            inputs = {**inputs, "smoothing": self.args.label_smoothing_factor}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _get_dataloader(self, dataset: Any, *args: Any, is_training: bool = False, **kwargs: Any) -> DataLoader:
        if isinstance(dataset, Dataset) and dataset.format["type"] != "custom":  # not what with_transform has made
            dataset = FeatureRows(dataset)
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = drop_last and is_training
        try:
            return super()._get_dataloader(dataset, *args, is_training=is_training, **kwargs)
        finally:
            self.args.dataloader_drop_last = drop_last

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        args, rows = self.args, self.train_dataset  # not FeatureRows, which hide other columns
        if args.train_sampling_strategy == "batch_rebalance" and args.length_column_name not in rows.column_names:
            rows = Dataset.from_dict({args.length_column_name: feature_lengths(rows).tolist()})
        if args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(rows)
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        seed = args.seed if args.data_seed is None else args.data_seed
        return LengthSampler(batch_size, feature_lengths(self.train_dataset).tolist(), seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        # Transformers groups these too: predictions would come in another order than the rows.
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None


def build_trainer(model: TacfnForSequenceClassification, args: TrainingArguments, parts: dict[str, Dataset]) -> Trainer:
    """
    A `Trainer` with the collator, the metrics and early stopping; it trains on "train" of `parts` and selects on
    "valid".

    Raises:
        ValueError: the arguments want a validation part, and there is none, or what `check_arguments` refuses.
    """
    check_arguments(args)
    if args.eval_strategy != "no" and "valid" not in parts:
        raise ValueError(
            "There is no validation part to evaluate on: give one (valid_groups or valid_fraction), or train without "
            "with --eval_strategy no --save_strategy no --load_best_model_at_end false."
        )
    patience = getattr(args, "early_stopping_patience", None)
    valid = parts.get("valid")
    return FeatureTrainer(
        model=model,
        args=args,
        data_collator=TacfnDataCollator(),
        train_dataset=parts.get("train"),
        eval_dataset=None if valid is None else valid.select(np.argsort(feature_lengths(valid), kind="stable")),
        compute_metrics=make_compute_metrics(model.config),
        callbacks=None if patience is None else [EarlyStoppingCallback(early_stopping_patience=patience)],
    )
