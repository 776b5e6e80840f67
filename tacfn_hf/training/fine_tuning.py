"""One run that tunes the encoders together with the fusion network, from rows of audio and text to a checkpoint."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset, DatasetDict
from transformers import set_seed
from transformers.utils import SAFE_WEIGHTS_NAME

from ..evaluation.predictions import PARTITION
from ..evaluation.record import SPLIT_ARGUMENTS
from ..features.arguments import DataArguments
from ..features.labels import label_names_of
from ..features.raw_collation import TacfnRawDataCollator
from ..features.raw_rows import encoded_rows, usable_rows
from ..features.targets import with_targets
from ..features.tuned_rows import check_uses, keys_in, uses_of, with_rows
from ..model.modalities_tacfn import MODALITIES
from ..model.modeling_dual_encoder_tacfn import TacfnDualEncoderForSequenceClassification
from ..model.processing_tacfn import TacfnProcessor
from ..writing import read_json
from .arguments import CrossValidationArguments, FineTuningArguments
from .cross_validation import REPORT, check_arguments, only_part, run_folder, run_folds
from .run import check_best_metric, finish_run, make_quiet, parts_to_train
from .setup import check_target, load_model, load_processor
from .trainable import add_lora, freeze, learning_rates
from .trainer import build_trainer
from .training_arguments import TacfnTrainingArguments


ADAPTER = "adapter"  # the folder of the adapters, beside the model that has them merged into its weights


def fine_tune(
    dataset: Dataset | DatasetDict,
    data_args: DataArguments,
    tuning_args: FineTuningArguments,
    args: TacfnTrainingArguments,
    about: dict[str, Any],
    checkpoint: str | None = None,
    quiet: bool = False,
    skip_bad_files: bool = False,
    truncation: bool = False,
) -> dict[str, dict[str, Any]]:
    """
    Tunes a model on the training part of rows of audio and text, and leaves what `run_training` leaves. Adapters are
    also left by themselves, in the folder "adapter".

    Args:
        dataset: rows of audio and text from `rows_to_encode`.
        about, checkpoint, quiet: as in `run_training`.
        skip_bad_files, truncation: see `usable_rows`.

    Returns:
        The metrics of "valid" and "test", those that there are.

    Raises:
        ValueError: rows, model and arguments that do not fit each other, or what `check_partition` and
            `check_tuned_rows` refuse.
    """
    parts = parts_to_train(dataset, data_args, with_features=False)
    name = tuning_args.model_name_or_path
    check_partition(name, parts)
    set_seed(args.seed)
    model = load_model(name)
    processor = load_processor(name, model.config)
    check_target(model.config, data_args)
    if not isinstance(model, TacfnDualEncoderForSequenceClassification):
        model = TacfnDualEncoderForSequenceClassification.from_fusion(model, processor, tuning_args.learn_layer_weights)
    elif tuning_args.learn_layer_weights and not model.config.learn_layer_weights:
        raise ValueError("learn_layer_weights is given, but the model was tuned before, without them.")
    processor = processor.from_model(model)
    freeze(model, tuning_args)
    tuned = model if tuning_args.lora_rank is None else add_lora(model, tuning_args)
    parts = with_targets(parts, label_names_of(model.config), data_args)
    parts = usable_rows(parts, processor, skip_bad_files, truncation)
    if processor.tuned_rows is not None:
        uses = {of: uses_of(keys_in(part), processor.tuned_rows) for of, part in parts.items()}
        check_uses(parts, uses, allow_tuned_rows=True)  # in training: to tune on
    note_tuning(model, processor, parts, data_args.dataset)
    collator = TacfnRawDataCollator(processor, tuning_args.crop_seconds or None, truncation)
    rates = learning_rates(tuned, tuning_args, args.learning_rate)
    trainer = build_trainer(tuned, args, parts, collator, rates)
    if quiet:
        make_quiet(trainer)
    if checkpoint is not None:
        check_best_metric(checkpoint, args)
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    if tuning_args.lora_rank is not None:
        if trainer.is_world_process_zero():
            save_adapter(tuned, os.path.join(args.output_dir, ADAPTER))
        trainer.model = model = tuned.merge_and_unload()
    processor = processor.from_model(model)  # which has a hash of the weights
    # Now, since an error in what follows should not cost the training; it is saved again when it is calibrated.
    trainer.save_model(args.output_dir, _internal_call=True)
    if trainer.is_world_process_zero():
        processor.save_pretrained(args.output_dir)
    whole = TacfnRawDataCollator(processor, truncation=truncation)
    features = {
        name: encoded_rows(part, whole, os.path.join(args.output_dir, f"encoded-{name}"))
        for name, part in parts.items()
        if name != "train"
    }
    evaluator = build_trainer(model, args, features)
    about = {"command": "tacfn fine-tune", "layer_weights": layer_weights(model), **about}
    return finish_run(trainer, trained, parts, processor, (data_args, tuning_args, args), about, evaluator, features)


def tune_folds(
    dataset: Dataset | DatasetDict,
    data_args: DataArguments,
    tuning_args: FineTuningArguments,
    args: TacfnTrainingArguments,
    after_run: Callable[[Path], object] = lambda folder: None,
    **reading: bool,
) -> dict[str, Any]:
    """
    Tunes each model of a cross-validation on the rows that it was trained on, and leaves what `cross_validate` leaves.

    Args:
        dataset: as in `fine_tune`, in one part.
        data_args: what they say of the partition must be what the cross-validation had, or be left out.
        tuning_args: whose `model_name_or_path` is the folder of `cross_validate`.
        after_run: as in `cross_validate`.
        reading: `skip_bad_files` and `truncation` of `fine_tune`.

    Raises:
        ValueError: as `fine_tune` and `cross_validate`, or a partition that is another one.
    """
    folder = Path(tuning_args.model_name_or_path)
    earlier = read_json(folder / REPORT)
    given = {}
    for name in set(SPLIT_ARGUMENTS) - {"dataset", "test_groups"}:
        value, default = getattr(data_args, name), getattr(DataArguments, name)
        before = earlier["settings"].get(name, default)
        if value not in (default, before):
            raise ValueError(f"{name} is {value}, and was {before} in {folder}: leave it out.")
        given[name] = before
    data_args = replace(data_args, **given)
    folds = {name: fold["test_groups"] for name, fold in earlier["folds"].items()}
    seeds = [int(seed) for seed in earlier["pooled"]["seeds"]]
    if args.seed != TacfnTrainingArguments.seed:
        raise ValueError(f"seed is {args.seed}: the seeds are those of {folder}; leave it out.")
    check_arguments(data_args, args, CrossValidationArguments(seeds=seeds))
    rows = only_part(dataset)

    def run(fold: str, seed: int, *arguments: Any) -> None:
        fold_args, run_args, about = arguments
        of_fold = replace(tuning_args, model_name_or_path=str(run_folder(folder, fold, seed)))
        fine_tune(rows, fold_args, of_fold, run_args, about, quiet=True, **reading)

    weights = hashlib.sha256()
    for fold in folds:
        for seed in seeds:
            with open(run_folder(folder, fold, seed) / SAFE_WEIGHTS_NAME, "rb") as file:
                weights.update(hashlib.file_digest(file, "sha256").digest())
    arguments, more = (data_args, tuning_args, args), {"weights": weights.hexdigest(), **reading}
    return run_folds(rows, folds, seeds, arguments, run, after_run, with_features=False, more_settings=more)


def note_tuning(
    model: TacfnDualEncoderForSequenceClassification,
    processor: TacfnProcessor,
    parts: dict[str, Dataset],
    dataset: str,
) -> None:
    """
    Writes into the provenance of the encoders that are tuned, also by adapters in them, what they are tuned on, and
    into the processor which rows these are.
    """
    what = f"{os.path.basename(os.path.normpath(dataset))}, {len(parts['train'])} rows"
    encoders = {modality: getattr(model, f"{modality.name}_encoder") for modality in MODALITIES}
    tuned = [of for of, encoder in encoders.items() if any(p.requires_grad for p in encoder.parameters())]
    for modality in tuned:
        made = getattr(model.config, modality.provenance) or {}
        setattr(model.config, modality.provenance, {**made, "tuned_on": [*made.get("tuned_on", ()), what]})
    if tuned:
        processor.tuned_rows = with_rows(processor.tuned_rows, parts)


def save_adapter(model: Any, folder: str) -> None:
    """Saves the adapters and the fusion network of a `PeftModel`, without the place of its base on this machine."""
    (config,) = model.peft_config.values()
    if os.path.isdir(config.base_model_name_or_path or ""):
        config.base_model_name_or_path = Path(config.base_model_name_or_path).resolve().name
    model.save_pretrained(folder, save_embedding_layers=False)  # which no adapter changes
    Path(folder, "README.md").unlink(missing_ok=True)  # a form that nobody has filled in


def layer_weights(model: TacfnDualEncoderForSequenceClassification) -> dict[str, dict[str, float]] | None:
    """By modality, the weight of each layer by its index; None where none were learned."""
    found = {}
    for modality in MODALITIES:
        encoder = getattr(model, f"{modality.name}_encoder")
        if encoder.layer_mix is not None:
            weights = encoder.layer_mix.weight.softmax(dim=0).tolist()
            found[modality.name] = {str(layer): round(weight, 4) for layer, weight in zip(encoder.layers, weights)}
    return found or None


def check_partition(name: str, parts: dict[str, Dataset]) -> None:
    """
    The rows are divided as they were for the model in a folder, as far as they are the same.

    Raises:
        ValueError: a training row that it was tested on; a test row that it was trained or validated on; a validation
            row that it was trained on.
    """
    path = Path(name, PARTITION)
    if not path.is_file():
        return  # a model of the Hub, or of an older version
    table = pd.read_parquet(path)
    before = dict(zip(table["id"], table["part"]))
    refused = {"train": ("test",), "valid": ("train",), "test": ("train", "valid")}
    for part, rows in parts.items():
        wrong = [row_id for row_id in rows.with_format(None)["id"][:] if before.get(row_id) in refused[part]]
        if wrong:
            raise ValueError(
                f"{len(wrong)} rows of the {part} part, such as {wrong[0]!r}, were in the {before[wrong[0]]} part of "
                f"{name}: give the groups or fractions and the split_seed that it was trained with."
            )
