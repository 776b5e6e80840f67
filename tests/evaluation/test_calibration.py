"""Calibration against its formulas: by hand, in loops, and on labels that are drawn from known probabilities."""

import math

import numpy as np
import pytest

from tacfn_hf.evaluation.calibration import class_scores, expected_calibration_error, fit_temperature


def draw(probabilities: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A label `[N]` for each row, from the row's own probabilities `[N, C]`."""
    below = probabilities.cumsum(axis=1) < generator.random((len(probabilities), 1))
    return below[:, :-1].sum(axis=1)


def drawn(rows: int, temperature: float, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that follow softmax(logits / temperature)."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(rows, classes))
    return logits, draw(softmax(logits / temperature), generator)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def nll(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return float(-np.log(softmax(logits / temperature)[np.arange(len(labels)), labels]).mean())


def test_by_hand():
    scores = [[0.75, 0.25], [0.625, 0.375], [0.5, 0.5], [0.0, 1.0], [0.125, 0.875]]
    labels = [0, 1, 0, 0, 1]  # right, wrong, right, wrong, right
    # (0.25, 0.5]: |1 - 0.5|; (0.5, 0.75]: |1 - 0.75 - 0.625|; (0.75, 1]: |1 - 1 - 0.875|
    assert expected_calibration_error(scores, labels, num_bins=4) == (0.5 + 0.375 + 0.875) / 5
    # one bin: |3 right - 3.75|
    assert expected_calibration_error(scores, labels, num_bins=1) == 0.75 / 5


@pytest.mark.parametrize(("num_bins", "dtype"), [(15, np.float64), (15, np.float32), (10, np.float64), (7, np.float64)])
def test_against_a_loop_over_bins(num_bins, dtype):
    generator = np.random.default_rng(0)
    scores = generator.dirichlet([0.5] * 5, size=500).astype(dtype)
    labels = generator.integers(5, size=500)
    edges = [i / num_bins for i in range(num_bins + 1)]
    error = 0.0
    for low, high in zip(edges, edges[1:]):
        rows = [i for i in range(500) if low < float(scores[i].max()) <= high]
        if rows:
            accuracy = sum(int(scores[i].argmax()) == labels[i] for i in rows) / len(rows)
            confidence = sum(float(scores[i].max()) for i in rows) / len(rows)
            error += len(rows) / 500 * abs(accuracy - confidence)
    assert expected_calibration_error(scores, labels, num_bins) == pytest.approx(error, rel=1e-12)


def test_calibrated_scores_have_no_error():
    """
    Of B bins the mean ECE of calibrated scores is at most sum_b sqrt(n_b / 4) / N <= sqrt(B / N) / 2, since each row's
    term has a variance of at most 1/4. One row changes it by at most 1 / N, so that (McDiarmid 1989) it is more than
    sqrt(ln(1e9) / 2N) above its mean once in 1e9 draws.
    """
    rows = 100_000
    logits, labels = drawn(rows, temperature=1.0)
    bound = math.sqrt(15 / rows) / 2 + math.sqrt(math.log(1e9) / (2 * rows))
    assert expected_calibration_error(softmax(logits), labels) < bound
    assert expected_calibration_error(softmax(2 * logits), labels) > 3 * bound  # sure of itself
    assert expected_calibration_error(softmax(logits / 2), labels) > 3 * bound  # in doubt


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.3])
def test_a_known_temperature_is_found(temperature):
    """
    The maximum likelihood estimate of s = 1 / T has, for many rows, a standard deviation of 1 / sqrt(I), where I is
    Fisher's information: the sum of the logits' variances under softmax(s * logits).
    """
    logits, labels = drawn(40_000, temperature)
    p = softmax(logits / temperature)
    information = ((p * logits**2).sum(axis=1) - (p * logits).sum(axis=1) ** 2).sum()
    found = fit_temperature(logits, labels)
    assert abs(1 / found - 1 / temperature) < 6 / math.sqrt(information)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * found, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.3])
def test_no_other_temperature_is_better(temperature):
    logits, labels = drawn(300, temperature)
    found = fit_temperature(logits, labels)
    least = nll(logits, labels, found)
    for other in (0.05, 0.5 * found, 0.99 * found, 1.01 * found, 2 * found, 20.0, 1.0, temperature):
        assert nll(logits, labels, other) >= least
    assert fit_temperature(logits, labels) == found


def test_the_bounds():
    logits, labels = np.array([[2.0, 0.0], [0.0, 1.0], [0.1, 0.0]]), np.array([0, 1, 1])
    assert fit_temperature(0.01 * logits, labels) == pytest.approx(0.05, rel=1e-6)
    assert fit_temperature(logits, 1 - labels) == pytest.approx(20.0, rel=1e-6)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_rows_that_are_all_right_say_nothing_about_the_temperature(scale):
    assert fit_temperature(scale * np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) == 1.0


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_scores_of_a_temperature(temperature):
    logits = drawn(200, 1.0)[0].astype(np.float32)
    scores = class_scores(logits, temperature)
    assert scores.dtype == np.float32
    assert np.allclose(scores, softmax(logits.astype(np.float64) / temperature), rtol=1e-6, atol=1e-30)
    assert np.array_equal(scores.argmax(axis=1), logits.argmax(axis=1))
    assert np.array_equal(class_scores(np.array([[3e4, 0.0]]), temperature), [[1.0, 0.0]])


BAD = {
    "empty": (np.zeros((0, 3)), np.zeros(0, int), r"{} is empty, of shape \[0, 3\]"),
    "no class": (np.zeros((2, 0)), np.zeros(2, int), r"{} is empty, of shape \[2, 0\]"),
    "fewer labels": (np.ones((3, 2)) / 2, np.zeros(2, int), r"{} has shape \[3, 2\] and labels \[2\]: .* \[N, C\]"),
    "flat": (np.ones(3), np.zeros(3, int), r"{} has shape \[3\] and labels \[3\]"),
    "label too large": (np.ones((2, 2)) / 2, np.array([0, 2]), r"labels\[1\] is 2: it must be in 0..1"),
    "label -100": (np.ones((2, 2)) / 2, np.array([-100, 1]), r"labels\[0\] is -100: it must be in 0..1"),
    "half a label": (np.ones((2, 2)) / 2, np.array([0.5, 1]), "labels is of float64; classes must be integers"),
    "nan": (np.array([[0.5, 0.5], [np.nan, 1]]), np.zeros(2, int), r"Row 1 of {} is \[nan, 1.0\]: .* finite"),
    "infinite": (np.array([[np.inf, 0]]), np.zeros(1, int), r"Row 0 of {} is \[inf, 0.0\]: .* finite"),
}


@pytest.mark.parametrize(("values", "labels", "message"), BAD.values(), ids=BAD)
def test_bad_input(values, labels, message):
    with pytest.raises(ValueError, match=message.format("scores")):
        expected_calibration_error(values, labels)
    with pytest.raises(ValueError, match=message.format("logits")):
        fit_temperature(values, labels)


@pytest.mark.parametrize("row", [[2.0, -1.0], [0.0, 0.0], [1.5, 0.0], [-0.1, 0.5]])
def test_scores_that_are_no_probabilities(row):
    with pytest.raises(ValueError, match=r"Row 1 of scores is \[.*\]: these are no probabilities"):
        expected_calibration_error([[0.5, 0.5], row], [0, 1])


def test_no_bins():
    with pytest.raises(ValueError, match="num_bins is 0: it must be at least 1"):
        expected_calibration_error([[0.5, 0.5]], [0], num_bins=0)
