"""Pictures of a table of predictions: who was taken for whom, and what the gate leaned on."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.style
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
def draw_beta(table: pd.DataFrame, label_names: Sequence[str]) -> Figure:
    """
    Beta for each true class: a box from quartile to quartile, with median (line) and mean (triangle).

    Args:
        table: columns `label`, a name out of the C `label_names`, and `beta`, 0 to 1.
    """
    figure, axes = square(len(label_names))
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
