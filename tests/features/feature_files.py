"""Features in files beside a table of utterances, and what is read of them."""

import numpy as np
import pyarrow as pa


LENGTHS = [3, 1, 4, 2, 5]
IDS = ["u3", "u1", "u5", "u2", "u4"]
LABELS = ["sad", "happy", "sad", "angry", "happy"]
NAMES = ["happy", "angry", "sad"]


def table(**columns) -> pa.Table:
    return pa.table({"id": IDS, "label": LABELS, "session": [1, 1, 2, 2, 3]} | columns)


def utterances(arrays) -> list[np.ndarray]:
    return np.split(arrays["audio"], np.cumsum(LENGTHS)[:-1])


def raw(dataset, column: str) -> list[np.ndarray | None]:
    """The stored features, in the stored dtype."""
    dtype = dataset.features[column].feature.feature.dtype
    return [None if value is None else np.array(value, dtype) for value in dataset[column]]


def assert_same(values, expected) -> None:
    assert len(values) == len(expected)
    for value, wanted in zip(values, expected, strict=True):
        if wanted is None:
            assert value is None
        else:
            assert value.dtype == wanted.dtype
            assert value.shape == wanted.shape
            assert value.tobytes() == wanted.tobytes()
