"""A model's predictions for a dataset, and the metrics of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import (
    Trainer,
)

from ..features.labels import label_names_of
from ..features.shapes import feature_lengths
from .calibration import class_scores, expected_calibration_error
from .metrics import EmotionMetric


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
    logits, beta, has_audio, has_text = (values[place] for values in output.predictions)
    labels = output.label_ids[place]
    if shared is not None:
        kept = [label_names.index(name) for name in shared]
        logits, labels, label_names = logits[:, kept], np.array([kept.index(label) for label in labels]), list(shared)
    temperature = trainer.model.config.temperature_of(has_audio, has_text)
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
