"""What beta is worth: how well it follows the modality that carries the emotion, is intact, or is needed more."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from scipy.special import softmax
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from torch import nn
from tqdm.auto import tqdm

from ..features.collation import TacfnDataCollator, as_features
from ..features.feature_rows import FEATURES, FeatureRows
from ..features.labels import label_names_of, match_labels
from ..features.shapes import complete_rows
from ..features.statistics import feature_statistics
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from .predictions import full_metrics


Rows = list[dict[str, Any]]  # rows of features, as the collator takes them

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
REPLACEMENTS = ("noise", "mean", "other")
# The features that are hidden where one modality is left.
HIDDEN = {f"{left.name} only": hidden.features for left, hidden in (MODALITIES, MODALITIES[::-1])}


class Predictions(NamedTuple):
    """Logits `[N, C]` and beta `[N, 1]`, in float64."""

    logits: np.ndarray
    beta: np.ndarray


def measure_gate_truth(
    model: nn.Module, dataset: Dataset, shares: Sequence[float] = SHARES, seed: int = 0, batch_size: int = 64
) -> dict[str, Any]:
    """
    Compares beta (1 = audio, 0 = text) with what is known about the input, on the rows that have both modalities. In
    other rows beta is 1 or 0 by construction.

    - Carrier: is beta larger where audio carries the emotion than where text does? The column `carrier` of the dataset
      says "audio", "text" or something else. See `carrier_auc`.
    - Corruption: does beta fall as more of the audio is replaced, and rise as more of the text is? Of L > 1 positions
      `round(share * L)` are replaced, of a single vector so many of its dimensions. What a smaller share replaces, a
      larger one replaces too. See `corruption_correlation`. There are three replacements:
      `noise`, Gaussian, with the mean and the standard deviation of each dimension over all positions of all rows that
      have the modality; the `mean` itself; and the features of an `other` row, whose L positions are repeated if they
      are too few.
    - Occlusion: is beta larger where a row needs audio more than text? See `occlusion_agreement`.

    WA, UA and ECE with both modalities, with audio only and with text only are measured too.

    Args:
        model: it is called as `TacfnForSequenceClassification`, in evaluation mode and on the device it is on. It gives
            `logits [B, C]` and `beta [B, 1]`. A model without a gate gives NaN for beta in every row; all figures of
            beta are None then.
        dataset: columns h_a, h_t and label, a ClassLabel whose names the model's config knows.
        shares: the shares that are replaced, at least two, each from 0 to 1.
        seed: it decides which positions are replaced, by which row and by which noise. What is drawn for a row depends
            on the row's place in the dataset.
        batch_size: how many rows are in memory, and predicted, at a time.

    Returns:
        A dict of plain numbers:

        - `rows`, and `left_out_rows` that lack a modality; `seed` and `shares`;
        - `carrier`: `auc`, the numbers of `audio_rows` and `text_rows`, and `left_out_rows` with another value; None
          where the dataset has no such column, or not both values;
        - `corruption`: for `audio` and `text`, and there for `noise`, `mean` and `other`, the `correlation`, and
          `beta_mean` and `UA` at each share;
        - `occlusion`: the result of `occlusion_agreement`;
        - `missing`: `WA`, `UA` and `ECE` for `both`, `audio only` and `text only`. ECE is that of the scores at the
          config's temperatures.

    Raises:
        ValueError: shares that are not as above; a dataset that lacks a column, has fewer than two rows with both
            modalities, or labels that the model does not know; beta that is NaN in some rows only.
    """
    if len(set(shares)) < 2 or not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares is {list(shares)}: it must be at least two different numbers from 0 to 1.")
    rows = rows_with_both(dataset, label_names_of(model.config))
    labels = labels_of(rows)
    scales = {column: feature_statistics(dataset, column) for column in FEATURES}
    order = np.random.default_rng(seed).permutation(len(rows))
    donors = np.empty_like(order)
    donors[order] = np.roll(order, 1)  # one cycle through all rows, so that no row is its own donor
    features = FeatureRows(rows)

    def variants(batch: Rows, first: int) -> Iterator[tuple[Any, Rows]]:
        yield from leave_one_out(batch)
        yield from corrupted(batch, features.take(donors[first : first + len(batch)]), first, scales, shares, seed)

    found = predict_variants(model, rows, variants, batch_size)
    beta = gate_values(found["both"])
    corruption: dict[str, Any] = {modality.name: {} for modality in MODALITIES}
    for name, kinds in corruption.items():
        for kind in REPLACEMENTS:
            at = [found[name, kind, share] for share in shares]
            betas = [gate_values(predictions) for predictions in at]
            kinds[kind] = {
                "correlation": None if beta is None else corruption_correlation(np.stack(betas), shares),
                "beta_mean": [None if of_share is None else float(of_share.mean()) for of_share in betas],
                "UA": [figures_of("both", predictions, labels, model.config)["UA"] for predictions in at],
            }
    each = np.arange(len(labels))
    true = {name: softmax(found[name].logits, axis=1)[each, labels] for name in ("both", *HIDDEN)}
    return {
        "rows": len(rows),
        "left_out_rows": len(dataset) - len(rows),
        "seed": seed,
        "shares": [float(share) for share in shares],
        "carrier": carrier_figures(rows, beta),
        "corruption": corruption,
        "missing": {name: figures_of(name, found[name], labels, model.config) for name in true},
        "occlusion": occlusion_agreement(beta, true["both"] - true["text only"], true["both"] - true["audio only"]),
    }


def measure_missing(model: nn.Module, dataset: Dataset, batch_size: int = 64) -> dict[str, dict[str, float]]:
    """`missing` of `measure_gate_truth`, whose arguments and errors it shares, without the rest."""
    rows = rows_with_both(dataset, label_names_of(model.config))
    found = predict_variants(model, rows, lambda batch, first: leave_one_out(batch), batch_size)
    return {name: figures_of(name, predictions, labels_of(rows), model.config) for name, predictions in found.items()}


def carrier_auc(beta: np.ndarray, carrier: Sequence[str]) -> float:
    """
    Area under the ROC curve of beta for "audio carries the emotion" against "text carries it": how likely beta is
    larger in a row of the first kind than in one of the second. 0.5 is chance.

    Args:
        beta: `[N]`.
        carrier: `[N]`, "audio" or "text"; rows with another value are left out.

    Raises:
        ValueError: no row has one of the two values.
    """
    carrier, names = np.asarray(carrier, dtype=object), [modality.name for modality in MODALITIES]
    for name in names:
        if name not in carrier:
            raise ValueError(f"No row has the carrier {name!r}: rows with 'audio' and rows with 'text' are compared.")
    chosen = np.isin(carrier, names)
    return float(roc_auc_score(carrier[chosen] == "audio", np.asarray(beta)[chosen]))


def carrier_figures(rows: Dataset, beta: np.ndarray | None) -> dict[str, Any] | None:
    """`carrier` of `measure_gate_truth`."""
    carrier = rows.with_format(None)["carrier"][:] if "carrier" in rows.column_names else []
    counts = {f"{modality.name}_rows": carrier.count(modality.name) for modality in MODALITIES}
    if min(counts.values()) == 0:
        return None
    auc = None if beta is None else carrier_auc(beta, carrier)
    return {"auc": auc, **counts, "left_out_rows": len(carrier) - sum(counts.values())}


def corruption_correlation(beta: np.ndarray, shares: Sequence[float]) -> float:
    """
    Spearman's correlation of share and beta for each utterance, as a mean over the N utterances. It is 0 for an
    utterance whose beta is the same at all S shares. It should be -1 where audio is replaced, and 1 where text is.

    Args:
        beta: `[S, N]`.
        shares: `[S]`, which share of the modality was replaced.
    """
    return float(spearman(np.broadcast_to(shares, np.shape(beta)[::-1]), np.transpose(beta)).mean())


def occlusion_agreement(beta: np.ndarray | None, audio_drop: np.ndarray, text_drop: np.ndarray) -> dict[str, Any]:
    """
    How well beta agrees with the modality that a row needs more. A row needs a modality as much as the probability of
    the true class drops without it. So `audio_drop - text_drop` is the probability with audio only minus that with text
    only.

    Args:
        beta: `[N]`, or None for a model without a gate.
        audio_drop: `[N]`, the probability with both modalities minus the one without audio.
        text_drop: `[N]`, the probability with both modalities minus the one without text.

    Returns:
        - `correlation`: Spearman's, over the rows, of beta and `audio_drop - text_drop`; 0 where one of them is
          constant.
        - `audio_rows`, `text_rows`: how many rows need audio more, and how many text.
        - `auc`: that of beta for the first kind of rows against the second; None where one of them has no row.
    """
    difference = np.asarray(audio_drop) - np.asarray(text_drop)
    result = {"audio_rows": int((difference > 0).sum()), "text_rows": int((difference < 0).sum())}
    if beta is None:
        return {"correlation": None, "auc": None, **result}
    unequal = difference != 0
    auc = float(roc_auc_score(difference[unequal] > 0, beta[unequal])) if min(result.values()) > 0 else None
    return {"correlation": float(spearman(beta[None], difference[None])[0]), "auc": auc, **result}


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation `[N]` of each row of `x [N, S]` with that of `y [N, S]`; 0 where one is constant."""
    x, y = (rankdata(values, axis=1) for values in (x, y))  # equal values share their mean rank
    x, y = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (x, y))
    norm = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), norm, out=np.zeros(len(norm)), where=norm > 0)


