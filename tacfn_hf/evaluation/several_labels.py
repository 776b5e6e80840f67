"""Figures where a row has several labels or none, and the thresholds from which a label is answered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, precision_recall_curve

from .calibration import NUM_BINS


SEVERAL_FIGURES = ("macro_F1", "micro_F1", "weighted_accuracy", "mAP", "ECE")


def several_figures(
    scores: np.ndarray, references: np.ndarray, names: Sequence[str], thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """
    Args:
        scores: of each label by itself, `[N, C]`, 0 to 1.
        references: `[N, C]`, 1 where a row has the label, else 0.
        names: of the C labels.
        thresholds: a row is said to have a label whose score is at least this, `[C]`; None: 0.5.

    Returns:
        Fractions:

        - `macro_F1`, the mean F1 of the labels that occur; `micro_F1`, that of all decisions together;
        - `weighted_accuracy`, the mean over these labels of the mean of recall and specificity, as papers on CMU-MOSEI
          report it (Zadeh et al. 2018, doi:10.18653/v1/P18-1208, after Tong et al. 2017);
        - `mAP`, the mean over these labels of the average precision of the scores;
        - `ECE`, see `binary_calibration_error`;
        - `per_label`: a list of `{label, support, recall, precision, f1, weighted_accuracy, AP, threshold}`; AP is None
          for a label that does not occur.

    Raises:
        ValueError: no rows, or shapes that do not fit each other.
    """
    scores, references = np.asarray(scores, dtype=np.float64), np.asarray(references).astype(int)
    if scores.shape != references.shape or scores.ndim != 2 or not len(scores) or scores.shape[1] != len(names):
        raise ValueError(
            f"scores are {list(scores.shape)} and references {list(references.shape)}: they must be [N, {len(names)}]."
        )
    thresholds = np.full(len(names), 0.5) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    chosen = (scores >= thresholds).astype(int)
    hits, support, said = (chosen * references).sum(axis=0), references.sum(axis=0), chosen.sum(axis=0)
    precision, recall = hits / np.maximum(said, 1), hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(said + support, 1)
    negatives = len(references) - support
    specificity = ((1 - chosen) * (1 - references)).sum(axis=0) / np.maximum(negatives, 1)
    weighted = np.where(negatives > 0, (recall + specificity) / 2, recall)
    there = support > 0
    precisions = [
        float(average_precision_score(references[:, i], scores[:, i])) if occurs else None
        for i, occurs in enumerate(there)
    ]
    per_label = [
        {
            "label": name,
            "support": int(support[i]),
            "recall": float(recall[i]),
            "precision": float(precision[i]),
            "f1": float(f1[i]),
            "weighted_accuracy": float(weighted[i]),
            "AP": precisions[i],
            "threshold": float(thresholds[i]),
        }
        for i, name in enumerate(names)
    ]
    return {
        "macro_F1": float(f1[there].mean()) if there.any() else 0.0,
        "micro_F1": float(2 * hits.sum() / max(said.sum() + support.sum(), 1)),
        "weighted_accuracy": float(weighted[there].mean()) if there.any() else 0.0,
        "mAP": float(np.mean([of for of in precisions if of is not None])) if there.any() else 0.0,
        "ECE": binary_calibration_error(scores, references),
        "per_label": per_label,
    }


def binary_calibration_error(scores: np.ndarray, references: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """
    The expected calibration error of scores `[N, C]` of labels that a row has or has not: all N * C scores are put into
    bins of equal width, each `(lo, hi]`; the mean over them of their bin's |share of labels that are there - mean
    score|.
    """
    scores, references = np.ravel(scores), np.ravel(references)
    bins = np.clip(np.searchsorted(np.linspace(0, 1, num_bins + 1), scores, side="left") - 1, 0, None)
    return float(np.abs(np.bincount(bins, weights=references - scores)).sum() / len(scores))


def fit_thresholds(scores: np.ndarray, references: np.ndarray) -> list[float]:
    """
    For each label the threshold of the best F1 on these rows, halfway between two scores; 0.5 for a label that no row
    has.

    Args:
        scores, references: as in `several_figures`.
    """
    thresholds = []
    for of_label, there in zip(np.asarray(scores, dtype=np.float64).T, np.asarray(references).T, strict=True):
        if not there.any():
            thresholds.append(0.5)
            continue
        precision, recall, least = precision_recall_curve(there, of_label)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = least[int(np.argmax(f1[:-1]))]  # the last point is no threshold
        below = of_label[of_label < best]
        thresholds.append(float((best + below.max()) / 2 if len(below) else best))
    return thresholds


def several_columns_of(
    scores: np.ndarray, references: np.ndarray, names: Sequence[str], thresholds: Sequence[float] | None
) -> dict[str, Any]:
    """The columns of predictions.parquet for several labels: lists `labels` and `predictions`, and `score_<name>`."""
    chosen = scores >= (0.5 if thresholds is None else np.asarray(thresholds))

    def listed(rows: np.ndarray) -> list[list[str]]:
        return [[name for name, there in zip(names, row) if there] for row in rows]

    by_label = {f"score_{name}": scores[:, i].astype(np.float32) for i, name in enumerate(names)}
    return {"labels": listed(references), "predictions": listed(chosen), **by_label}


def several_figures_of_table(table: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """
    `several_figures` of a table with the columns of `several_columns_of`. Its rows may be of several models, with
    thresholds of their own: the decisions are those of the table.
    """
    references, chosen = (
        np.array([[name in row for name in names] for row in table[column]]) for column in ("labels", "predictions")
    )
    scores = table[[f"score_{name}" for name in names]].to_numpy()
    figures, decided = several_figures(scores, references, names), several_figures(chosen, references, names)
    of_scores = {name: figures[name] for name in ("mAP", "ECE")}
    for row, by_score in zip(decided["per_label"], figures["per_label"], strict=True):
        row["AP"] = by_score["AP"]
    return {**decided, **of_scores}


def format_several(result: dict[str, Any]) -> str:
    """The result of `several_figures` as a table: percentages, and the threshold of each label."""
    lines = [
        f"macro F1 {result['macro_F1']:.1%}   micro F1 {result['micro_F1']:.1%}   weighted accuracy "
        f"{result['weighted_accuracy']:.1%}   mAP {result['mAP']:.1%}   ECE {result['ECE']:.1%}"
    ]
    if "beta_mean" in result:
        lines.append(f"beta {result['beta_mean']:.3f} ± {result['beta_std']:.3f} (0 = text, 1 = audio)")
    first = max(len(row["label"]) for row in [*result["per_label"], {"label": "label"}])
    lines += ["", f"{'label':<{first}}  recall  precision     f1  weighted accuracy      AP  threshold  support"]
    for row in result["per_label"]:
        precision = "" if row["AP"] is None else f"{row['AP']:.1%}"
        lines.append(
            f"{row['label']:<{first}}  {row['recall']:6.1%}  {row['precision']:9.1%}  {row['f1']:5.1%}"
            f"  {row['weighted_accuracy']:17.1%}  {precision:>6}  {row['threshold']:9.3f}  {row['support']:7d}"
        )
    return "\n".join(lines)
