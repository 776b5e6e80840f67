"""One training run, from a dataset of features to a checkpoint with its results."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from scipy.special import expit
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from ..corpora.dataset_opening import open_dataset
from ..evaluation.calibration import fit_temperature
from ..evaluation.gate import measure_gate_truth
from ..evaluation.predictions import evaluate_split, write_partition
from ..evaluation.record import RECORD, RunRecord, changed_arguments, describe_data
from ..evaluation.several_labels import fit_thresholds
from ..features.arguments import DataArguments
from ..features.extraction import processor_of
from ..features.labels import label_names_of
from ..features.shapes import complete_rows, rows_with
from ..features.splits import split_dataset
from ..features.targets import CLASSES, SEVERAL, VALUES, with_targets
from ..features.votes import has_votes, vote_shares
from ..model.modalities_tacfn import MODALITIES
from ..model.processing_tacfn import TacfnProcessor
from .arguments import ModelArguments
from .setup import build_model, check_features, few_threads, load_processor
from .trainer import build_trainer
from .training_arguments import TacfnTrainingArguments


logger = logging.get_logger(__name__)


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

    Where there is a validation part, the config's temperatures (of several labels the thresholds) are fitted on it
    after training. Its own ECE therefore flatters; that of the test part is the one that counts. Without a validation
    part they stay as they are.

    Writes into `args.output_dir` the model, the processor that made the features where there is one, metrics.json with
    the `RunRecord`, predictions.parquet, and partition.parquet, which says the part of each row. Where one class is
    learned, what beta is worth is measured on the test part, or else the validation part.

    Args:
        about: fields of the `RunRecord` that the caller knows, such as "arguments".
        checkpoint: the folder of a checkpoint to go on from.
        quiet: without the Trainer's progress bars and lines.

    Returns:
        The metrics of "valid" and "test", those that there are.

    Raises:
        ValueError: data, model and arguments that do not fit each other.
    """
    parts = parts_to_train(open_dataset(data_args.dataset), data_args)
    set_seed(args.seed)
    processor_name = model_args.processor_name or processor_of(data_args.dataset)
    model = build_model(parts["train"], model_args, processor_name, data_args)
    for name, part in parts.items():
        check_features(part, model.config, f"the {name} part")
    processor = None if processor_name is None else load_processor(processor_name, model.config)
    if args.push_to_hub and processor is None:
        raise ValueError(
            f"push_to_hub needs the processor, and the dataset {data_args.dataset} has none beside it: name one with "
            "processor_name."
        )
    parts = with_targets(parts, label_names_of(model.config), data_args)
    trainer = build_trainer(model, args, parts)
    if quiet:
        make_quiet(trainer)
    if checkpoint is not None:
        check_best_metric(checkpoint, args)
    with few_threads(model.config):
        trained = trainer.train(resume_from_checkpoint=checkpoint)
        return finish_run(trainer, trained, parts, processor, (data_args, model_args, args), about)


def parts_to_train(
    dataset: Dataset | DatasetDict, data_args: DataArguments, with_features: bool = True
) -> dict[str, Dataset]:
    """`split_dataset`, of which there must be a training part."""
    parts = split_dataset(dataset, data_args, with_features)
    if "train" not in parts:
        raise ValueError(f"The dataset {data_args.dataset} has no training part: it has {', '.join(parts)}.")
    return parts


def make_quiet(trainer: Trainer) -> None:
    """Takes the progress bars and lines of a trainer away."""
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)


def finish_run(
    trainer: Trainer,
    trained: TrainOutput,
    parts: dict[str, Dataset],
    processor: TacfnProcessor | None,
    arguments: tuple[Any, ...],
    about: dict[str, Any],
    evaluator: Trainer | None = None,
    evaluated: dict[str, Dataset] | None = None,
) -> dict[str, dict[str, Any]]:
    """
    Calibrates and tests a trained model, and writes all that `run_training` says.

    Args:
        trainer, trained: what has trained, and the result of its `train`.
        parts: the rows of "train" and the other parts.
        arguments: those of the data, of the model and of the training.
        about: see `run_training`.
        evaluator, evaluated: where the parts are no rows of features, a trainer for these, and their features; of
            "valid" and "test", those that there are.
    """
    data_args, model_args, args = arguments
    model = trainer.model
    evaluator, evaluated = evaluator or trainer, parts if evaluated is None else evaluated
    kind = model.config.problem_type or CLASSES
    fitted = "valid" in parts and kind == CLASSES
    if "valid" in parts:
        calibrate(evaluator, evaluated["valid"], data_args.target)
    trainer.save_model(args.output_dir, _internal_call=True)  # without pushing what is not complete yet
    metrics, tables = {}, {}
    for name in ("valid", "test"):
        if name in parts:
            metrics[name], tables[name] = evaluate_split(evaluator, evaluated[name], value_range=data_args.target_range)
    # Blocks that are sharded over processes can be computed by all of them together alone.
    part = next((name for name in ("test", "valid") if name in metrics), None)
    gate_truth = None
    if part is not None and kind == CLASSES and (trainer.is_fsdp_enabled or trainer.is_world_process_zero()):
        if complete_rows(evaluated[part]).sum() > 1:
            gate_truth = {"part": part, **measure_gate_truth(model, evaluated[part])}
    if trainer.is_world_process_zero():
        if processor is not None:
            processor.save_pretrained(args.output_dir)
        record = RunRecord(
            metrics=metrics,
            dataset=data_args.dataset,
            fingerprints={name: part._fingerprint for name, part in parts.items()},
            rows={name: len(part) for name, part in parts.items()},
            label_names=label_names_of(model.config),
            problem_type=kind,
            seed=args.seed,
            split_seed=data_args.split_seed,
            num_parameters=model.num_parameters(),
            temperatures=model.config.temperatures,
            temperature_fitted_on="valid" if fitted else None,
            gate_truth=gate_truth,
            world_size=args.world_size,
            best_by=args.metric_for_best_model if chose_best(trainer) else None,
            epochs=trainer.state.epoch,
            training_loss=trained.training_loss,
            training_seconds=round(trained.metrics["train_runtime"], 1),
            device=torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else args.device.type,
            changed_arguments=changed_arguments(
                {**asdict(data_args), **asdict(model_args), **args.to_dict()}, *map(type, arguments)
            ),
            **describe_data(parts),
            **about,
        )
        write_partition(args.output_dir, parts)
        record.write(args.output_dir, tables)
    return metrics


