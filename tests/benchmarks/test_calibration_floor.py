"""What the benchmark of calibration takes for chance."""

import sys
from pathlib import Path

import numpy as np
import pytest


sys.path.append(str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

from calibration_floor import expected_by_chance  # noqa: E402


def test_the_error_by_chance_of_one_row():
    """A score of 0.7 is off by 0.3 where the row is right, in 7 of 10 draws, and by 0.7 where it is not."""
    expected = 0.7 * 0.3 + 0.3 * 0.7
    assert expected_by_chance(np.array([[0.3, 0.7]]), 4000, seed=0) == pytest.approx(expected, abs=0.015)


def test_the_error_by_chance_falls_with_the_number_of_rows():
    scores = np.random.default_rng(0).dirichlet([1.0, 2.0, 3.0], size=6400)
    few, many = (expected_by_chance(scores[:size], 20, seed=0) for size in (100, 6400))
    assert many == pytest.approx(few / 8, rel=0.25)
