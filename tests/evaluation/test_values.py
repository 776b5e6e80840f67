"""Figures of values against their formulas."""

import numpy as np
import pandas as pd
import pytest

from tacfn_hf.evaluation.values import (
    concordance_correlation,
    pearson_correlation,
    value_columns_of,
    value_figures,
    value_figures_of_table,
)


def draw(rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    references = generator.normal(3, 1, size=(rows, 2))
    return references * [0.5, 1.0] + [1.2, 0.0] + 0.3 * generator.normal(size=(rows, 2)), references


def test_figures_are_those_of_the_formulas():
    predictions, references = draw()
    found = value_figures(predictions, references, ["arousal", "valence"])
    for i, row in enumerate(found["per_value"]):
        x, y = predictions[:, i], references[:, i]
        n, mx, my = len(x), sum(x) / len(x), sum(y) / len(y)
        sxx, syy = sum((x - mx) ** 2) / n, sum((y - my) ** 2) / n
        sxy = sum((x - mx) * (y - my)) / n
        assert row["CCC"] == pytest.approx(2 * sxy / (sxx + syy + (mx - my) ** 2), abs=1e-12)
        assert row["pearson"] == pytest.approx(sxy / (sxx * syy) ** 0.5, abs=1e-12)
        assert row["MAE"] == pytest.approx(sum(abs(x - y)) / n, abs=1e-12)
        assert row["RMSE"] == pytest.approx((sum((x - y) ** 2) / n) ** 0.5, abs=1e-12)
    for name in ("CCC", "pearson", "MAE", "RMSE"):
        assert found[name] == pytest.approx(np.mean([row[name] for row in found["per_value"]]))


def test_concordance_falls_with_a_shift_or_a_scale_and_correlation_does_not():
    _, references = draw()
    y = references[:, 0]
    assert concordance_correlation(y, y) == pytest.approx(1)
    for other in (y + 1, 0.5 * y, -y):
        assert concordance_correlation(other, y) < 0.9
    assert pearson_correlation(2 * y + 1, y) == pytest.approx(1)
    assert concordance_correlation(np.full(50, 3.0), y) == pearson_correlation(np.full(50, 3.0), y) == 0
    # One mapping of both, as from a scale of 1 to 5 to one of 0 to 1, changes nothing.
    assert concordance_correlation((0.5 * y - 1) / 4, (y - 1) / 4) == pytest.approx(concordance_correlation(0.5 * y, y))


def test_a_table_gives_the_figures_back():
    predictions, references = draw()
    names = ["arousal", "a $b"]
    table = pd.DataFrame(value_columns_of(predictions, references, names))
    found, expected = value_figures_of_table(table, names), value_figures(predictions, references, names)
    assert found["CCC"] == pytest.approx(expected["CCC"], abs=1e-6)
    assert [row["label"] for row in found["per_value"]] == names


def test_what_is_refused():
    predictions, references = draw()
    with pytest.raises(ValueError, match=r"predictions are \[50, 2\] and references \[50, 1\]: they must be \[N, 2\]"):
        value_figures(predictions, references[:, :1], ["a", "b"])
    predictions[3, 0] = np.nan
    with pytest.raises(ValueError, match="finite values"):
        value_figures(predictions, references, ["a", "b"])
