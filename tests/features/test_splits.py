"""Train, validation and test parts that do not leak, and errors that name what is wrong."""

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Value
from sessions import arguments, make, plain

from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.splits import open_part, split_dataset


def test_named_groups():
    parts = split_dataset(make(), arguments(group_column="session", test_groups=["4"], valid_groups=["1", "3"]))
    assert {name: set(plain(part, "session")) for name, part in parts.items()} == {
        "train": {2},
        "valid": {1, 3},
        "test": {4},
    }
    assert parts["train"][0]["h_t"].dtype == np.float32


def test_fractions_of_groups():
    given = arguments(group_column="session", test_fraction=0.25, valid_fraction=0.2, valid_group_column="dialogue")
    parts = split_dataset(make(), given)
    assert {name: len(part) for name, part in parts.items()} == {"train": 28, "test": 12, "valid": 8}
    assert not set(plain(parts["test"], "session")) & set(plain(parts["train"], "session"))
    assert not set(plain(parts["valid"], "dialogue")) & set(plain(parts["train"], "dialogue"))
    again = split_dataset(make(), given)
    assert {name: plain(part, "id") for name, part in parts.items()} == {n: plain(p, "id") for n, p in again.items()}
    seeds = [
        plain(
            split_dataset(make(), arguments(group_column="dialogue", test_fraction=0.3, split_seed=seed))["test"],
            "id",
        )
        for seed in (0, 1)
    ]
    assert seeds[0] != seeds[1]


def test_given_splits():
    by_column = split_dataset(make(), arguments(split_column="part", group_column="session"))
    assert {name: len(part) for name, part in by_column.items()} == {"train": 24, "valid": 12, "test": 12}
    dataset = make()
    given = DatasetDict(train=dataset.select(range(24)), validation=dataset.select(range(24, 48)))
    assert {name: len(part) for name, part in split_dataset(given, arguments()).items()} == {
        "train": 24,
        "valid": 24,
    }
    drawn = split_dataset(
        DatasetDict(train=dataset.select(range(24)), test=dataset.select(range(24, 48))),
        arguments(valid_fraction=0.5, valid_group_column="dialogue"),
    )
    assert {name: len(part) for name, part in drawn.items()} == {"train": 12, "valid": 12, "test": 24}


def test_rows_without_a_label_are_left_out_where_that_is_said(caplog):
    labels = [None if i in (3, 30) else i % 3 for i in range(48)]
    parts = split_dataset(make(label=labels), arguments(split_column="part", drop_unlabelled=True))
    assert {name: len(part) for name, part in parts.items()} == {"train": 23, "valid": 11, "test": 12}
    assert "2 of 48 rows of train have no label: left out." in caplog.text
    assert not {"u3", "u30"} & {row_id for part in parts.values() for row_id in plain(part, "id")}


def empty_modalities() -> Dataset:
    return make(6, h_a=[None] * 5 + [np.ones((1, 4))], h_t=[np.ones((1, 5))] * 3 + [np.zeros((0, 5)), None, None])


