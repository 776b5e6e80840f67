"""One run that tunes the encoders together with the fusion network, from rows of audio and text to a checkpoint."""

import os
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from tqdm.auto import tqdm
from transformers import set_seed

from ..evaluation.predictions import PREDICTIONS, read_predictions
from ..features.arguments import DataArguments
from ..features.arrow_layout import feature_of, nested_array
from ..features.extraction import prepare_rows
from ..features.labels import label_names_of, match_labels
from ..features.raw_collation import TacfnRawDataCollator
from ..features.splits import split_dataset
from ..model.modeling_dual_encoder_tacfn import TacfnDualEncoderForSequenceClassification
from ..model.processing_tacfn import TacfnProcessor
from ..model.utterances_tacfn import is_blank
from .arguments import FineTuningArguments
from .run import check_best_metric, finish_run
from .setup import load_model, load_processor
from .trainer import build_trainer
from .training_arguments import TacfnTrainingArguments


def fine_tune(
    dataset: Dataset | DatasetDict,
    data_args: DataArguments,
    tuning_args: FineTuningArguments,
    args: TacfnTrainingArguments,
    about: dict[str, Any],
    checkpoint: str | None = None,
) -> dict[str, dict[str, Any]]:
    """
    Tunes a model on the training part of rows of audio and text, and leaves what `run_training` leaves.

    Args:
        dataset: rows with `id`, `label`, and `audio`, `text` or both.
        about: fields of the `RunRecord` that the caller knows, such as "arguments".
        checkpoint: the folder of a checkpoint to go on from.

    Returns:
        The metrics of "valid" and "test", those that there are.

    Raises:
        ValueError: rows, model and arguments that do not fit each other, or training rows that are test rows of the
            model's own training.
    """
    named = dataset if isinstance(dataset, DatasetDict) else {"train": dataset}
    rows = prepare_rows(dict(named), None, None, "id", "label", None)
    given = DatasetDict(rows) if isinstance(dataset, DatasetDict) else rows["train"]
    parts = split_dataset(given, data_args, with_features=False)
    if "train" not in parts:
        raise ValueError(f"The dataset {data_args.dataset} has no training part: it has {', '.join(parts)}.")
    name = tuning_args.model_name_or_path
    check_test_rows(name, parts["train"])
    set_seed(args.seed)
    model = load_model(name)
    processor = load_processor(name, model.config)
    if not isinstance(model, TacfnDualEncoderForSequenceClassification):
        model = TacfnDualEncoderForSequenceClassification.from_fusion(model, processor)
    processor = processor.from_model(model)
    freeze(model, tuning_args)
    parts = {name: match_labels(part, label_names_of(model.config)) for name, part in parts.items()}
    trainer = build_trainer(model, args, parts, TacfnRawDataCollator(processor, tuning_args.crop_seconds))
    if checkpoint is not None:
        check_best_metric(checkpoint, args)
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    processor = processor.from_model(model)  # which has a hash of the weights
    features = {name: encoded_rows(part, processor) for name, part in parts.items() if name != "train"}
    evaluator = build_trainer(model, args, features)
    return finish_run(trainer, trained, parts, processor, (data_args, tuning_args, args), about, evaluator, features)


def check_test_rows(name: str, train: Dataset) -> None:
    """No training row was a test row where the model in the folder was trained, or a ValueError names one."""
    if not os.path.isfile(os.path.join(name, PREDICTIONS)):
        return  # a model of the Hub, or one that was tested on nothing
    table = read_predictions(name)
    tested = set(table["id"][table["split"] == "test"])
    shared = [row_id for row_id in train["id"][:] if row_id in tested]
    if shared:
        raise ValueError(
            f"{len(shared)} training rows, such as {shared[0]!r}, are test rows of {name}: give the groups or "
            "fractions and the split_seed that it was trained with."
        )


def freeze(model: TacfnDualEncoderForSequenceClassification, tuning_args: FineTuningArguments) -> None:
    """
    Freezes the front of the speech encoder, and the first layers of both.

    Raises:
        ValueError: more layers than an encoder has.
    """
    for modality, number, front in (
        ("audio", tuning_args.frozen_audio_layers, not tuning_args.tune_front),
        ("text", tuning_args.frozen_text_layers, tuning_args.frozen_text_layers > 0),
    ):
        encoder = getattr(model, f"{modality}_encoder").model
        total = encoder.config.num_hidden_layers
        if not 0 <= number <= total:
            raise ValueError(f"frozen_{modality}_layers is {number}: the {modality} encoder has {total} layers.")
        lists = [m for m in encoder.modules() if type(m) is torch.nn.ModuleList and len(m) == total]
        if not lists:
            kind = encoder.config.model_type
            raise ValueError(f"Which layers the {modality} encoder has can't be told, of a {kind} model.")
        layers = max(lists, key=num_weights)
        for layer in layers[:number]:
            layer.requires_grad_(False)
        if front:
            inner = {id(parameter) for parameter in layers.parameters()}
            for parameter in encoder.parameters():
                if id(parameter) not in inner:
                    parameter.requires_grad_(False)


def num_weights(modules: torch.nn.ModuleList) -> int:
    """How many weights there are in a list of modules."""
    return sum(parameter.numel() for parameter in modules.parameters())


def encoded_rows(rows: Dataset, processor: TacfnProcessor) -> Dataset:
    """The rows with the features that the processor makes of their audio and text, in place of these."""
    columns: dict[str, list] = {"h_a": [], "h_t": []}
    for row in tqdm(rows, desc="Encoding", unit="utterance"):
        audio, text = (None if is_blank(row.get(key)) else row[key] for key in ("audio", "text"))
        name = f"the row with id {row['id']!r}"
        heard = [] if audio is None else [processor.load_audio(audio, name=name)]
        read = [] if text is None else [text]
        for column, found in (
            ("h_a", processor.encode_audio(heard)),
            ("h_t", processor.encode_text(read, names=[name])),
        ):
            columns[column].append(found[0].numpy() if found else None)
    made = rows.remove_columns([name for name in ("audio", "text") if name in rows.column_names])
    for column, values in columns.items():
        size = next((len(value[0]) for value in values if value is not None), None)
        if size is not None:
            made = made.add_column(column, nested_array(values, "float32", size), feature=feature_of("float32", size))
    return made.with_format("numpy")