def rows_with_both(dataset: Dataset, label_names: Sequence[str]) -> Dataset:
    """The rows that have h_a and h_t, with labels in the order of `label_names`."""
    for column in (*FEATURES, "label"):
        if column not in dataset.column_names:
            raise ValueError(f"The dataset has no column {column!r}: it has {', '.join(dataset.column_names)}.")
    complete = np.flatnonzero(complete_rows(dataset))
    if len(complete) < 2:
        raise ValueError(f"The dataset has {len(complete)} rows with both h_a and h_t: at least 2 are needed.")
    return match_labels(dataset.select(complete), label_names)


def labels_of(dataset: Dataset) -> np.ndarray:
    """The labels of a dataset as integers `[N]`."""
    return np.asarray(dataset.with_format(None)["label"][:])


def leave_one_out(batch: Rows) -> Iterator[tuple[str, Rows]]:
    """The batch as it is ("both"), and without text ("audio only") and without audio ("text only")."""
    yield "both", batch
    for name, hidden in HIDDEN.items():
        yield name, [{key: value for key, value in row.items() if key != hidden} for row in batch]


def corrupted(
    batch: Rows,
    donors: Rows,
    first: int,
    scales: dict[str, tuple[np.ndarray, np.ndarray]],
    shares: Sequence[float],
    seed: int,
) -> Iterator[tuple[tuple[str, str, float], Rows]]:
    """
    The batch with a share of one modality replaced: `(modality, replacement, share)` and the changed batch, one in
    memory at a time. See `measure_gate_truth` for what is replaced.

    Args:
        donors: for each row the one whose features the replacement "other" takes.
        first: the place of the batch's first row in the dataset.
        scales: mean and standard deviation `[d]` of h_a and h_t.
    """
    for number, modality in enumerate(MODALITIES):
        column = modality.features
        mean, std = scales[column]
        drawn = []
        for place, (row, donor) in enumerate(zip(batch, donors, strict=True), start=first):
            h, other = features_of(row, column), features_of(donor, column)
            rng = np.random.default_rng([seed, number, place])
            order = rng.permutation(len(h) if len(h) > 1 else h.shape[1])
            replacements = {
                "noise": (mean + std * rng.standard_normal(h.shape)).astype(np.float32),
                "mean": np.broadcast_to(mean.astype(np.float32), h.shape),
                "other": other[np.arange(len(h)) % len(other)],
            }
            drawn.append((h, order, replacements))
        for kind in REPLACEMENTS:
            for share in shares:
                changed = [replace_share(h, by[kind], order, share) for h, order, by in drawn]
                yield (modality.name, kind, share), [{**row, column: h} for row, h in zip(batch, changed, strict=True)]