BAD_SPLITS = {
    "no column": (
        make,
        {"group_column": "actor", "test_groups": ["1"]},
        "'actor', but .* has id, h_a, .*session",
    ),
    "no split column": (make, {"split_column": "fold"}, "split_column is 'fold'"),
    "no group": (
        make,
        {"group_column": "session", "test_groups": ["9"]},
        "test_groups names 9, but .* 1, 2, 3, 4",
    ),
    "both": (
        make,
        {"group_column": "session", "test_groups": ["1", "2"], "valid_groups": ["2"]},
        "test_groups and valid_groups both name 2",
    ),
    "two ways": (
        make,
        {"group_column": "session", "test_groups": ["1"], "test_fraction": 0.2},
        "test_groups and test_fraction are both given",
    ),
    "no group column": (make, {"test_fraction": 0.2}, "group_column does not say"),
    "fraction": (make, {"group_column": "session", "valid_fraction": 1.5}, "valid_fraction is 1.5"),
    "one group": (lambda: make(8), {"group_column": "session", "test_fraction": 0.5}, "at least 2 groups"),
    "nothing left": (make, {"group_column": "session", "test_groups": list("1234")}, "no training row"),
    "test twice": (
        make,
        {"split_column": "part", "group_column": "session", "test_groups": ["1"]},
        "test_groups is given, but the dataset already has a test part",
    ),
    "unknown split": (
        lambda: make(4, part=["train", "test", "extra", "train"]),
        {"split_column": "part"},
        "split_column 'part' is 'extra'",
    ),
    "null split": (lambda: make(2, part=["train", None]), {"split_column": "part"}, "null in row 1"),
    "same part twice": (
        lambda: make(3, part=["train", "dev", "valid"]),
        {"split_column": "part"},
        "'valid' beside",
    ),
    "leak": (
        lambda: make(part=["train", "test"] * 24),
        {"split_column": "part", "group_column": "session"},
        "'session' are in train and in test: 1, 2, 3, 4",
    ),
    "leak into validation": (
        lambda: make(part=["train", "dev"] * 24),
        {"split_column": "part", "group_column": "dialogue"},
        "'dialogue' are in train and in valid: d0",
    ),
    "empty part": (lambda: DatasetDict(train=make(), test=make().select([])), {}, "test part has no rows"),
    "same id": (
        lambda: DatasetDict(train=make(), test=make(6)),
        {},
        "id 'u0' occurs twice, in train and in test",
    ),
    "same id in a part": (lambda: make(2, id=["x", "x"]), {}, "id 'x' occurs twice, in train"),
    "no label": (lambda: make(2, label=[0, None]), {}, "id 'u1' .* has no label: .* drop_unlabelled"),
    "label -1": (lambda: make(2, label=[0, -1]), {}, "label of the row with id 'u1' .* is -1"),
    "no names": (lambda: make().cast_column("label", Value("int64")), {}, "must be a ClassLabel"),
    "other names": (
        lambda: DatasetDict(train=make(), test=make(6, "v", label_names=["sad", "angry"])),
        {},
        "test part has the labels sad, angry",
    ),
    "no features": (lambda: make().remove_columns(["h_a", "h_t"]), {}, "neither a column h_a nor h_t"),
    "no id": (lambda: make().remove_columns("id"), {}, "no column 'id'"),
    "nothing in a row": (empty_modalities, {}, "id 'u3' .* has neither h_a nor h_t"),
}


@pytest.mark.parametrize("case", BAD_SPLITS)
def test_bad_splits(case):
    dataset, values, message = BAD_SPLITS[case]
    with pytest.raises(ValueError, match=message) as caught:
        split_dataset(dataset(), arguments(**values))
    assert "\n" not in str(caught.value)


def test_one_part_of_a_folder(tmp_path):
    make().save_to_disk(tmp_path)
    given = DataArguments(dataset=str(tmp_path), group_column="session", test_groups=["4"])
    assert plain(open_part(given, "test"), "id") == [f"u{i}" for i in range(36, 48)]
    assert sorted(plain(open_part(given, "all"), "id")) == sorted(f"u{i}" for i in range(48))
    with pytest.raises(ValueError, match="has no part 'valid': it has train, test"):
        open_part(given, "valid")


def test_rows_of_audio_and_text_are_divided_as_their_features_are():
    given = arguments(group_column="session", test_fraction=0.25, valid_fraction=0.2, valid_group_column="dialogue")
    rows = make().remove_columns(["h_a", "h_t"])
    parts = split_dataset(rows, given, with_features=False)
    of_features = split_dataset(make(), given)
    assert {name: part["id"][:] for name, part in parts.items()} == {n: plain(p, "id") for n, p in of_features.items()}
    with pytest.raises(ValueError, match="has neither a column h_a nor h_t"):
        split_dataset(rows, given)
    with pytest.raises(ValueError, match="occurs twice"):
        split_dataset(rows.select([*range(48), 0]), given, with_features=False)
