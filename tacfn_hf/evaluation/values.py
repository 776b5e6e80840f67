"""How near predicted values are to the true ones: concordance, correlation and errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


VALUE_FIGURES = ("CCC", "pearson", "MAE", "RMSE")


def concordance_correlation(predictions: np.ndarray, references: np.ndarray) -> float:
    """
    Lin's concordance correlation coefficient (1989, doi:10.2307/2532051) of two series `[N]`:
    `2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2)`, with moments that are divided by N. 1 where both are
    equal, and 0 where one of them is constant.
    """
    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if (x == y).all():
        return 1.0
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def pearson_correlation(predictions: np.ndarray, references: np.ndarray) -> float:
    """Pearson's correlation of two series `[N]`; 0 where one of them is constant."""
    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if (x == x[0]).all() or (y == y[0]).all():
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def value_figures(predictions: np.ndarray, references: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """
    Args:
        predictions, references: `[N, D]`, in the scale of the corpus.
        names: of the D values.

    Returns:
        `CCC` and `pearson`; `MAE` and `RMSE` in the scale of the corpus; each a mean over the D values. `per_value`
        has the figures of each, with `label` and `support`, the number of rows.

    Raises:
        ValueError: no rows, shapes that do not fit each other, or a value that is not finite.
    """
    predictions, references = (np.asarray(of, dtype=np.float64) for of in (predictions, references))
    if predictions.shape != references.shape or predictions.ndim != 2 or predictions.shape[1] != len(names):
        raise ValueError(
            f"predictions are {list(predictions.shape)} and references {list(references.shape)}: they must be "
            f"[N, {len(names)}]."
        )
    if not len(predictions) or not (np.isfinite(predictions).all() and np.isfinite(references).all()):
        raise ValueError("predictions and references must have rows, and finite values.")
    per_value = []
    for name, x, y in zip(names, predictions.T, references.T, strict=True):
        figures = {
            "CCC": concordance_correlation(x, y),
            "pearson": pearson_correlation(x, y),
            "MAE": float(np.abs(x - y).mean()),
            "RMSE": float(np.sqrt(((x - y) ** 2).mean())),
        }
        per_value.append({"label": name, "support": len(x), **figures})
    means = {figure: float(np.mean([row[figure] for row in per_value])) for figure in VALUE_FIGURES}
    return {**means, "per_value": per_value}


def value_columns_of(predictions: np.ndarray, references: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of predictions.parquet for values: `true_<name>` and `predicted_<name>`, float32."""
    columns = {}
    for i, name in enumerate(names):
        columns[f"true_{name}"] = references[:, i].astype(np.float32)
        columns[f"predicted_{name}"] = predictions[:, i].astype(np.float32)
    return columns


def value_figures_of_table(table: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """`value_figures` of a table with the columns of `value_columns_of`."""
    predictions, references = (table[[f"{of}_{name}" for name in names]].to_numpy() for of in ("predicted", "true"))
    return value_figures(predictions, references, names)


def format_values(result: dict[str, Any]) -> str:
    """The result of `value_figures` as a table."""
    lines = [f"CCC {result['CCC']:.3f}   Pearson {result['pearson']:.3f}   MAE {result['MAE']:.3f}"]
    lines[0] += f"   RMSE {result['RMSE']:.3f}"
    if "beta_mean" in result:
        lines.append(f"beta {result['beta_mean']:.3f} ± {result['beta_std']:.3f} (0 = text, 1 = audio)")
    first = max(len(row["label"]) for row in [*result["per_value"], {"label": "value"}])
    lines += ["", f"{'value':<{first}}     CCC  Pearson     MAE    RMSE"]
    for row in result["per_value"]:
        figures = (row["CCC"], row["pearson"], row["MAE"], row["RMSE"])
        lines.append(f"{row['label']:<{first}}  " + "  ".join(f"{value:6.3f}" for value in figures))
    return "\n".join(lines)