def features_of(row: dict[str, Any], column: str) -> np.ndarray:
    """The features of a row that has them, as float32 `[L, d]`."""
    return as_features(row, column, 0).numpy().astype(np.float32)


def replace_share(h: np.ndarray, by: np.ndarray, order: np.ndarray, share: float) -> np.ndarray:
    """
    A copy of `h [L, d]` with a share of it taken from `by [L, d]`: the first ones in `order`, a permutation of the L
    positions or, where L is 1, of the d dimensions. Their number is rounded, a half to the even neighbour.
    """
    chosen = order[: round(share * len(order))]
    index = chosen if len(h) > 1 else (slice(None), chosen)
    changed = h.copy()
    changed[index] = by[index]
    return changed


@torch.no_grad()
def predict_variants(
    model: nn.Module, rows: Dataset, variants: Callable[[Rows, int], Iterator[tuple[Any, Rows]]], batch_size: int
) -> dict[Any, Predictions]:
    """
    The model's predictions for each variant of the rows, by the variant's name.

    Args:
        variants: from a batch, and the place of its first row, it makes names with changed batches.

    Raises:
        ValueError: beta is NaN in some rows only.
    """
    model.eval()
    device = next(model.parameters()).device
    collate = TacfnDataCollator()
    features = FeatureRows(rows.select_columns([name for name in ("id", *FEATURES) if name in rows.column_names]))
    found = defaultdict(list)
    with tqdm(total=len(rows), desc="Predicting variants", unit="utterance") as bar:
        for first in range(0, len(rows), batch_size):
            batch = features.take(range(first, min(first + batch_size, len(rows))))
            for name, changed in variants(batch, first):
                output = model(**{key: value.to(device) for key, value in collate(changed).items()})
                found[name].append([values.double().cpu().numpy() for values in (output.logits, output.beta)])
            bar.update(len(batch))
    predictions = {name: Predictions(*map(np.concatenate, zip(*parts, strict=True))) for name, parts in found.items()}
    for beta in (of_variant.beta for of_variant in predictions.values()):
        without = np.isnan(beta).sum()
        if 0 < without < len(beta):
            raise ValueError(f"beta is NaN in {without} of {len(beta)} rows: a model has a gate or has none.")
    return predictions


