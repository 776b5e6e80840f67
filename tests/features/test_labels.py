"""Labels of a dataset and of a model, matched by their names."""

import numpy as np
import pytest
from tiny import make_features

from tacfn_hf.features.labels import match_labels, share_labels


NAMES = ["neutral", "angry", "sad"]


def plain(dataset, column: str) -> list:
    return list(dataset.with_format(None)[column])


def test_labels_are_matched_by_name():
    dataset = make_features(6, NAMES)
    assert match_labels(dataset, NAMES) is dataset
    order = ["sad", "happy", "neutral", "angry"]
    matched = match_labels(dataset, order)
    assert [order[i] for i in plain(matched, "label")] == [NAMES[i] for i in plain(dataset, "label")]
    assert np.array_equal(matched[1]["h_a"], dataset.with_format("numpy")[1]["h_a"])
    with pytest.raises(ValueError, match="label sad: the dataset has neutral, angry, sad, the model neutral, angry"):
        match_labels(dataset, ["neutral", "angry"])


def test_labels_of_both():
    dataset = make_features(12, ["calm", "sad", "angry"])
    rows, shared, left_out = share_labels(dataset.with_format("numpy").select(range(12)), NAMES)
    assert shared == ["angry", "sad"]
    assert left_out == {"calm": 4}
    names = [rows.features["label"].names[i] for i in plain(rows, "label")]
    assert names == ["sad", "angry"] * 4
    assert plain(rows, "id") == [f"u{i}" for i in range(12) if i % 3]
    np.testing.assert_equal(plain(rows, "h_t"), [dataset[i]["h_t"] for i in range(12) if i % 3])
    assert isinstance(rows[1]["h_a"], np.ndarray)
    with pytest.raises(
        ValueError, match="no label in common: the dataset has calm, bored, the model neutral, angry, sad"
    ):
        share_labels(make_features(12, ["calm", "bored"]), NAMES)
    with pytest.raises(ValueError, match="No row of the dataset has one of the labels that the model has too, sad"):
        share_labels(make_features(2, ["calm", "bored", "sad"]), NAMES)
