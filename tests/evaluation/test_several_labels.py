"""Figures of several labels against their formulas, and thresholds."""

import numpy as np
import pandas as pd
import pytest

from tacfn_hf.evaluation.several_labels import (
    fit_thresholds,
    several_columns_of,
    several_figures,
    several_figures_of_table,
)


NAMES = ["angry", "sad", "never"]
THRESHOLDS = [0.4, 0.7, 0.5]


def draw(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Scores that tell the first two labels in part; the third one never occurs."""
    generator = np.random.default_rng(0)
    references = (generator.random((rows, 3)) < [0.3, 0.6, 0.0]).astype(int)
    return np.clip(0.3 * references + 0.6 * generator.random((rows, 3)), 0, 1), references


def average_precision(scores, there):
    """The mean, over the rows that have the label, of the precision among the rows with at least their score."""
    return np.mean([there[scores >= score].mean() for score in scores[there == 1]])


def test_figures_are_those_of_the_formulas():
    scores, references = draw()
    found = several_figures(scores, references, NAMES, THRESHOLDS)
    chosen = scores >= THRESHOLDS
    f1s, accuracies, precisions = [], [], []
    for i in range(2):
        there, said = references[:, i] == 1, chosen[:, i]
        hits, false, missed = (said & there).sum(), (said & ~there).sum(), (~said & there).sum()
        f1s.append(2 * hits / (2 * hits + false + missed))
        # Tong et al. 2017: (hits * N / P + correct rejections) / 2N, where P rows have the label and N have not.
        positives, negatives = there.sum(), (~there).sum()
        accuracies.append((hits * negatives / positives + (~said & ~there).sum()) / (2 * negatives))
        precisions.append(average_precision(scores[:, i], references[:, i]))
        row = found["per_label"][i]
        assert (row["support"], row["threshold"]) == (positives, THRESHOLDS[i])
        assert [row["f1"], row["weighted_accuracy"], row["AP"]] == pytest.approx([f1s[i], accuracies[i], precisions[i]])
    assert found["macro_F1"] == pytest.approx(np.mean(f1s))
    assert found["weighted_accuracy"] == pytest.approx(np.mean(accuracies))
    assert found["mAP"] == pytest.approx(np.mean(precisions))
    hits, false, missed = ((chosen & (references == 1)).sum(), (chosen & (references == 0)).sum(), 0)
    missed = (~chosen & (references == 1)).sum()
    assert found["micro_F1"] == pytest.approx(2 * hits / (2 * hits + false + missed))
    assert found["per_label"][2]["AP"] is None


def test_one_label_alone():
    scores, references = draw()
    of_all = several_figures(scores, references, NAMES)["per_label"][0]
    assert several_figures(scores[:, :1], references[:, :1], NAMES[:1])["per_label"][0] == of_all


def test_calibration_error_is_that_of_all_scores():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.5]])
    references = np.array([[1, 0], [1, 0], [0, 1], [1, 1]])
    # Four of 0.9 of which three are there, three of 0.1 of which one is, and one of 0.5 that is.
    expected = (abs(3 - 3.6) + abs(1 - 0.3) + abs(1 - 0.5)) / 8
    assert several_figures(scores, references, ["a", "b"])["ECE"] == pytest.approx(expected)


def test_no_threshold_has_a_better_f1_than_the_fitted_one():
    scores, references = draw()
    fitted = fit_thresholds(scores, references)
    best = several_figures(scores, references, NAMES, fitted)["per_label"]
    for threshold in np.linspace(0, 1, 201):
        other = several_figures(scores, references, NAMES, [threshold] * 3)["per_label"]
        assert all(row["f1"] <= top["f1"] + 1e-12 for row, top in zip(other, best, strict=True))
    assert fitted[2] == 0.5
    assert not np.isin(fitted[:2], scores).any()  # between two scores


def test_a_table_gives_the_figures_back():
    scores, references = draw()
    table = pd.DataFrame(several_columns_of(scores, references, NAMES, THRESHOLDS))
    assert set(table["labels"][0]) == {name for name, there in zip(NAMES, references[0]) if there}
    found, expected = several_figures_of_table(table, NAMES), several_figures(scores, references, NAMES, THRESHOLDS)
    for name in ("macro_F1", "micro_F1", "weighted_accuracy", "mAP", "ECE"):
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name
