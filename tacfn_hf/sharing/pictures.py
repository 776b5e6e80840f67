"""Pictures of a table of predictions: what was taken for what, and what the gate leaned on."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from ..evaluation.calibration import NUM_BINS
from ..pages.page import OWN_STYLE
from ..writing import replacing


@matplotlib.style.context(OWN_STYLE)
def draw_confusion(table: pd.DataFrame, label_names: Sequence[str]) -> Figure:
    """
    The confusion matrix `[C, C]`: counts, coloured by their share of the row.

    Args:
        table: columns `label` and `prediction`, names out of the C `label_names`.
    """
    names = list(label_names)
    counts, shares = (
        confusion_matrix(table["label"], table["prediction"], labels=names, normalize=of) for of in (None, "true")
    )
    figure, axes = square(len(names))
    display = ConfusionMatrixDisplay(shares, display_labels=names)
    display.plot(ax=axes, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1})
    for text, count in zip(display.text_.flat, counts.flat, strict=True):
        text.set_text(str(count))
    name_ticks(axes.xaxis, range(len(names)), names, rotation=45)
    name_ticks(axes.yaxis, range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(display.im_, label="share of the true class")
    return figure


@matplotlib.style.context(OWN_STYLE)
def draw_cooccurrence(table: pd.DataFrame, label_names: Sequence[str]) -> Figure:
    """
    Of the rows that have each label, the share for which each label was predicted, `[C, C]`, with counts.

    Args:
        table: columns `labels` and `predictions`, lists of names out of the C `label_names`.
    """
    names = list(label_names)
    true, predicted = (
        np.array([[name in row for name in names] for row in table[column]], dtype=int).reshape(-1, len(names))
        for column in ("labels", "predictions")
    )
    counts = true.T @ predicted
    shares = counts / np.maximum(true.sum(axis=0), 1)[:, None]
    figure, axes = square(len(names))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        axes.text(j, i, str(count), ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    name_ticks(axes.xaxis, range(len(names)), names, rotation=45)
    name_ticks(axes.yaxis, range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, label="share of the rows with the true label")
    return figure


@matplotlib.style.context(OWN_STYLE)
def draw_scatter(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """
    Predicted against true values, a panel for each, with the line where both are equal.

    Args:
        table: columns `true_<name>` and `predicted_<name>` of each of the D names.
    """
    figure = Figure(figsize=(4.2 * len(names), 4.2))
    for i, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), i + 1)
        x, y = table[f"true_{name}"], table[f"predicted_{name}"]
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color="black", linewidth=1)
        # Many points lie on each other: a transparent one for each, as pixels.
        axes.scatter(x, y, s=8, alpha=0.25, linewidths=0, rasterized=True)
        axes.set_title(name, parse_math=False)
        axes.set(xlabel="true", ylabel="predicted", aspect="equal")
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure


@matplotlib.style.context(OWN_STYLE)
def draw_beta_histogram(table: pd.DataFrame) -> Figure:
    """How many rows have each beta; `table` has the column `beta`, 0 to 1."""
    figure = Figure(figsize=(5, 4))
    axes = figure.add_subplot()
    axes.hist(table["beta"], bins=np.linspace(0, 1, 41))
    axes.set(xlim=(-0.02, 1.02), xlabel="beta (0 = text, 1 = audio)", ylabel="rows")
    axes.grid(axis="y", alpha=0.3)
    return figure


@matplotlib.style.context(OWN_STYLE)
def draw_calibration(table: pd.DataFrame, label_names: Sequence[str], num_bins: int = NUM_BINS) -> Figure:
    """
    How often a score is right: of the rows whose top score lies in a bin, the share that is right, with how many there
    are below. Of several labels, of all scores in a bin, the share whose label the row has.

    Args:
        table: columns `score_<name>` of the C labels, and `label` and `prediction`, or `labels`.
    """
    scores = table[[f"score_{name}" for name in label_names]].to_numpy(float)
    if "label" in table:
        scores, right = scores.max(axis=1), (table["label"] == table["prediction"]).to_numpy(float)
    else:
        has = np.array([[name in row for name in label_names] for row in table["labels"]], dtype=float)
        scores, right = scores.ravel(), has.ravel()
    found, said = calibration_curve(right, scores, n_bins=num_bins)
    figure = Figure(figsize=(5, 5.2), layout="constrained")
    curve, number = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    curve.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="a score of p is right p of the time")
    curve.plot(said, found, marker="o", color="#0072b2", label="this model")
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    curve.legend(loc="upper left")
    curve.grid(alpha=0.3)
    number.hist(scores, bins=np.linspace(0, 1, num_bins + 1), color="#0072b2", edgecolor="white")
    number.set(xlabel="top score" if "label" in table else "score of a label", ylabel="count")
    return figure


@matplotlib.style.context(OWN_STYLE)
def draw_beta(table: pd.DataFrame, label_names: Sequence[str], by: str = "label") -> Figure:
    """
    Beta for each true class: a box from quartile to quartile, with median (line) and mean (triangle).

    Args:
        table: the columns `by` and `beta`, 0 to 1. If there is none, `<by>s`, lists of names.
        by: "label", a name out of the C `label_names`, or "prediction", likewise.
    """
    figure, axes = square(len(label_names))
    if f"{by}s" in table:
        table = table.explode(f"{by}s").rename(columns={f"{by}s": by})
    values = [table["beta"][table[by] == name] for name in label_names]
    # Points of a large corpus would make a bar of ink: whiskers go to the farthest ones.
    axes.boxplot(values, whis=(0, 100), showmeans=True)
    name_ticks(axes.xaxis, range(1, len(label_names) + 1), label_names, rotation=45)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("true class" if by == "label" else "predicted class")
    axes.set_ylabel("beta (0 = text, 1 = audio)")
    axes.grid(axis="y", alpha=0.3)
    return figure


def square(num_labels: int) -> tuple[Figure, Axes]:
    """Room for so many classes."""
    side = 3.5 + 0.4 * num_labels
    figure = Figure(figsize=(side + 1, side))
    return figure, figure.add_subplot()


def name_ticks(axis, places: Sequence[int], names: Sequence[str], **text) -> None:
    """Puts names at places of an axis. A name is text, though it hold a $."""
    axis.set_ticks(list(places), labels=list(names), parse_math=False, **text)


def save_picture(figure: Figure, path: Path) -> None:
    """A PNG without date and version: equal data give equal bytes."""
    with replacing(path) as temporary, matplotlib.style.context(OWN_STYLE):
        figure.savefig(temporary, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
