"""Whether beta tells the truth: does it follow what carries the emotion, what is damaged, and what says more?"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from torch import nn
from tqdm.auto import tqdm

from ..features.collation import TacfnDataCollator, as_features
from ..features.feature_rows import FeatureRows
from ..features.labels import label_names_of, match_labels
from ..features.shapes import complete_rows
from ..features.statistics import feature_statistics
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from .calibration import class_scores, expected_calibration_error
from .metrics import EmotionMetric


SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


NAMES = {modality.features: modality.name for modality in MODALITIES}


REPLACEMENTS = ("noise", "mean", "other")


# The batch without one modality, by what is left.
ONE_LEFT = {"audio only": "h_t", "text only": "h_a"}


class Predictions(NamedTuple):
    """Logits `[N, C]` and beta `[N]`; beta is None for a model without a gate."""

    logits: np.ndarray
    beta: np.ndarray | None


def measure_gate_truth(
    model: nn.Module, dataset: Dataset, shares: Sequence[float] = SHARES, seed: int = 0, batch_size: int = 64
) -> dict[str, Any]:
    """
    Holds beta (1 = audio, 0 = text) against four things that are known, on the rows that have both modalities: where
    one is missing beta is 1 or 0 by construction, and proves nothing.

    - Carrier: the rows of which the dataset's column `carrier` says that audio, or text, carries the emotion; see
      `carrier_auc`.
    - Corruption: a growing share of one modality is replaced. Of L > 1 positions `round(share * L)` are, of a single
      vector so many of its dimensions; those of a smaller share are among those of a larger one. `other` puts the
      features of another row there (its position i modulo its length), `noise` Gaussian noise with mean and standard
      deviation of each dimension over all positions of all rows that have the modality, `mean` that mean itself, as
      where nothing was recorded. The network's training option `noise_prob` makes noise of this kind, so that `noise`
      is what such a gate was taught, and `mean` what it was not. See `corruption_correlation`: beta tells the truth
      where it is negative for audio and positive for text.
    - Missing: WA, UA and ECE with both modalities, with audio only, with text only.
    - Occlusion: see `occlusion_agreement`.

    Args:
        model: it is called as `TacfnForSequenceClassification`, on the device it is on and in evaluation mode, and
            gives `logits [B, C]` and `beta [B, 1]`. beta is NaN throughout where it has no gate: every figure of beta
            is None then.
        dataset: columns h_a, h_t and label, a ClassLabel whose names the model's config knows.
        shares: the shares that are replaced, at least two, each from 0 to 1.
        seed: of which positions are replaced, by which row, and by what noise. A row's draw depends on its place.
        batch_size: rows that are held, and predicted, at a time.

    Returns:
        A dict of plain numbers: `rows`, and `left_out_rows` that lack a modality; `seed`, `shares`; `missing`, WA, UA
        and ECE (of scores at the config's temperatures) by `both`, `audio only` and `text only`; `corruption`, by
        `audio` and `text` and then `noise`, `mean` and `other`: `correlation`, and `beta_mean` and `UA` for each share;
        `occlusion`; and `carrier`, None where the dataset has no such column or not both values: `auc`, the numbers of
        `audio_rows` and `text_rows`, and `left_out_rows` with another value.

    Raises:
        ValueError: shares that are not such, a dataset without one of the columns, with fewer than two rows that have
            both modalities, or with labels that the model does not know; beta that is NaN for some rows only.
    """
    if len(set(shares)) < 2 or not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares is {list(shares)}: it must be at least two different numbers from 0 to 1.")
    label_names = label_names_of(model.config)
    rows = match_labels(rows_with_both(dataset), label_names)
    labels = labels_of(rows)
    scales = {column: feature_statistics(dataset, column) for column in NAMES}
    order = np.random.default_rng(seed).permutation(len(rows))
    donors = np.empty_like(order)
    donors[order] = np.roll(order, 1)  # one cycle through all rows: nobody is its own donor
    features = FeatureRows(rows)

    def variants(batch: list[dict[str, Any]], start: int) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        yield from with_and_without(batch, start)
        given = features.take(donors[start : start + len(batch)])
        for number, column in enumerate(NAMES):
            drawn = []
            for i, (row, donor) in enumerate(zip(batch, given, strict=True)):
                h, other = array_of(row, column), array_of(donor, column)
                rng = np.random.default_rng([seed, number, start + i])
                positions = rng.permutation(len(h) if len(h) > 1 else h.shape[1])
                mean, std = scales[column]
                noise = (mean + std * rng.standard_normal(h.shape)).astype(np.float32)
                nothing = np.broadcast_to(mean.astype(np.float32), h.shape)
                donated = other[np.arange(len(h)) % len(other)]
                drawn.append((h, positions, {"noise": noise, "mean": nothing, "other": donated}))
            for kind in REPLACEMENTS:
                for share in shares:
                    changed = [replaced(h, by[kind], positions, share) for h, positions, by in drawn]
                    yield (column, kind, share), [{**row, column: h} for row, h in zip(batch, changed)]

    found = predict(model, rows, variants, batch_size)
    beta = found["both"].beta
    corruption: dict[str, Any] = {name: {} for name in NAMES.values()}
    for column, name in NAMES.items():
        for kind in REPLACEMENTS:
            at = [found[column, kind, share] for share in shares]
            betas = None if beta is None else np.stack([predictions.beta for predictions in at])
            corruption[name][kind] = {
                "correlation": None if betas is None else corruption_correlation(betas, shares),
                "beta_mean": [None] * len(at) if betas is None else [float(mean) for mean in betas.mean(axis=1)],
                "UA": [accuracy(predictions, labels, label_names)["UA"] for predictions in at],
            }
    each = np.arange(len(labels))
    true = {name: softmax(found[name].logits, axis=1)[each, labels] for name in ("both", *ONE_LEFT)}
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
    """
    WA, UA and ECE on the rows that have both modalities, by `both`, `audio only` and `text only`, which is what
    the model is given. Arguments and errors are those of `measure_gate_truth`.
    """
    rows = match_labels(rows_with_both(dataset), label_names_of(model.config))
    found = predict(model, rows, with_and_without, batch_size)
    return {name: figures_of(name, predictions, labels_of(rows), model.config) for name, predictions in found.items()}


def carrier_auc(beta: np.ndarray, carrier: Sequence[str]) -> float:
    """
    Area under the ROC curve of beta for "audio carries the emotion" against "text carries it": how likely beta is
    larger in a row of the first kind than in one of the second. 0.5 is chance.

    Args:
        beta: `[N]`.
        carrier: `[N]`, `audio` or `text`; rows with another value are left out.

    Raises:
        ValueError: no row with one of the two.
    """
    carrier = np.asarray(carrier, dtype=object)
    for name in NAMES.values():
        if name not in carrier:
            raise ValueError(f"No row has the carrier {name!r}: rows with 'audio' and rows with 'text' are compared.")
    chosen = np.isin(carrier, list(NAMES.values()))
    return float(roc_auc_score(carrier[chosen] == "audio", np.asarray(beta)[chosen]))


def corruption_correlation(beta: np.ndarray, shares: Sequence[float]) -> float:
    """
    The mean over N utterances of Spearman's correlation between share and beta; an utterance whose beta is the same
    at all S shares counts 0.

    Args:
        beta: `[S, N]`.
        shares: `[S]`, what share of the modality was replaced.
    """
    return float(spearman(np.broadcast_to(shares, np.shape(beta)[::-1]), np.transpose(beta)).mean())


def occlusion_agreement(beta: np.ndarray | None, audio_drop: np.ndarray, text_drop: np.ndarray) -> dict[str, Any]:
    """
    How far beta agrees with which modality says more: what the true class's probability loses when it is removed. The
    difference of both drops is that of the probabilities by either modality alone; those by both have no part in it.

    Args:
        beta: `[N]`, or None for a model without a gate.
        audio_drop: `[N]`, the probability with both modalities minus that without audio.
        text_drop: `[N]`, minus that without text.

    Returns:
        `correlation`: Spearman's, over the rows, of beta and `audio_drop - text_drop`, 0 where one of them is the same
        in all rows; `auc` of beta for "removing audio hurts more than removing text", None where no row, or every row,
        is one of these; and how many `audio_rows` and `text_rows` are hurt more by removing that. Rows that are hurt
        equally have no part in the `auc`.
    """
    difference = np.asarray(audio_drop) - np.asarray(text_drop)
    result = {"audio_rows": int((difference > 0).sum()), "text_rows": int((difference < 0).sum())}
    if beta is None:
        return {"correlation": None, "auc": None, **result}
    unequal = difference != 0
    auc = float(roc_auc_score(difference[unequal] > 0, beta[unequal])) if min(result.values()) > 0 else None
    return {"correlation": float(spearman(beta[None], difference[None])[0]), "auc": auc, **result}


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """
    Spearman's rank correlation of each row of `x [N, S]` with that of `y [N, S]`: `[N]`, equal values sharing their
    mean rank; 0 where one side is constant.
    """
    x, y = (pd.DataFrame(values).rank(axis=1).to_numpy() for values in (x, y))
    x, y = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (x, y))
    norm = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), norm, out=np.zeros(len(norm)), where=norm > 0)


def replaced(h: np.ndarray, by: np.ndarray, order: np.ndarray, share: float) -> np.ndarray:
    """
    `h [L, d]` with a share of it taken from `by [L, d]`: the first ones in `order`, which permutes the L positions or,
    where L is 1, the d dimensions. The number is rounded, a half to the even neighbour.
    """
    chosen = order[: round(share * len(order))]
    index = chosen if len(h) > 1 else (slice(None), chosen)
    changed = h.copy()
    changed[index] = by[index]
    return changed


def with_and_without(batch: list[dict[str, Any]], start: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The batch as it is, and without either modality."""
    yield "both", batch
    for name, missing in ONE_LEFT.items():
        yield name, [{key: value for key, value in row.items() if key != missing} for row in batch]


def rows_with_both(dataset: Dataset) -> Dataset:
    """The rows that lack neither h_a nor h_t."""
    for column in (*NAMES, "label"):
        if column not in dataset.column_names:
            raise ValueError(f"The dataset has no column {column!r}: it has {', '.join(dataset.column_names)}.")
    complete = np.flatnonzero(complete_rows(dataset))
    if len(complete) < 2:
        raise ValueError(f"The dataset has {len(complete)} rows with both h_a and h_t: at least 2 are needed.")
    return dataset.select(complete)


def labels_of(dataset: Dataset) -> np.ndarray:
    """The labels of a dataset as integers `[N]`."""
    return np.asarray(dataset.with_format(None)["label"][:])


def array_of(row: dict[str, Any], column: str) -> np.ndarray:
    """The features of a row that has them, as float32 `[L, d]`."""
    return as_features(row, column, 0).numpy().astype(np.float32)


def batches(dataset: Dataset, batch_size: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The number of each batch's first row, and its rows, with what the collator takes of them but the labels."""
    rows = FeatureRows(dataset.select_columns([name for name in ("id", *NAMES) if name in dataset.column_names]))
    for start in range(0, len(rows), batch_size):
        yield start, rows.take(range(start, min(start + batch_size, len(rows))))


@torch.no_grad()
def predict(
    model: nn.Module,
    rows: Dataset,
    variants: Callable[[list[dict[str, Any]], int], Iterator[tuple[Any, list[dict[str, Any]]]]],
    batch_size: int,
) -> dict[Any, Predictions]:
    """
    What the model says to each variant of the rows.

    Args:
        variants: of a batch of rows and the number of its first one: names with the changed batch. One changed batch
            is held at a time.
    """
    model.eval()
    device = next(model.parameters()).device
    collate = TacfnDataCollator()
    found = defaultdict(list)
    with tqdm(total=len(rows), desc="Predicting variants", unit="utterance") as bar:
        for start, batch in batches(rows, batch_size):
            for name, changed in variants(batch, start):
                output = model(**{key: value.to(device) for key, value in collate(changed).items()})
                found[name].append([values.float().cpu().numpy() for values in (output.logits, output.beta[:, 0])])
            bar.update(len(batch))
    predictions = {}
    for name, parts in found.items():
        logits, beta = (np.concatenate(values).astype(np.float64) for values in zip(*parts, strict=True))
        without = np.isnan(beta)
        if without.any() and not without.all():
            raise ValueError(f"beta is NaN in {without.sum()} of {len(beta)} rows: a model has a gate or has none.")
        predictions[name] = Predictions(logits, None if without.all() else beta)
    return predictions


def accuracy(predictions: Predictions, labels: np.ndarray, label_names: Sequence[str]) -> dict[str, float]:
    """WA and UA of predictions for labels `[N]`, as fractions."""
    result = EmotionMetric(keep_in_memory=True).compute(
        predictions=predictions.logits.argmax(axis=-1), references=labels, label_names=list(label_names)
    )
    return {name: result[name] for name in ("WA", "UA")}


def figures_of(name: str, predictions: Predictions, labels: np.ndarray, config: TacfnConfig) -> dict[str, float]:
    """`missing` of `measure_gate_truth`, of one name in it."""
    # As beta would have it, but by what is there: a model without a gate has no beta.
    temperature = config.temperature_of(name != "text only", name != "audio only")
    scores = class_scores(predictions.logits, temperature)
    error = expected_calibration_error(scores, labels)
    return {**accuracy(predictions, labels, label_names_of(config)), "ECE": error}


def carrier_figures(rows: Dataset, beta: np.ndarray | None) -> dict[str, Any] | None:
    """`carrier` of `measure_gate_truth`."""
    if "carrier" not in rows.column_names:
        return None
    carrier = rows.with_format(None)["carrier"][:]
    counts = {f"{name}_rows": carrier.count(name) for name in NAMES.values()}
    if min(counts.values()) == 0:
        return None
    auc = None if beta is None else carrier_auc(beta, carrier)
    return {"auc": auc, **counts, "left_out_rows": len(carrier) - sum(counts.values())}


def summarize_gate_truth(results: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """
    The figures of one or several results of `measure_gate_truth` by short names, as means over the results: AUCs and
    UA and ECE as fractions, rank correlations. None where a result has none.
    """
    rows = []
    for result in results:
        rows.append(
            {
                "carrier AUC": None if result["carrier"] is None else result["carrier"]["auc"],
                **{
                    f"{name}, {kind}": result["corruption"][name][kind]["correlation"]
                    for kind in REPLACEMENTS
                    for name in NAMES.values()
                },
                "occlusion AUC": result["occlusion"]["auc"],
                "occlusion correlation": result["occlusion"]["correlation"],
                **{
                    f"{figure} {name}": figures[figure]
                    for figure in ("UA", "ECE")
                    for name, figures in result["missing"].items()
                },
            }
        )
    found = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        found[name] = None if None in values else float(np.mean(values))
    return found


def format_gate_truth(result: dict[str, Any]) -> str:
    """The result of `measure_gate_truth` as tables."""

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
        lines.append(f"against what carries the emotion: {auc(carrier)}{others}")
    correlation = number(occlusion["correlation"])
    lines += [f"against what hurts more when removed: {auc(occlusion)}, correlation {correlation}", ""]
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
