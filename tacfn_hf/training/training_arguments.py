"""`TrainingArguments` with the defaults of this task, and which of its arguments are refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from ..features.targets import CLASSES, SEVERAL, VALUES
from .arguments import FineTuningOptions, TrainingOptions


@dataclass
class TacfnTrainingArguments(TrainingOptions, TrainingArguments):
    """transformers' `TrainingArguments` with the options and defaults of `TrainingOptions`."""

    def __post_init__(self):
        off = [n for n in ("eval_strategy", "save_strategy") if getattr(self, n) in ("no", IntervalStrategy.NO)]
        if self.load_best_model_at_end and len(off) == 1:
            raise ValueError(
                f"{off[0]} is no, and the best model can't be loaded at the end: also give "
                "--load_best_model_at_end false, which keeps the last one."
            )
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = self.metric_for_best_model.removeprefix("eval_") not in SMALLER_IS_BETTER
        super().__post_init__()


@dataclass
class TacfnFineTuningArguments(FineTuningOptions, TacfnTrainingArguments):
    """`TacfnTrainingArguments` with the defaults of fine-tuning."""


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
    "eval_use_gather_object": (bool, "of the last batch it would cut the outputs instead of the rows; leave it out"),
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


# What every evaluation gives, by the model's problem_type.
BEST_BY = {
    CLASSES: ("UA", "WA", "wF1", "macro_F1", "ECE", "loss"),
    SEVERAL: ("macro_F1", "micro_F1", "weighted_accuracy", "mAP", "ECE", "loss"),
    VALUES: ("CCC", "pearson", "MAE", "RMSE", "loss"),
}
SMALLER_IS_BETTER = ("loss", "ECE", "MAE", "RMSE")


def check_arguments(args: TrainingArguments, problem_type: str = CLASSES) -> None:
    """
    The arguments go with features, with the loss of a model of this `problem_type` and with its metrics.

    Raises:
        ValueError: one that does not, by its name.
    """
    values = args.to_dict()  # enums as text
    for name, (is_refused, reason) in REFUSED.items():
        if is_refused(values[name]):
            raise ValueError(f"{name} is {values[name]}: {reason}.")
    if args.n_gpu > 1:
        raise ValueError(
            f"There are {args.n_gpu} GPUs, and one process: choose one with --device cuda:0, or start a process for "
            "each with accelerate launch."
        )
    if args.gradient_accumulation_steps < 1:
        raise ValueError(f"gradient_accumulation_steps is {args.gradient_accumulation_steps}: it must be at least 1.")
    for name in ("unimodal_loss_weight", "gate_loss_weight"):
        if getattr(args, name, 0) < 0:
            raise ValueError(f"{name} is {getattr(args, name)}: it must be at least 0.")
    if not 0 <= getattr(args, "noise_prob", 0) <= 1:
        raise ValueError(f"noise_prob is {args.noise_prob}: it must be in [0, 1].")
    metric = args.metric_for_best_model
    names = BEST_BY[problem_type]
    if metric is not None and metric.removeprefix("eval_") not in names:
        raise ValueError(f"metric_for_best_model is {metric!r}: it must be one of {', '.join(names)}.")
    if args.label_smoothing_factor and problem_type != CLASSES:
        raise ValueError(
            f"label_smoothing_factor is {args.label_smoothing_factor}, but problem_type is {problem_type}: only single "
            "labels can be smoothed."
        )
    by_ccc = problem_type == VALUES and getattr(args, "regression_loss", None) == "ccc"
    if by_ccc and args.gradient_accumulation_steps > 1:
        raise ValueError(
            f"gradient_accumulation_steps is {args.gradient_accumulation_steps}, but CCC is one of all rows of a step: "
            "give a larger per_device_train_batch_size, or regression_loss mse."
        )
    if by_ccc and args.train_batch_size * args.world_size < 2:
        raise ValueError(
            "per_device_train_batch_size is 1, and one row has no CCC: give a larger one, or regression_loss mse."
        )
    if metric is not None:
        greater = metric.removeprefix("eval_") not in SMALLER_IS_BETTER
        if bool(args.greater_is_better) is not greater:
            better, given = ("larger", "true") if greater else ("smaller", "false")
            raise ValueError(
                f"greater_is_better is {args.greater_is_better}, but a {better} {metric} is better: give {given}."
            )
    if values["lr_scheduler_type"] in ("reduce_lr_on_plateau", "greedy") and args.greater_is_better:
        if (args.lr_scheduler_kwargs or {}).get("mode") != "max":
            raise ValueError(
                f"lr_scheduler_type is {values['lr_scheduler_type']}, which takes a smaller "
                f"{args.metric_for_best_model} for a better one: give "
                '--lr_scheduler_kwargs \'{"mode": "max"}\'.'
            )