def check_best_metric(checkpoint: str, args: TrainingArguments) -> None:
    """The best value so far of the checkpoint is one of `metric_for_best_model`, or a ValueError says so."""
    state = TrainerState.load_from_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
    if args.metric_for_best_model is None or state.best_metric is None:
        return
    name = "eval_" + args.metric_for_best_model.removeprefix("eval_")
    if state.best_metric not in [entry.get(name) for entry in state.log_history]:
        raise ValueError(
            f"metric_for_best_model is {args.metric_for_best_model}, and the best value so far in {checkpoint}, "
            f"{state.best_metric}, is of another metric: go on with the metric that it was trained with."
        )


def chose_best(trainer: Trainer) -> bool:
    """Whether the trainer ended with the best checkpoint, and not with the last model for want of an evaluation."""
    return trainer.args.load_best_model_at_end and trainer.state.best_model_checkpoint is not None


def calibrate(trainer: Trainer, dataset: Dataset, target: str = "label") -> None:
    """
    Fits the temperatures of the config of the trainer's model on a dataset: that of both modalities on the rows that
    have both (on all, where none has), that of audio on the rows that have audio, without their text, and that of text
    likewise. Where there are no such rows it is that of both. With the target "votes" they are fitted to the votes of
    the rows that have some. Of a model for several labels the thresholds are fitted instead, see `fit_thresholds`, and
    of one for values nothing. Call it in every process.
    """
    config = trainer.model.config
    if config.problem_type == SEVERAL:
        output = trainer.predict(dataset)
        config.thresholds = fit_thresholds(expit(output.predictions[0]), output.label_ids)
    if config.problem_type in (SEVERAL, VALUES):
        return
    label_names = label_names_of(config)
    if target == "votes":
        there = has_votes(dataset, label_names)
        voted = np.flatnonzero(~np.isnan(vote_shares(dataset, label_names)[:, 0])) if there else []
        if len(voted):
            dataset = dataset.select(voted)
        else:
            target = "label"
            logger.warning_once("No validation row has votes: temperatures are fitted to the labels of these rows.")

    def fitted(rows: Dataset) -> float:
        output = trainer.predict(rows)
        logits, labels = output.predictions[0], output.label_ids
        if target == "label" and (logits.argmax(axis=-1) == labels).all():
            logger.warning_once(
                f"All {len(labels)} validation rows are predicted right: no temperature can be fitted on them, and "
                "scores are not calibrated."
            )
        return fit_temperature(logits, labels if target == "label" else vote_shares(rows, label_names))

    complete = complete_rows(dataset)
    temperatures = {"both": fitted(dataset.select(np.flatnonzero(complete)) if complete.any() else dataset)}
    for kept, hidden in (MODALITIES, MODALITIES[::-1]):
        rows = dataset.select(np.flatnonzero(rows_with(dataset, kept.features)))
        rows = rows.select_columns([column for column in rows.column_names if column != hidden.features])
        temperatures[kept.name] = fitted(rows) if len(rows) else temperatures["both"]
    config.temperatures = temperatures


def check_shared_folder(args: TrainingArguments) -> None:
    """
    `output_dir` is one folder that the processes of all machines share, or a ValueError says so: each of them loads the
    best checkpoint from it.
    """
    if args.world_size == 1:
        return
    sign = Path(args.output_dir, ".shared")
    if args.process_index == 0:
        sign.parent.mkdir(parents=True, exist_ok=True)
        sign.touch()
    args.distributed_state.wait_for_everyone()
    seen = sign.exists()
    args.distributed_state.wait_for_everyone()
    if args.process_index == 0:
        sign.unlink()
    if not seen:
        raise ValueError(
            f"output_dir {args.output_dir} is another folder on this machine than on the first one: give a folder that "
            "all machines share."
        )


def check_output_dir(args: TrainingArguments) -> None:
    """`output_dir` holds no model and no checkpoint yet, unless training resumes, or a ValueError says so."""
    if args.resume_from_checkpoint is not None or not os.path.isdir(args.output_dir):
        return
    for name in sorted(os.listdir(args.output_dir)):
        if name in ("model.safetensors", RECORD) or name.startswith("checkpoint-"):
            raise ValueError(
                f"output_dir {args.output_dir} already holds {name} of an earlier run: choose another folder, or, to "
                "go on with a training, give --resume_from_checkpoint."
            )
