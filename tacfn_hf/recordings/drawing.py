"""The picture of a timeline: a lane for each label, in time, and beta below."""

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..pages.page import OWN_STYLE


COLUMNS = 2000  # of the picture of a waveform


def envelope(waveform: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """The lowest and the highest sample of each stretch of a waveform `[S]`, `[2, at most columns + 1]`."""
    starts = np.arange(0, len(waveform), max(1, len(waveform) // columns))
    return np.stack([ufunc.reduceat(waveform, starts) for ufunc in (np.minimum, np.maximum)])


def draw_waveform(axes: Axes, stretches: np.ndarray, seconds: float) -> None:
    """The `envelope` of so many seconds of sound."""
    times = np.linspace(0, seconds, stretches.shape[1], endpoint=False)
    axes.fill_between(times, *stretches, color="#57606a", linewidth=0.3)
    axes.set(xlim=(0, max(seconds, 1e-3)), yticks=[], ylabel="sound")


@matplotlib.style.context(OWN_STYLE)
def draw_timeline(table: pd.DataFrame, stretches: np.ndarray | None = None, seconds: float | None = None) -> Figure:
    """
    A lane for each label or value, in which each segment is as dark as its score, and beta of each segment below.

    Args:
        table: of `annotate`.
        stretches: the `envelope` of the recording, for its waveform above.
        seconds: how long it is; by default up to the end of the last segment.
    """
    names = [name.removeprefix("score_") for name in table.columns if name.startswith("score_")]
    heights = [2.0] * (stretches is not None) + [max(len(names), 1), 2]
    figure = Figure(figsize=(12, 0.5 + 0.4 * sum(heights) + 1.2), layout="constrained")
    *above, lanes, gate = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    if above and stretches is not None and seconds is not None:
        draw_waveform(above[0], stretches, seconds)
    blues, classes = colormaps["Blues"], "label" in table or "labels" in table
    for i, name in enumerate(names):
        scores = table[f"score_{name}"].to_numpy(float)
        low, high = (0.0, 1.0) if classes else (scores.min(), max(scores.max(), scores.min() + 1e-9))
        spans = list(zip(table["start"], table["end"] - table["start"]))
        lanes.broken_barh(spans, (i - 0.4, 0.8), facecolors=[blues(value) for value in (scores - low) / (high - low)])
    lanes.set_yticks(range(len(names)), labels=names, parse_math=False)
    lanes.set_ylim(len(names) - 0.5, -0.5)
    lanes.set_title(
        "score, white 0 to blue 1" if classes else "value, white the lowest to blue the highest", loc="left"
    )
    if len(table):
        starts, ends, beta = (table[name].to_numpy(float) for name in ("start", "end", "beta"))
        gate.hlines(beta, starts, ends, linewidth=3)
        gate.set_xlim(min(0.0, starts.min()), ends.max() if seconds is None else seconds)
    gate.set_ylim(-0.05, 1.05)
    gate.set_yticks([0, 0.5, 1], labels=["0 text", "0.5", "1 audio"])
    gate.set_ylabel("beta")
    gate.grid(alpha=0.3)
    gate.set_xlabel("time")
    gate.xaxis.set_major_formatter(ticker.FuncFormatter(lambda second, _: f"{int(second) // 60}:{int(second) % 60:02}"))
    return figure
