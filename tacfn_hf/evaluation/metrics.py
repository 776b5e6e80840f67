"""Emotion recognition metrics (WA, UA, F1) as an `evaluate.Metric`, and their table for a terminal."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from .several_labels import format_several
from .values import format_values


DESCRIPTION = """
WA (accuracy), UA (mean recall), weighted F1 and macro F1 as fractions from 0 to 1, with each class' own
figures and the confusion counts. UA and macro F1 are means over the classes present in the references.
"""


INPUTS_DESCRIPTION = """
Args:
    predictions (list of int, [N]): predicted class indices.
    references (list of int, [N]): true class indices.
    label_names (list of str, optional): the name of each class index; without it the classes are 0 to the
        largest index that occurs, named by their numbers.
"""


class EmotionMetric(evaluate.Metric):
    """WA, UA and F1 of single-label emotion recognition; works without a network.

    `compute(predictions=[N], references=[N], label_names=None)` returns a dict:

    - `WA`: accuracy; `UA`: mean recall over the classes present in the references;
    - `wF1`: F1 weighted by support; `macro_F1`: mean F1 over the classes present in the references;
    - `per_class`: a list of dicts `{label, support, recall, precision, f1}`; a ratio of 0 to 0 is 0;
    - `confusion`: counts [C, C], rows are references, columns predictions.

    All but the counts are fractions from 0 to 1. A ValueError says which label is out of range or no whole
    number, or that the inputs are empty.

    Example:
        >>> result = EmotionMetric().compute(
        ...     predictions=[0, 0, 1, 1], references=[0, 0, 0, 1], label_names=["neutral", "angry"]
        ... )
        >>> result["WA"], round(result["UA"], 4), round(result["wF1"], 4), round(result["macro_F1"], 4)
        (0.75, 0.8333, 0.7667, 0.7333)
        >>> result["confusion"]
        [[2, 1], [0, 1]]
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS_DESCRIPTION,
            # evaluate would cut 1.5 to 1 for an integer column; taken as floats, _compute can refuse it
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int], label_names: Sequence[str] | None = None
    ) -> dict[str, Any]:
        predictions, references = np.asarray(predictions), np.asarray(references)
        if len(references) == 0:
            raise ValueError("predictions and references are empty; at least one of each is needed.")
        for name, values in (("predictions", predictions), ("references", references)):
            broken = np.flatnonzero(values != np.floor(values))
            if len(broken):
                raise ValueError(f"{name}[{broken[0]}] is {values[broken[0]]}; class indices must be whole numbers.")
        predictions, references = predictions.astype(np.int64), references.astype(np.int64)
        if label_names is None:
            label_names = [str(i) for i in range(max(0, predictions.max(), references.max()) + 1)]
        num_labels = len(label_names)
        for name, values in (("predictions", predictions), ("references", references)):
            outside = np.flatnonzero((values < 0) | (values >= num_labels))
            if len(outside):
                raise ValueError(
                    f"{name}[{outside[0]}] is {values[outside[0]]}, "
                    f"but class indices must be 0 to {num_labels - 1} ({', '.join(label_names)})."
                )
        classes = np.arange(num_labels)
        precision, recall, f1, support = precision_recall_fscore_support(
            references, predictions, labels=classes, zero_division=0
        )
        present = support > 0
        return {
            "WA": float((predictions == references).mean()),
            "UA": float(recall[present].mean()),
            "wF1": float((f1 * support).sum() / support.sum()),
            "macro_F1": float(f1[present].mean()),
            "per_class": [
                {
                    "label": label_names[i],
                    "support": int(support[i]),
                    "recall": float(recall[i]),
                    "precision": float(precision[i]),
                    "f1": float(f1[i]),
                }
                for i in classes
            ],
            "confusion": confusion_matrix(references, predictions, labels=classes).tolist(),
        }


def format_table(result: dict[str, Any]) -> str:
    """The result of `EmotionMetric.compute` as text: percentages, figures by class, and confusion counts; or that of
    `several_figures` or `value_figures`.

    `ECE`, `KL` and `JS`, and `beta_mean` and `beta_std`, are printed too where `result` has them.
    """
    if "per_value" in result:
        return format_values(result)
    if "per_label" in result:
        return format_several(result)
    lines = [
        f"WA {result['WA']:.1%}   UA {result['UA']:.1%}   wF1 {result['wF1']:.1%}   macro F1 {result['macro_F1']:.1%}"
    ]
    if "ECE" in result:
        lines[0] += f"   ECE {result['ECE']:.1%}"
    if "KL" in result:
        lines.append(f"distance to the votes, in nats: KL {result['KL']:.3f}   JS {result['JS']:.3f}")
    if "beta_mean" in result and "beta_std" in result:
        lines.append(f"beta {result['beta_mean']:.3f} ± {result['beta_std']:.3f} (0 = text, 1 = audio)")

    names = [row["label"] for row in result["per_class"]]
    first = max(len(name) for name in [*names, "reference"])
    lines += ["", f"{'class':<{first}}  recall  precision     f1  support"]
    for row in result["per_class"]:
        lines.append(
            f"{row['label']:<{first}}  {row['recall']:6.1%}  {row['precision']:9.1%}  {row['f1']:5.1%}"
            f"  {row['support']:7d}"
        )

    largest = max(max(row) for row in result["confusion"])
    widths = [max(len(name), len(str(largest))) for name in names]
    lines += ["", "confusion: rows are references, columns predictions"]
    lines.append("  ".join([" " * first, *(f"{name:>{w}}" for name, w in zip(names, widths, strict=True))]))
    for name, counts in zip(names, result["confusion"], strict=True):
        lines.append("  ".join([f"{name:<{first}}", *(f"{n:>{w}}" for n, w in zip(counts, widths, strict=True))]))
    return "\n".join(lines)
