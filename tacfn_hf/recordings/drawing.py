"""The picture of a timeline: a lane for each label, in time, and beta below."""

import pandas as pd
from matplotlib import colormaps, ticker
from matplotlib.figure import Figure


def draw_timeline(table: pd.DataFrame) -> Figure:
    """
    A lane for each label or value, in which each segment is as dark as its score, and beta of each segment below.

    Args:
        table: of `annotate`.
    """
    names = [name.removeprefix("score_") for name in table.columns if name.startswith("score_")]
    figure = Figure(figsize=(12, 2.5 + 0.4 * max(len(names), 1)), layout="constrained")
    lanes, gate = figure.subplots(2, 1, sharex=True, height_ratios=[max(len(names), 1), 2])
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
        gate.set_xlim(min(0.0, starts.min()), ends.max())
    gate.set_ylim(-0.05, 1.05)
    gate.set_yticks([0, 0.5, 1], labels=["0 text", "0.5", "1 audio"])
    gate.set_ylabel("beta")
    gate.grid(alpha=0.3)
    gate.set_xlabel("time")
    gate.xaxis.set_major_formatter(ticker.FuncFormatter(lambda second, _: f"{int(second) // 60}:{int(second) % 60:02}"))
    return figure
