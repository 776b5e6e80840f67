"""Lengths, sizes and gaps are those of the features, however these are stored."""

import numpy as np
import pytest
from datasets import Array2D, Dataset, Features, List, Value

from tacfn_hf.features.shapes import complete_rows, feature_lengths, feature_size, rows_with


KINDS = {
    "List": List(List(Value("float16"))),
    "List of a length": List(List(Value("float16"), length=3)),
    "Array2D": Array2D((None, 3), "float32"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_sizes_and_gaps(kind):
    h_a = [None if n is None else np.ones((n, 3)) for n in (None, 2, 5, None)]
    h_t = [None if n is None else np.ones((n, 3)) for n in (4, None, 1, None)]
    dataset = Dataset.from_dict({"h_a": h_a, "h_t": h_t}, Features(h_a=KINDS[kind], h_t=KINDS[kind]))
    assert feature_lengths(dataset).tolist() == [4, 2, 5, 0]
    assert feature_lengths(dataset.remove_columns("h_t")).tolist() == [0, 2, 5, 0]
    assert feature_lengths(dataset.select([2, 0])).tolist() == [5, 4]
    assert rows_with(dataset, "h_a").tolist() == [False, True, True, False]
    assert complete_rows(dataset).tolist() == [False, False, True, False]
    assert feature_size(dataset, "h_a") == feature_size(dataset.select([3, 1]), "h_a") == 3
    assert feature_size(dataset.select([0]), "h_a") is None
    lacking = dataset.remove_columns("h_a")
    assert not rows_with(lacking, "h_a").any()
    assert feature_size(lacking, "h_a") is None
    assert not complete_rows(lacking).any()
