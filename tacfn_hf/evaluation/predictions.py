"""
A model's predictions for a dataset, their figures, and the file predictions.parquet.

The file has one row for each sample, and these columns:

- `id`: the sample's id in the dataset.
- `label`, `prediction`: the names of its true class and of the predicted one.
- `score_<name>`: the score of the class of this name, float32 from 0 to 1. Scores are softmax(logits / T), where T is
  the temperature for the modalities that the sample has.
- Where the dataset has votes, `share_<name>`: the share of the votes for the class, NaN where a row has none.
- Of a model for several labels: `labels` and `predictions`, lists of names, and `score_<name>`, sigmoid(logits).
- Of a model for values, instead: `true_<name>` and `predicted_<name>`, in the scale of the corpus.
- `beta`: float32 from 0 (text) to 1 (audio). NaN for a model without a gate.
- `split`: the part of the dataset that the sample is in, such as "valid" or "test".
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from datasets import Dataset
from scipy.special import expit, rel_entr
from transformers import Trainer

from ..features.labels import label_names_of
from ..features.shapes import feature_lengths
from ..features.targets import SEVERAL, VALUES
from ..features.votes import has_votes, vote_shares
from ..model.configuration_tacfn import TacfnConfig
from .calibration import class_scores, expected_calibration_error
from .metrics import EmotionMetric
from .several_labels import several_columns_of, several_figures
from .values import value_columns_of, value_figures


PREDICTIONS = "predictions.parquet"
SMALLEST_SCORE = np.finfo(np.float32).tiny  # a score of 0 would make the distance infinite
PARTITION = "partition.parquet"  # `id` and `part` of every row of a run, also of those that it was trained on


def full_metrics(
    logits: np.ndarray,
    beta: np.ndarray,
    labels: np.ndarray,
    label_names: Sequence[str],
    temperature: float | np.ndarray,
) -> dict[str, Any]:
    """
    All figures of some predictions, as fractions.

    Args:
        logits: `[N, C]`.
        beta: `[N, 1]`.
        labels: the true classes `[N]`.
        label_names: the names of the C classes.
        temperature: what logits are divided by for scores; one number, or one for each row `[N]`.

    Returns:
        The result of `EmotionMetric`; `ECE`, the expected calibration error of the scores; `beta_mean` and `beta_std`;
        and in `per_class` a `beta_mean` for each true class, None where a class has no row.
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


def prediction_table(
    ids: Sequence[str],
    logits: np.ndarray,
    beta: np.ndarray,
    labels: np.ndarray,
    label_names: Sequence[str],
    temperature: float | np.ndarray,
) -> pd.DataFrame:
    """The columns of predictions.parquet but `split`, for N samples; arguments are those of `full_metrics`."""
    scores = class_scores(logits, temperature)
    names = np.asarray(label_names, dtype=object)
    return pd.DataFrame(
        {
            "id": ids,
            "label": names[labels],
            "prediction": names[logits.argmax(axis=-1)],
            **{score_column(name): scores[:, i] for i, name in enumerate(label_names)},
            "beta": beta[:, 0],
        }
    )


def score_column(name: str) -> str:
    """The column with the scores of the class of this name."""
    return f"score_{name}"


@dataclass
class Predicted:
    """
    What a model says of N rows, and what is true of them.

    Attributes:
        config: the model's, which says of what kind the labels are.
        logits, beta: `[N, C]` and `[N, 1]`.
        labels: classes `[N]`; several labels `[N, C]`; values `[N, C]`, from 0 (the lowest) to 1.
        label_names: of the C outputs.
        temperature: of each row `[N]`.
        value_range: lowest and highest value of the scale that figures of values are given in.
    """

    config: TacfnConfig
    logits: np.ndarray
    beta: np.ndarray
    labels: np.ndarray
    label_names: list[str]
    temperature: np.ndarray
    value_range: Sequence[float]

    @classmethod
    def by(cls, config: TacfnConfig, outputs: Sequence[np.ndarray], labels: np.ndarray, value_range=None) -> Self:
        """From the outputs of a `Trainer`. `value_range` is the config's where None, and 0 to 1 without."""
        logits, beta, has_audio, has_text = outputs
        names, temperature = label_names_of(config), config.temperature_of(has_audio, has_text)
        return cls(config, logits, beta, labels, names, temperature, value_range or config.value_range or (0, 1))

    @property
    def scores(self) -> np.ndarray:
        """Of several labels, each by itself: float64 `[N, C]`."""
        return expit(np.asarray(self.logits, dtype=np.float64))

    @property
    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """The predicted and the true values, in the scale of `value_range`: float64 `[N, C]` each."""
        low, high = self.value_range
        shape = self.logits.shape
        return tuple(low + (high - low) * of.reshape(shape).astype(np.float64) for of in (self.logits, self.labels))


