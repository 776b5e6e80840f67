"""What training adds to transformers' `Trainer`: arguments, class weights, metrics, results on disk."""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import (
    AutoModelForSequenceClassification,
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from .calibration import class_scores, expected_calibration_error, fit_temperature
from .cards import changed_arguments, describe_data, write_card
from .collation import TacfnDataCollator
from .commands import CommandParser
from .feature_columns import (
    complete_rows,
    feature_covariance,
    feature_lengths,
    feature_size,
    feature_statistics,
    rows_with,
)
from .features import processor_of
from .files import write_json
from .gate_truth import measure_gate_truth
from .labels import label_names_of, labels_as, match_labels
from .metrics import EmotionMetric
from .model.configuration_tacfn import TEMPERATURES, TacfnConfig
from .model.modeling_tacfn import TacfnForSequenceClassification, TacfnModel
from .model.processing_tacfn import TacfnProcessor
from .model.provenance_tacfn import check_provenance
from .sharing import push_checkpoint, read_json
from .splits import DataArguments, open_dataset, split_dataset
from .storage import PROVENANCE_COLUMNS, FeatureRows, provenance_of


PACKAGES = ("tacfn-hf", "torch", "transformers", "datasets", "accelerate", "numpy", "scikit-learn")


@dataclass
class ModelArguments:
    """A checkpoint to go on from, or the sizes of a new network."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to go on from: a folder or a model id on the Hub."}
    )
    processor_name: str | None = field(
        default=None,
        metadata={
            "help": "Processor to save beside the model: a folder or a model id on the Hub. Default: the one that made "
            "the dataset's features, where the dataset's folder has it."
        },
    )
    hidden_size: int | None = field(
        default=None, metadata={"help": "Size of the network (TacfnConfig's default: 768)."}
    )
    num_hidden_layers: int | None = field(default=None, metadata={"help": "Cross-modal blocks (default: 2)."})
    num_attention_heads: int | None = field(default=None, metadata={"help": "Heads of every attention (default: 8)."})
    gate_hidden_size: int | None = field(
        default=None, metadata={"help": "Inner size of the gate's MLP (default: 256)."}
    )
    num_classifier_layers: int | None = field(
        default=None, metadata={"help": "Linear layers of the classifier, 2 or 1 (default: 2)."}
    )
    hidden_dropout_prob: float | None = field(
        default=None, metadata={"help": "Dropout of sublayers and classifier (default: 0.2)."}
    )
    modality_dropout_prob: float | None = field(
        default=None, metadata={"help": "How likely a sample loses one of its two modalities in training (default: 0)."}
    )
    feature_dropout_prob: float | None = field(default=None, metadata={"help": "Dropout on the features (default: 0)."})
    standardize_features: bool | None = field(
        default=None,
        metadata={"help": "Standardise the features by the training part's mean and deviation (default: no)."},
    )
    pool_features: bool | None = field(
        default=None, metadata={"help": "Average the features over time in front of the projections (default: no)."}
    )
    gate_reads_distance: bool | None = field(
        default=None,
        metadata={"help": "Let the gate read how far features lie from those of the training part (default: no)."},
    )
    unimodal_loss_weight: float | None = field(
        default=None, metadata={"help": "Weight of the losses of audio alone and of text alone (default: 0)."}
    )
    gate_loss_weight: float | None = field(
        default=None,
        metadata={"help": "Weight of what ties beta to the modality that is right about the sample (default: 0)."},
    )
    noise_prob: float | None = field(
        default=None,
        metadata={"help": "How likely a share of a modality is noise in what gate_loss_weight trains on (default: 0)."},
    )


@dataclass
class TacfnTrainingArguments(TrainingArguments):
    """transformers' `TrainingArguments` with the defaults of this task, and two arguments of its own."""

    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Without effect: the collator picks the columns."}
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
        default=None,
        metadata={"help": "Whether a larger metric_for_best_model is better (default: yes, but for loss and ECE)."},
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
    hub_strategy: str = field(
        default="end", metadata={"help": "With push_to_hub: end pushes once, when everything is there."}
    )
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

    def __post_init__(self):
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = self.metric_for_best_model.removeprefix("eval_") not in ("loss", "ECE")
        super().__post_init__()


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, and defaults."""


def parse_arguments(classes: tuple[type, ...], argv: Sequence[str], description: str | None = None) -> tuple[Any, ...]:
    """
    One instance of each dataclass from a command line: flags, or a JSON file of arguments and flags that override it.
    `--help` prints the description first.

    Raises:
        ValueError: an argument that does not exist, a value that it can't have, or a file that is no JSON.
    """
    argv = list(argv)
    if argv and argv[0].endswith(".json"):
        arguments = read_json(Path(argv[0]))
        if not isinstance(arguments, dict):
            raise ValueError(f"{argv[0]} holds a {type(arguments).__name__}: it must be a JSON object of arguments.")
        argv = [*flags(arguments), *argv[1:]]
    parser = CommandParser(classes, allow_abbrev=False, description=description, formatter_class=HelpFormatter)
    return parser.parse_args_into_dataclasses(argv)


def with_recipe(argv: Sequence[str], default: str | os.PathLike) -> list[str]:
    """
    A command line with the recipe of the JSON file `default` in front, unless it begins with one of its own. What the
    network is made of is left out where it goes on from a checkpoint, whose config has it.
    """
    argv = list(argv)
    if argv and argv[0].endswith(".json"):
        return argv
    recipe = json.loads(Path(default).read_text(encoding="utf-8"))
    if any(argument.split("=")[0] == "--model_name_or_path" for argument in argv):
        recipe = {name: value for name, value in recipe.items() if name not in ModelArguments.__dataclass_fields__}
    return [*flags(recipe), *argv]


def flags(arguments: dict[str, Any]) -> list[str]:
    """The flags of a dict of arguments; None leaves an argument at its default."""
    found = []
    for name, value in arguments.items():
        if value is not None:
            values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            found += [f"--{name}", *(str(item) for item in values)]
    return found


def set_statistics(model: TacfnModel, train: Dataset) -> None:
    """Gives a model with `standardize_features` the statistics of its training part."""
    for column, modality in (("h_a", "audio"), ("h_t", "text")):
        if feature_size(train, column) is None:
            continue
        standardizer = getattr(model, f"{modality}_standardizer")
        standardizer.set_statistics(*map(torch.from_numpy, feature_statistics(train, column)))
        if model.config.gate_reads_distance:
            mean, std = standardizer.mean.double().numpy(), standardizer.std.double().numpy()
            covariance = torch.from_numpy(feature_covariance(train, column, mean, std))
            getattr(model, f"{modality}_distance").set_covariance(covariance)


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


def check_features(dataset: Dataset, config: TacfnConfig, name: str) -> None:
    """
    The dataset's features are those that the model takes.

    Raises:
        ValueError: features of another size or, where both sides say what made them, of another encoder; `name` is what
            the message calls the dataset.
    """
    for column, size_name in (("h_a", "audio_feature_size"), ("h_t", "text_feature_size")):
        wanted = getattr(config, PROVENANCE_COLUMNS[column])
        check_provenance(provenance_of(dataset, column), wanted, f"{column} of {name}", "the model")
        size = feature_size(dataset, column)
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


def build_model(train: Dataset, model_args: ModelArguments, class_weights: str) -> TacfnForSequenceClassification:
    """
    A new network for the features and labels of `train`, or the checkpoint to go on from.

    Raises:
        ValueError: rows of one label only, sizes given beside a checkpoint, or a checkpoint that doesn't fit the
            dataset.
    """
    names = ("model_name_or_path", "processor_name")
    own = {name: value for name, value in vars(model_args).items() if name not in names and value is not None}
    names = train.features["label"].names
    present = np.unique(labels_as(train, names))
    if len(present) == 1:
        raise ValueError(
            f"The training part has only one label, {names[present[0]]}: a classifier learns to tell two or more apart."
        )
    if model_args.model_name_or_path is not None:
        if own:
            raise ValueError(f"{', '.join(own)} can't be given beside model_name_or_path, whose config has them.")
        model = load_model(model_args.model_name_or_path)
        check_features(train, model.config, "the training part")
    else:
        sizes = {
            "audio_feature_size": feature_size(train, "h_a"),
            "text_feature_size": feature_size(train, "h_t"),
        }
        config = TacfnConfig(
            **own,
            **{name: size for name, size in sizes.items() if size is not None},
            audio_provenance=provenance_of(train, "h_a"),
            text_provenance=provenance_of(train, "h_t"),
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
            problem_type="single_label_classification",
        )
        model = TacfnForSequenceClassification(config)
        if config.standardize_features:
            set_statistics(model.model, train)
    label_names = label_names_of(model.config)
    labels = labels_as(train, label_names)
    model.config.class_weights = balanced_class_weights(labels, label_names) if class_weights == "balanced" else None
    return model


def load_processor(name_or_path: str, config: TacfnConfig) -> TacfnProcessor:
    """
    The processor that goes with a model.

    Raises:
        ValueError: a processor that makes other features than those that the model was trained on.
    """
    processor = TacfnProcessor.from_pretrained(name_or_path)
    for name in PROVENANCE_COLUMNS.values():
        source = f"the processor {name_or_path}"
        check_provenance(getattr(processor, name), getattr(config, name), source, "the model")
    return processor


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


def full_metrics(
    logits: np.ndarray,
    beta: np.ndarray,
    labels: np.ndarray,
    label_names: Sequence[str],
    temperature: float | np.ndarray,
) -> dict[str, Any]:
    """
    The result of `EmotionMetric` for `logits [N, C]`, `beta [N, 1]` and `labels [N]`, with `ECE`, the expected
    calibration error of `class_scores(logits, temperature)` as a fraction, with `beta_mean` and `beta_std`, and with
    `beta_mean` for each class of the references (None where a class has no row).
    """
    # In memory: several processes may compute at the same time.
    result = EmotionMetric(keep_in_memory=True).compute(
        predictions=logits.argmax(axis=-1), references=labels, label_names=list(label_names)
    )
    beta = beta[:, 0].astype(np.float64)
    for i, row in enumerate(result["per_class"]):
        row["beta_mean"] = float(beta[labels == i].mean()) if row["support"] else None
    error = expected_calibration_error(class_scores(logits, temperature), labels)
    return {**result, "ECE": error, "beta_mean": float(beta.mean()), "beta_std": float(beta.std())}


# Arguments of transformers that do not go with features or with the loss of the model: which values, and why not.
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "label_smoothing_factor": (lambda value: not 0 <= value <= 1, "give a share from 0 to 1"),
    "neftune_noise_alpha": (
        lambda value: value is not None,
        "it is noise for embeddings of tokens, which this model does not have; noise for features is noise_prob",
    ),
    "use_liger_kernel": (bool, "there are no such kernels for this model; leave it out"),
    "gradient_checkpointing_kwargs": (
        lambda value: (value or {}).get("use_reentrant"),
        "layers behind features without a projection would get no gradient; give use_reentrant false",
    ),
    "deepspeed": (bool, "it gives features its own precision before they are standardised; train without it"),
    "bf16_full_eval": (bool, "the model would be rounded when it is evaluated, and saved so; give bf16 instead"),
    "fp16_full_eval": (bool, "the model would be rounded when it is evaluated, and saved so; give fp16 instead"),
    "label_names": (
        lambda value: value is not None and list(value) != ["labels"],
        "the collator calls the labels of a batch labels; leave it out",
    ),
    "prediction_loss_only": (bool, "there would be no predictions and no metrics; leave it out"),
    "batch_eval_metrics": (bool, "the metrics are those of all rows together; leave it out"),
    "eval_do_concat_batches": (lambda value: not value, "the metrics are those of all rows together; leave it out"),
    "include_for_metrics": (
        lambda value: "inputs" in value,
        "the metrics do not read the inputs, and a batch may lack audio; leave inputs out",
    ),
    "include_num_input_tokens_seen": (
        lambda value: value != "no",
        "the inputs are features, and their numbers would be counted as tokens; leave it out",
    ),
    "debug": (lambda value: "underflow_overflow" in value, "it fails at masks, which are boolean; leave it out"),
}


# What every evaluation gives.
BEST_BY = ("UA", "WA", "wF1", "macro_F1", "ECE", "loss")


def check_arguments(args: TrainingArguments) -> None:
    """
    The arguments go with features, with the loss of the model and with the metrics.

    Raises:
        ValueError: one that does not, by its name.
    """
    values = args.to_dict()  # enums as text
    for name, (is_refused, reason) in REFUSED.items():
        if is_refused(values[name]):
            raise ValueError(f"{name} is {values[name]}: {reason}.")
    if args.gradient_accumulation_steps < 1:
        raise ValueError(f"gradient_accumulation_steps is {args.gradient_accumulation_steps}: it must be at least 1.")
    metric = args.metric_for_best_model
    if metric is not None and metric.removeprefix("eval_") not in BEST_BY:
        raise ValueError(f"metric_for_best_model is {metric!r}: it must be one of {', '.join(BEST_BY)}.")
    if values["lr_scheduler_type"] in ("reduce_lr_on_plateau", "greedy") and args.greater_is_better:
        if (args.lr_scheduler_kwargs or {}).get("mode") != "max":
            raise ValueError(
                f"lr_scheduler_type is {values['lr_scheduler_type']}, which takes a smaller "
                f"{args.metric_for_best_model} for a better one: give "
                '--lr_scheduler_kwargs \'{"mode": "max"}\'.'
            )


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


def run_training(
    data_args: DataArguments,
    model_args: ModelArguments,
    args: TacfnTrainingArguments,
    about: dict[str, Any],
    checkpoint: str | None = None,
    quiet: bool = False,
) -> dict[str, dict[str, Any]]:
    """
    Trains on the training part, selects on the validation part, and evaluates on that and the test part. Everything
    that depends on chance starts from `args.seed`. Call it in every process.

    Where there is a validation part, the config's temperatures are fitted on it after training. Its own ECE therefore
    flatters; that of the test part is the one that counts. Without a validation part they stay as they are.

    Writes into `args.output_dir` the model, the processor that made the features where there is one, and the files of
    `write_results`, and the model card with its pictures. metrics.json also says whether beta tells the truth on the
    test part (or else the validation part), as `measure_gate_truth` has it.

    Args:
        about: what else "about" of metrics.json is to say.
        checkpoint: the folder of a checkpoint to go on from.
        quiet: without the Trainer's progress bars and lines.

    Returns:
        The metrics of "valid" and "test", those that there are.

    Raises:
        ValueError: data, model and arguments that do not fit each other.
    """
    parts = split_dataset(open_dataset(data_args.dataset), data_args)
    if "train" not in parts:
        raise ValueError(f"The dataset {data_args.dataset} has no training part: it has {', '.join(parts)}.")
    set_seed(args.seed)
    model = build_model(parts["train"], model_args, args.class_weights)
    for name, part in parts.items():
        check_features(part, model.config, f"the {name} part")
    processor_name = model_args.processor_name or processor_of(data_args.dataset)
    processor = None if processor_name is None else load_processor(processor_name, model.config)
    if args.push_to_hub and processor is None:
        raise ValueError(
            f"push_to_hub needs the processor, and the dataset {data_args.dataset} has none beside it: name one with "
            "processor_name."
        )
    parts = {name: match_labels(part, label_names_of(model.config)) for name, part in parts.items()}
    trainer = build_trainer(model, args, parts)
    if quiet:
        trainer.remove_callback(ProgressCallback)
        trainer.remove_callback(PrinterCallback)
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    fitted = "valid" in parts and model.config.problem_type in (None, "single_label_classification")
    if fitted:
        calibrate(trainer, parts["valid"])
    trainer.save_model(args.output_dir, _internal_call=True)  # without pushing what is not complete yet
    metrics, tables = {}, {}
    for name in ("valid", "test"):
        if name in parts:
            metrics[name], tables[name] = evaluate_split(trainer, parts[name])
    if trainer.is_world_process_zero():
        if processor is not None:
            processor.save_pretrained(args.output_dir)
        about = {
            **about,
            "dataset": data_args.dataset,
            "fingerprints": {name: part._fingerprint for name, part in parts.items()},
            "rows": {name: len(part) for name, part in parts.items()},
            "label_names": label_names_of(model.config),
            "seed": args.seed,
            "split_seed": data_args.split_seed,
            "num_parameters": model.num_parameters(),
            **{name: getattr(model.config, name) for name in TEMPERATURES},
            "temperature_fitted_on": "valid" if fitted else None,
            "gate_truth": None,
            "world_size": args.world_size,
            "epochs": trainer.state.epoch,
            "training_loss": trained.training_loss,
            "training_seconds": round(trained.metrics["train_runtime"], 1),
            "device": torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else args.device.type,
            "changed_arguments": changed_arguments(
                {**asdict(data_args), **asdict(model_args), **args.to_dict()},
                *(type(given) for given in (data_args, model_args, args)),
            ),
            **describe_data(parts),
        }
        part = next((name for name in ("test", "valid") if name in metrics), None)
        if part is not None and complete_rows(parts[part]).sum() > 1:
            about["gate_truth"] = {"part": part, **measure_gate_truth(model, parts[part])}
        write_results(args.output_dir, metrics, tables, about)
        write_card(args.output_dir, repo_id=args.hub_model_id)
        if args.push_to_hub:
            repo_id = args.hub_model_id or Path(args.output_dir).name
            push_checkpoint(args.output_dir, repo_id, private=args.hub_private_repo, token=args.hub_token)
    return metrics


def calibrate(trainer: Trainer, dataset: Dataset) -> None:
    """
    Fits the temperatures of the config of the trainer's model on a dataset: `temperature` on the rows that have both
    modalities (or on all, where none has), `audio_temperature` on those that have audio, without their text, and
    `text_temperature` likewise. One that has no rows becomes None. Call it in every process.
    """

    def fitted(rows: Dataset) -> float:
        output = trainer.predict(rows)
        return fit_temperature(output.predictions[0], output.label_ids)

    config, complete = trainer.model.config, complete_rows(dataset)
    config.temperature = fitted(dataset.select(np.flatnonzero(complete)) if complete.any() else dataset)
    for name, kept, hidden in (("audio_temperature", "h_a", "h_t"), ("text_temperature", "h_t", "h_a")):
        rows = dataset.select(np.flatnonzero(rows_with(dataset, kept)))
        rows = rows.select_columns([column for column in rows.column_names if column != hidden])
        setattr(config, name, fitted(rows) if len(rows) else None)


def evaluate_split(
    trainer: Trainer, dataset: Dataset, shared: Sequence[str] | None = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """
    Predicts a dataset with the trainer's model. Call it in every process. With `shared`, of the model's labels only
    these can be predicted.

    Returns:
        The result of `full_metrics`, and a table with one row per sample: `id`, `label` and `prediction` as names,
        `score_<name>` (softmax of logits / temperature, that of the row's modalities) for each class, and `beta`.
    """
    label_names = label_names_of(trainer.model.config)
    # Rows of a like length share a batch, which has little padding then; no result depends on its batch.
    order = np.argsort(feature_lengths(dataset), kind="stable")
    output = trainer.predict(dataset.select(order))
    place = np.argsort(order)
    logits, beta = (values[place] for values in output.predictions)
    labels = output.label_ids[place]
    if shared is not None:
        kept = [label_names.index(name) for name in shared]
        logits, labels, label_names = logits[:, kept], np.array([kept.index(label) for label in labels]), list(shared)
    # As beta would have it, but by what is there: a model without a gate has no beta.
    alone = np.where(rows_with(dataset, "h_t"), np.where(rows_with(dataset, "h_a"), np.nan, 0), 1)
    temperature = trainer.model.config.temperature_of(alone)
    scores = class_scores(logits, temperature)
    table = pd.DataFrame(
        {
            "id": dataset.with_format(None)["id"][:],
            "label": [label_names[i] for i in labels],
            "prediction": [label_names[i] for i in logits.argmax(axis=-1)],
            **{f"score_{name}": scores[:, i] for i, name in enumerate(label_names)},
            "beta": beta[:, 0],
        }
    )
    return full_metrics(logits, beta, labels, label_names, temperature), table


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
    output_dir: str | os.PathLike,
    metrics: dict[str, dict[str, Any]],
    tables: dict[str, pd.DataFrame],
    about: dict[str, Any],
) -> None:
    """
    Writes `predictions.parquet` (the tables of all parts, the part in a column `split`) and, last and whole,
    `metrics.json` (a part's metrics under its name, what the result depends on under "about").
    """
    os.makedirs(output_dir, exist_ok=True)
    if tables:
        table = pd.concat([table.assign(split=name) for name, table in tables.items()], ignore_index=True)
        table.to_parquet(os.path.join(output_dir, "predictions.parquet"), index=False)
    write_json(Path(output_dir, "metrics.json"), {**metrics, "about": {**about, "versions": versions()}})


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
