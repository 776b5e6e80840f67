"""Whether one method's UA or WA is above another's by more than chance, on the same utterances."""

from typing import Any

import numpy as np
from scipy.stats import permutation_test


def paired_permutation_test(
    right: np.ndarray,
    other_right: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    num_draws: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """
    Approximate randomisation of paired predictions (Noreen 1989, Computer-Intensive Methods for Testing Hypotheses).

    If the two methods were alike, their predictions could be exchanged. Exchanges are drawn for each group of
    utterances on its own, since those of a dialogue or a speaker are right or wrong together. All seeds are exchanged
    at once, since seeds are no new utterances. p says whether these trained models would differ on other groups. It
    does not count that models which are trained again, with other seeds, differ a little too.

    Args:
        right, other_right: whether each prediction is right, boolean `[S, N]` for S seeds and N utterances. The two may
            differ in S.
        labels: the true classes `[N]`.
        groups: the group of each utterance `[N]`; without, each is a group of its own.

    Returns:
        For "WA" and "UA" the `difference` of the means over the seeds (a fraction, positive where the first is better)
        and the two-sided `p`, twice the smaller of both one-sided ones. It is exact where all exchanges are no more
        than `num_draws`. Also the `standard_error` of the difference over other groups: `sqrt(G / (G - 1) sum r_g^2)`,
        where r_g sums, over the utterances of one of G groups, how far their gain is from its mean (for UA: from that
        of the class), divided as in the figure itself.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    right, other_right, labels = np.atleast_2d(right), np.atleast_2d(other_right), np.asarray(labels)
    groups = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if not right.shape[1] == other_right.shape[1] == len(labels) == len(groups) > 0:
        raise ValueError(
            f"The models have {right.shape[1]} and {other_right.shape[1]} utterances, the labels {len(labels)}, the "
            f"groups {len(groups)}: they must be the same, and at least one."
        )
    # Both figures are sums over utterances: an exchange turns the sign of a group's share in the difference.
    gain = right.mean(axis=0) - other_right.mean(axis=0)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = {"WA": gain / len(labels), "UA": gain / (counts[classes] * len(counts))}
    shares = {name: np.bincount(groups, weights=share) for name, share in shares.items()}
    # A group's part in how far the difference would move with other groups: a sum over utterances, less its mean.
    of_class = np.bincount(classes, weights=gain) / counts
    residuals = {
        "WA": (gain - gain.mean()) / len(labels),
        "UA": (gain - of_class[classes]) / (counts[classes] * len(counts)),
    }
    residuals = {name: np.bincount(groups, weights=of_each) for name, of_each in residuals.items()}
    result = {}
    for name, share in shares.items():
        # Of one sample, scipy's exchange of paired samples is a change of signs.
        found = permutation_test(
            (share,), np.sum, permutation_type="samples", vectorized=True, n_resamples=num_draws, batch=1000, rng=seed
        )
        error = residuals[name].std(ddof=1) * len(share) ** 0.5
        result[name] = {"difference": float(share.sum()), "standard_error": float(error), "p": float(found.pvalue)}
    return result
