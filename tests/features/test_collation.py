"""The batch has the features where its masks say so, and every bad row is named."""

import numpy as np
import pytest
import torch
from datasets import Array2D, Dataset, Features, List, Value

from tacfn_hf.features.collation import TacfnDataCollator


def row(length_a: int | None = 2, length_t: int | None = 3, **more) -> dict:
    row = {"id": "u1", **more}
    if length_a is not None:
        row["h_a"] = np.ones((length_a, 4), dtype=np.float16)
    if length_t is not None:
        row["h_t"] = np.ones((length_t, 5), dtype=np.float32)
    return row


def test_pads_with_zeros_behind_the_masks():
    batch = TacfnDataCollator()([row(2, 3, label=1), row(5, 1, label=0)])
    assert batch["h_a"].shape == (2, 5, 4)
    assert batch["h_t"].shape == (2, 3, 5)
    assert batch["h_a"].dtype == batch["h_t"].dtype == torch.float32
    assert batch["mask_a"].tolist() == [[False] * 2 + [True] * 3, [False] * 5]
    assert batch["mask_t"].tolist() == [[False] * 3, [False, True, True]]
    for h, mask in (("h_a", "mask_a"), ("h_t", "mask_t")):
        assert torch.equal(batch[h], (~batch[mask]).float().unsqueeze(-1).expand_as(batch[h]))
    assert batch["labels"].tolist() == [1, 0]
    assert batch["labels"].dtype == torch.int64


def test_pads_to_a_multiple():
    batch = TacfnDataCollator(pad_to_multiple_of=4)([row(2, 4), row(5, 1)])
    assert batch["h_a"].shape[1] == 8
    assert batch["h_t"].shape[1] == 4


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, list])
def test_takes_arrays_tensors_lists_and_vectors(kind):
    batch = TacfnDataCollator()([{"h_a": kind([1.0, 2.0])}, {"h_a": kind([[3.0, 4.0], [5.0, 6.0]])}])
    assert batch["h_a"].tolist() == [[[1, 2], [0, 0]], [[3, 4], [5, 6]]]
    assert batch["mask_a"].tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("missing", [None, [], np.zeros((0, 4)), float("nan")])
def test_missing_modality(missing):
    batch = TacfnDataCollator()([row(2, 3), {**row(None, 3), "h_a": missing}])
    assert batch["mask_a"].tolist() == [[False, False], [True, True]]
    assert not batch["h_a"][1].any()
    alone = TacfnDataCollator()([{**row(None, 3), "h_a": missing}])
    assert set(alone) == {"h_t", "mask_t"}


@pytest.mark.parametrize("feature", [Array2D((None, 4), "float16"), List(List(Value("float16")))])
def test_rows_of_a_dataset(feature):
    dataset = Dataset.from_dict(
        {"id": ["a", "b", "c"], "h_a": [np.ones((2, 4)), None, np.ones((1, 4))], "h_t": [[0.5]] * 3},
        features=Features({"id": Value("string"), "h_a": feature, "h_t": List(Value("float32"))}),
    ).with_format("numpy")
    batch = TacfnDataCollator()(dataset.__getitems__([0, 1, 2]))  # as a DataLoader reads
    assert batch["mask_a"].tolist() == [[False, False], [True, True], [False, True]]
    assert batch["h_t"].shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([3, np.int64(1)], torch.int64), ([0.5, 1.0], torch.float32), ([[0.0, 1.0]] * 2, torch.float32)],
)
@pytest.mark.parametrize("key", ["label", "labels"])
def test_labels(labels, dtype, key):
    batch = TacfnDataCollator()([row(**{key: label}) for label in labels])
    assert batch["labels"].dtype == dtype
    assert torch.equal(batch["labels"], torch.tensor(labels, dtype=dtype))


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([row(), row(None, None, id="u7")], ValueError, "id 'u7' has neither h_a nor h_t"),
        ([{"h_a": None}], ValueError, "row 0 of the batch has neither"),
        (
            [row(), {"id": "u7", "h_a": np.ones((2, 3))}],
            ValueError,
            "h_a has 3 dimensions in the row with id 'u7' and 4",
        ),
        ([{"id": "u7", "h_t": np.ones((1, 2, 3))}], ValueError, r"h_t of .*'u7' has shape \[1, 2, 3\]"),
        ([{"id": "u7", "h_t": 3.0}], ValueError, r"h_t of .*'u7' has shape \[\]"),
        ([{"id": "u7", "h_t": ["a", "b"]}], TypeError, "h_t of .*'u7' is not an array of numbers"),
        ([{"id": "u7", "h_t": [[1.0], [1.0, 2.0]]}], TypeError, "h_t of .*'u7' is not an array of numbers"),
        ([row(label=1), row(id="u7")], ValueError, "id 'u7' has no label"),
        ([row(id="u7", label="angry")], TypeError, "label of .*'u7' is 'angry': .*class_encode_column"),
        ([row(label=1), row(id="u7", labels=["sad", "angry"])], TypeError, r"label of .*'u7' is \['sad', 'angry'\]"),
        ([row(id="u7", label=np.array(["sad"]))], TypeError, "label of .*'u7' is array.*'sad'"),
        ([row(label=[1.0]), row(id="u7", label=[1.0, 0.0])], ValueError, r"'u7' has shape \[2\]"),
    ],
)
def test_bad_rows(rows, error, message):
    with pytest.raises(error, match=message):
        TacfnDataCollator()(rows)