def figures_of(predicted: Predicted) -> dict[str, Any]:
    """
    The figures of `full_metrics`, or of `several_figures` or `value_figures` with `beta_mean` and `beta_std`; and
    `rows`, how many there are.
    """
    config, logits, names = predicted.config, predicted.logits, predicted.label_names
    beta = predicted.beta[:, 0].astype(np.float64)
    of_beta = {"beta_mean": float(beta.mean()), "beta_std": float(beta.std()), "rows": len(beta)}
    if config.problem_type == SEVERAL:
        result = several_figures(predicted.scores, predicted.labels, names, config.thresholds)
        for i, row in enumerate(result["per_label"]):
            row["beta_mean"] = float(beta[predicted.labels[:, i] == 1].mean()) if row["support"] else None
        return {**result, **of_beta}
    if config.problem_type == VALUES:
        return {**value_figures(*predicted.values, names), **of_beta}
    result = full_metrics(logits, predicted.beta, predicted.labels, names, predicted.temperature)
    return {**result, "rows": len(beta)}


def table_of(ids: Sequence[str], predicted: Predicted) -> pd.DataFrame:
    """The columns of predictions.parquet but `split`."""
    config, logits, names = predicted.config, predicted.logits, predicted.label_names
    if config.problem_type == SEVERAL:
        columns = several_columns_of(predicted.scores, predicted.labels, names, config.thresholds)
    elif config.problem_type == VALUES:
        columns = value_columns_of(*predicted.values, names)
    else:
        return prediction_table(ids, logits, predicted.beta, predicted.labels, names, predicted.temperature)
    return pd.DataFrame({"id": ids, **columns, "beta": predicted.beta[:, 0]})


def evaluate_split(
    trainer: Trainer, dataset: Dataset, shared: Sequence[str] | None = None, value_range: Sequence[float] | None = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """
    Predicts a dataset with the trainer's model. Call it in every process.

    Args:
        shared: the labels that can be predicted; all of the model's by default.
        value_range: of the dataset's values, whose figures are given in it; the model's by default.

    Returns:
        The result of `figures_of`, where the dataset has votes with that of `distances_to_votes`; and the table of
        predictions, in the order of the dataset's rows.
    """
    # Rows of a like length share a batch, which has little padding then; no result depends on its batch.
    order = np.argsort(feature_lengths(dataset), kind="stable")
    output = trainer.predict(dataset.select(order))
    place = np.argsort(order)
    outputs = [values[place] for values in output.predictions]
    predicted = Predicted.by(trainer.model.config, outputs, output.label_ids[place], value_range)
    names = predicted.label_names
    if shared is not None:
        kept = [names.index(name) for name in shared]
        predicted.logits, predicted.label_names = predicted.logits[:, kept], list(shared)
        predicted.labels = np.array([kept.index(label) for label in predicted.labels])
    figures, table = figures_of(predicted), table_of(dataset.with_format(None)["id"][:], predicted)
    if shared is None and predicted.config.problem_type not in (SEVERAL, VALUES) and has_votes(dataset, names):
        shares = vote_shares(dataset, names)
        figures |= distances_to_votes(shares, class_scores(predicted.logits, predicted.temperature))
        table = table.assign(**{f"share_{name}": shares[:, i] for i, name in enumerate(names)})
    return figures, table


def distances_to_votes(shares: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """
    How far scores `[N, C]` lie from the shares of votes `[N, C]`, in nats, as means over the rows that
    have votes: `KL`, the Kullback-Leibler divergence from the shares, and `JS`, that of Jensen and Shannon, at most log
    2. None of both where no row has votes.
    """
    voted = ~np.isnan(shares[:, 0])
    if not voted.any():
        return {}
    p, q = shares[voted], np.maximum(np.asarray(scores, dtype=np.float64)[voted], SMALLEST_SCORE)
    middle = (p + q) / 2
    divergence = (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=1) / 2
    return {"KL": float(rel_entr(p, q).sum(axis=1).mean()), "JS": float(divergence.mean())}


def write_predictions(folder: str | os.PathLike, tables: dict[str, pd.DataFrame]) -> None:
    """Writes predictions.parquet from the table of each part, by the part's name."""
    table = pd.concat([table.assign(split=name) for name, table in tables.items()], ignore_index=True)
    table.to_parquet(Path(folder, PREDICTIONS), index=False)


def read_predictions(folder: str | os.PathLike) -> pd.DataFrame:
    """
    The content of a folder's predictions.parquet.

    Raises:
        ValueError: there is none.
    """
    path = Path(folder, PREDICTIONS)
    if not path.is_file():
        raise ValueError(f"{folder} has no {PREDICTIONS}: the folder of the run is not complete.")
    return pd.read_parquet(path)


def write_partition(folder: str | os.PathLike, parts: dict[str, Dataset]) -> None:
    """Writes partition.parquet from the rows of each part."""
    tables = [pd.DataFrame({"id": rows.with_format(None)["id"][:], "part": name}) for name, rows in parts.items()]
    pd.concat(tables, ignore_index=True).to_parquet(Path(folder, PARTITION), index=False)
