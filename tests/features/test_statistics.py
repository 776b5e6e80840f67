"""Mean and standard deviation of features, in float64."""

import numpy as np
from datasets import Array2D, Dataset, Features

from tacfn_hf.features.statistics import feature_statistics


def test_statistics_are_those_of_all_positions():
    generator = np.random.default_rng(0)
    h_a = [generator.normal(size=(i % 4, 3)) * 1e-3 + 1e4 if i % 4 else None for i in range(600)]
    dataset = Dataset.from_dict({"h_a": h_a}, features=Features({"h_a": Array2D(shape=(None, 3), dtype="float64")}))
    positions = np.concatenate([h for h in h_a if h is not None]).astype(np.float32).astype(np.float64)
    mean, std = feature_statistics(dataset.with_format("numpy"), "h_a")
    assert np.allclose(mean, positions.mean(axis=0), rtol=1e-12)
    assert np.allclose(std, positions.std(axis=0), rtol=1e-6)
