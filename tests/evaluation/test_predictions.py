"""How far scores lie from the shares of votes."""

from math import log

import numpy as np
import pytest

from tacfn_hf.evaluation.predictions import distances_to_votes


def divergence(p, q):
    """KL of p from q in nats, from its definition."""
    return sum(a * log(a / b) for a, b in zip(p, q) if a > 0)


def test_distances_to_votes_are_their_definitions():
    random = np.random.default_rng(0)
    scores = random.dirichlet(np.ones(4), 30).astype(np.float32)
    shares = random.multinomial(3, [0.7, 0.1, 0.1, 0.1], 30) / 3  # most rows have a class without votes
    without = random.random(30) < 0.3
    kl, js = [], []
    for p, q in zip(shares[~without].tolist(), scores[~without].astype(np.float64).tolist()):
        middle = [(a + b) / 2 for a, b in zip(p, q)]
        kl.append(divergence(p, q))
        js.append((divergence(p, middle) + divergence(q, middle)) / 2)
    shares[without] = np.nan
    found = distances_to_votes(shares, scores)
    assert found == pytest.approx({"KL": sum(kl) / len(kl), "JS": sum(js) / len(js)}, rel=1e-9)


def test_distances_to_votes_at_their_ends():
    ends = np.eye(3)
    assert distances_to_votes(ends, ends) == pytest.approx({"KL": 0, "JS": 0}, abs=1e-6)
    opposite = distances_to_votes(ends, np.roll(ends, 1, axis=1))
    assert opposite["JS"] == pytest.approx(log(2), rel=1e-5)
    assert np.isfinite(opposite["KL"])
    assert distances_to_votes(np.full((2, 3), np.nan), ends[:2]) == {}
