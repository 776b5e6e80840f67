import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Array2D, Dataset, Features, List, Value
from tiny import make_features
from torch.utils.data import DataLoader

from tacfn_hf.features.arrow_layout import feature_arrays
from tacfn_hf.features.collation import TacfnDataCollator
from tacfn_hf.features.feature_rows import FeatureRows


SIZE = 3
LENGTHS = [4, 2, None, 1, 5, 2]
VARIABLE = {"List": List(List(Value("float32"))), "List of a length": List(List(Value("float32"), length=SIZE))}
KINDS = {**VARIABLE, "Array2D": Array2D((None, SIZE), "float32"), "float64": List(List(Value("float64")))}
KINDS["float16"] = List(List(Value("float16"), length=SIZE))


def values_of(lengths):
    rng = np.random.default_rng(0)
    halves = [None if n is None else rng.integers(-9, 9, size=(n, SIZE)) / 2 for n in lengths]  # exact in every kind
    return [None if h is None else h.astype(np.float32) for h in halves]


def dataset_of(h_a, feature, **columns):
    data = {"h_a": [h.tolist() if isinstance(h, np.ndarray) else h for h in h_a], **columns}
    plain = Dataset.from_dict(columns).features if columns else {}
    return Dataset.from_dict(data, features=Features({"h_a": feature, **plain}))


def same(found, wanted):
    if wanted is None:
        return found is None
    return isinstance(found, np.ndarray) and found.shape == wanted.shape and np.array_equal(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_the_arrays_that_were_stored(kind):
    values = values_of(LENGTHS)
    dataset = dataset_of(values, KINDS[kind])
    for chosen in ([0, 1, 2, 3, 4, 5], [5, 0, 3], [2], range(1, 4)):
        for selected, picked in ((dataset.select(chosen), range(len(chosen))), (dataset, chosen)):
            found = FeatureRows(selected).take(picked)
            assert all(same(row["h_a"], values[i]) for row, i in zip(found, chosen, strict=True))


@pytest.mark.parametrize("kind", VARIABLE)
def test_rows_of_length_zero_stay_apart_from_null(kind):
    values = [np.ones((2, SIZE), np.float32), np.ones((0, SIZE), np.float32), None]
    found = [row["h_a"] for row in FeatureRows(dataset_of(values, VARIABLE[kind])).take([0, 1, 2])]
    assert same(found[0], values[0])
    assert len(found[1]) == 0
    assert found[2] is None


def test_vectors_and_whole_numbers_keep_their_values():
    vectors = [row for h in values_of([2, 3]) for row in h]
    rows = FeatureRows(dataset_of(vectors, List(Value("float32")))).take(range(5))
    assert all(same(row["h_a"], h) for row, h in zip(rows, vectors, strict=True))
    whole = [np.arange(6).reshape(2, 3), np.arange(3).reshape(1, 3)]
    rows = FeatureRows(dataset_of(whole, List(List(Value("int32"))))).take([0, 1])
    assert all(same(row["h_a"], h) for row, h in zip(rows, whole, strict=True))


def test_rows_can_be_written_to_and_the_dataset_keeps_its_values():
    values = values_of([2, 3])
    rows = FeatureRows(dataset_of(values, VARIABLE["List"]))
    for row in rows.take([0, 1]):
        row["h_a"] += 1
    assert all(same(row["h_a"], h) for row, h in zip(rows.take([0, 1]), values, strict=True))


def test_rows_have_what_the_collator_takes_whatever_the_format():
    dataset = dataset_of(values_of([2, 3]), VARIABLE["List"], id=["x", "y"], label=[1, 0], duration=[0.5, 0.6])
    whole = dataset.with_format("torch", columns=["h_a"], output_all_columns=True)
    for rows in (dataset, dataset.with_format("numpy"), whole):
        found = FeatureRows(rows)
        assert len(found) == 2
        assert [set(row) for row in found.take([0, 1])] == [{"id", "h_a", "label"}] * 2
        assert [(row["id"], row["label"]) for row in found.take([1, 0])] == [("y", 0), ("x", 1)]
        assert found[1]["id"] == "y"
    assert set(FeatureRows(dataset.with_format("numpy", columns=["h_a", "duration"]))[0]) == {"h_a"}


def test_workers_give_the_same_batches():
    values = values_of([2, 3, 1, 2])
    rows = FeatureRows(dataset_of(values, VARIABLE["List"], label=[0, 1, 0, 1]))
    batches = [list(DataLoader(rows, 3, num_workers=n, collate_fn=TacfnDataCollator())) for n in (0, 2)]
    for one, other in zip(*batches, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(batches[0][0]["h_a"][1], torch.from_numpy(values[1]))


@pytest.mark.parametrize("ragged", [[[1.0, 2.0], [3.0]], [[1.0, 2.0], None], [[1.0, 2.0], [3.0, None]]])
def test_what_is_no_array_is_named_by_the_collator(ragged):
    dataset = dataset_of([[[0.0, 1.0]], ragged], List(List(Value("float32"))), id=["x", "y"], label=[0, 1])
    with pytest.raises(TypeError, match="h_a of the row with id 'y' is not an array of numbers"):
        TacfnDataCollator()(FeatureRows(dataset).take([0, 1]))


def test_chunks_follow_each_other_wherever_they_were_cut():
    values = values_of(LENGTHS)
    whole = dataset_of(values, VARIABLE["List"]).with_format("arrow")[:].column("h_a").combine_chunks()
    column = pa.chunked_array([whole.slice(0, 2), whole.slice(2, 0), whole.slice(2, 3), whole.slice(5)])
    assert all(same(h, value) for h, value in zip(feature_arrays(column), values, strict=True))


def test_label_is_what_is_trained_on_where_there_are_labels_too():
    """label is the column that is checked, and that class weights come from."""
    rows = make_features(6).add_column("labels", [2] * 6)
    assert [row.get("labels", row.get("label")) for row in FeatureRows(rows).take(range(6))] == rows["label"][:]
