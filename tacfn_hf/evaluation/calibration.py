"""How far scores can be taken as probabilities: expected calibration error, and temperatures that lower it."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax


NUM_BINS = 15


TEMPERATURE_BOUNDS = (0.05, 20.0)


def class_scores(logits: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """
    The scores of single-label classification: softmax of `logits [N, C]` / temperature, which is one number or one of
    each row `[N]`. float32 `[N, C]`.
    """
    logits = np.asarray(logits, dtype=np.float64)
    return softmax(logits / np.reshape(temperature, (-1, 1)), axis=-1).astype(np.float32)


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """
    ECE (Guo et al. 2017, On Calibration of Modern Neural Networks): the rows are put into bins of equal width by their
    top score, each bin `(lo, hi]`; the mean over the rows of their bin's |share of right rows - mean top score|.

    Args:
        scores: probabilities `[N, C]`.
        labels: classes `[N]`, 0 to C - 1.

    Returns:
        A fraction from 0 to 1.

    Raises:
        ValueError: no rows, shapes that do not fit each other, a label out of range, or a score that is none.
    """
    scores, labels = checked(scores, labels, "scores")
    if num_bins < 1:
        raise ValueError(f"num_bins is {num_bins}: it must be at least 1.")
    top = scores.max(axis=1)
    outside = np.flatnonzero((scores.min(axis=1) < 0) | (top <= 0) | (top > 1))
    if len(outside):
        raise ValueError(f"Row {outside[0]} of scores is {scores[outside[0]].tolist()}: these are no probabilities.")
    bins = np.searchsorted(np.linspace(0, 1, num_bins + 1), top, side="left") - 1
    right = scores.argmax(axis=1) == labels
    gaps = np.bincount(bins, weights=right - top)  # of each bin, its rows times the difference of their means
    return float(np.abs(gaps).sum() / len(labels))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """
    The temperature T from 0.05 to 20 at which softmax(logits / T) has the least mean negative log likelihood (Guo et
    al. 2017). Where every row is right, a lower one is always better, and T is 1: then no temperature can be fitted.

    Args:
        logits: `[N, C]`.
        labels: classes `[N]`, 0 to C - 1; or shares of votes `[N, C]`.

    Raises:
        ValueError: no rows, shapes that do not fit each other, a label out of range, or a logit that is not finite.
    """
    shares = np.asarray(labels)
    if shares.ndim == 1:
        logits, labels = checked(logits, labels, "logits")
        shares = np.eye(logits.shape[1])[labels]
    logits, _ = checked(logits, shares.argmax(axis=1), "logits")
    if (shares[np.arange(len(logits)), logits.argmax(axis=1)] == 1).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        return -(shares * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(axis=1).mean()

    # The loss is convex in 1 / T, so it has one minimum in log T too, where the two directions count alike.
    found = minimize_scalar(loss, bounds=np.log(TEMPERATURE_BOUNDS), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def checked(values: np.ndarray, labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`values [N, C]` in float64 and integer `labels [N]`, or a ValueError that says what is wrong."""
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise ValueError(
            f"{name} has shape {list(values.shape)} and labels {list(labels.shape)}: they must be [N, C] and [N]."
        )
    if values.size == 0:
        raise ValueError(f"{name} is empty, of shape {list(values.shape)}; at least one row and class is needed.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels is of {labels.dtype}; classes must be integers.")
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        raise ValueError(f"Row {broken[0]} of {name} is {values[broken[0]].tolist()}: every value must be finite.")
    outside = np.flatnonzero((labels < 0) | (labels >= values.shape[1]))
    if len(outside):
        raise ValueError(f"labels[{outside[0]}] is {labels[outside[0]]}: it must be in 0..{values.shape[1] - 1}.")
    return values, labels
