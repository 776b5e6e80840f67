"""Pictures of a table of predictions: what was taken for what, and what the gate leaned on."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from ..writing import replacing


OWN_STYLE = "default"  # matplotlib's, whatever the user's is


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
def draw_beta(table: pd.DataFrame, label_names: Sequence[str]) -> Figure:
    """
    Beta for each true class: a box from quartile to quartile, with median (line) and mean (triangle).

    Args:
        table: columns `label`, a name out of the C `label_names`, or `labels`, a list of some; and `beta`, 0 to 1.
    """
    figure, axes = square(len(label_names))
    if "labels" in table:
        table = table.explode("labels").rename(columns={"labels": "label"})
    values = [table["beta"][table["label"] == name] for name in label_names]
    # Points of a large corpus would make a bar of ink: whiskers go to the farthest ones.
    axes.boxplot(values, whis=(0, 100), showmeans=True)
    name_ticks(axes.xaxis, range(1, len(label_names) + 1), label_names, rotation=45)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("true class")
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