def gate_values(predictions: Predictions) -> np.ndarray | None:
    """beta `[N]`, or None where the model has no gate."""
    return None if np.isnan(predictions.beta).any() else predictions.beta[:, 0]


def figures_of(name: str, predictions: Predictions, labels: np.ndarray, config: TacfnConfig) -> dict[str, float]:
    """WA, UA and ECE as fractions, from predictions for "both" modalities, "audio only" or "text only"."""
    temperature = config.temperature_of(name != "text only", name != "audio only")
    result = full_metrics(*predictions, labels, label_names_of(config), temperature)
    return {figure: result[figure] for figure in ("WA", "UA", "ECE")}


def summarize_gate_truth(results: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """
    Means of the figures of one or several results of `measure_gate_truth`, by short names ("audio, noise", "UA text
    only", ...): AUCs, rank correlations, UA and ECE as fractions. None where a result has none.
    """
    found: dict[str, list[float | None]] = defaultdict(list)
    for result in results:
        found["carrier AUC"].append((result["carrier"] or {}).get("auc"))
        for kind in REPLACEMENTS:
            for name, kinds in result["corruption"].items():
                found[f"{name}, {kind}"].append(kinds[kind]["correlation"])
        found["occlusion AUC"].append(result["occlusion"]["auc"])
        found["occlusion correlation"].append(result["occlusion"]["correlation"])
        for figure in ("UA", "ECE"):
            for name, figures in result["missing"].items():
                found[f"{figure} {name}"].append(figures[figure])
    return {name: None if None in values else float(np.mean(values)) for name, values in found.items()}


def format_gate_truth(result: dict[str, Any]) -> str:
    """The result of `measure_gate_truth` as text for a terminal."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    def auc(of: dict[str, Any]) -> str:
        return f"AUC {number(of['auc'])} ({of['audio_rows']} rows audio, {of['text_rows']} text)"

    carrier, occlusion = result["carrier"], result["occlusion"]
    lines = [
        f"{result['rows']} utterances with both modalities ({result['left_out_rows']} others left out)",
        "",
        "beta (0 = text, 1 = audio; correlations are Spearman's)",
    ]
    if carrier is not None:
        others = f"; {carrier['left_out_rows']} rows with another carrier left out"
        lines.append(f"against the modality that carries the emotion: {auc(carrier)}{others}")
    correlation = number(occlusion["correlation"])
    lines += [f"against the modality that a row needs more: {auc(occlusion)}, correlation {correlation}", ""]
    missing = pd.DataFrame.from_dict(result["missing"], orient="index")[["WA", "UA", "ECE"]]
    lines += [missing.to_string(float_format="{:.1%}".format), ""]
    table = []
    for name, kinds in result["corruption"].items():
        for kind, figures in kinds.items():
            shown = {"corrupted": name, "by": kind, "correlation": number(figures["correlation"])}
            betas, recalls = map(number, figures["beta_mean"]), (f"{value:.1%}" for value in figures["UA"])
            shown |= {f"beta {share:.0%}": value for share, value in zip(result["shares"], betas, strict=True)}
            shown |= {f"UA {share:.0%}": value for share, value in zip(result["shares"], recalls, strict=True)}
            table.append(shown)
    lines.append(pd.DataFrame(table).to_string(index=False))
    return "\n".join(lines)
