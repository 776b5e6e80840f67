"""Datasets whose rows are averaged over time."""

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from sessions import make

from tacfn_hf.features.shapes import lengths_of
from tacfn_hf.features.statistics import feature_covariance
from tacfn_hf.features.time_averages import mean_over_time


@pytest.mark.parametrize("rows", [range(48), [40, 3, 6, 7, 8]])
def test_means_are_those_of_the_rows_and_gaps_stay(rows):
    dataset = make().select(rows).with_format("numpy")
    averaged = mean_over_time(dataset)
    assert averaged.format["type"] == "numpy"
    for column in ("h_a", "h_t"):
        given = [None if np.ndim(row[column]) == 0 else np.float64(row[column]) for row in dataset]
        found = averaged.with_format(None)[column][:]
        assert any(h is None for h in given)
        for h, mean in zip(given, found, strict=True):
            assert (h is None) == (mean is None)
            if h is not None:
                np.testing.assert_allclose(mean, h.mean(axis=0, keepdims=True), rtol=1e-6)
    plain, before = averaged.with_format(None), dataset.with_format(None)
    assert {name: plain[name][:] for name in ("id", "label")} == {name: before[name][:] for name in ("id", "label")}


def test_columns_that_the_format_hides_stay_hidden():
    dataset = make().with_format("numpy", columns=["id", "h_t", "label"])
    assert mean_over_time(dataset).column_names == ["id", "label", "h_t"]
    assert mean_over_time(dataset).format["type"] == "numpy"


def test_a_vector_is_a_sequence_of_one():
    vectors = [[1.0, 2.0], None, [3.0, 5.0]]
    dataset = Dataset.from_dict({"h_a": vectors}, features=Features({"h_a": List(Value("float32"))}))
    assert lengths_of(dataset, "h_a").tolist() == [1, 0, 1]
    assert mean_over_time(dataset)["h_a"][:] == [[[1.0, 2.0]], None, [[3.0, 5.0]]]


def test_covariance_is_that_of_all_positions_behind_the_map():
    dataset = make()
    rows = [row["h_t"] for row in dataset.with_format("numpy")]
    positions = np.concatenate([h for h in rows if np.ndim(h)]).astype(np.float64)
    mean, covariance, count = feature_covariance(dataset, "h_t", lambda h: 2 * h - 1)
    assert count == len(positions)
    np.testing.assert_allclose(mean, 2 * positions.mean(axis=0) - 1, atol=1e-6)
    np.testing.assert_allclose(covariance, 4 * np.cov(positions.T, ddof=0), atol=1e-6)
