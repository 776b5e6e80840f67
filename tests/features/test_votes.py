"""Votes as targets: their shares, which rows have them, and what is refused."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.splits import split_dataset
from tacfn_hf.features.targets import class_counts, with_targets
from tacfn_hf.features.votes import vote_shares


NAMES = ["angry", "calm", "sad"]
ROWS = [  # label, votes for angry and for sad, split
    ("angry", (3, 1), "train"),
    (None, (2, 2), "train"),
    ("sad", None, "train"),
    ("sad", (0, 0), "train"),
    ("angry", (4, 0), "validation"),
    (None, (1, 1), "test"),
    ("sad", (0, 5), "test"),
]


def make(rows=ROWS) -> Dataset:
    data = {
        "id": [f"u{i}" for i in range(len(rows))],
        "label": [None if label is None else NAMES.index(label) for label, *_ in rows],
        "votes": [None if votes is None else dict(zip(("angry", "sad"), votes)) for _, votes, _ in rows],
        "split": [split for *_, split in rows],
        "h_t": [[float(i), 1.0] for i in range(len(rows))],
    }
    votes = {"angry": Value("int64"), "sad": Value("int64")}
    kinds = {"id": Value("string"), "label": ClassLabel(names=NAMES), "votes": votes, "split": Value("string")}
    dataset = Dataset.from_dict({name: data[name] for name in kinds}, features=Features(kinds))
    return dataset.add_column("h_t", data["h_t"])


def test_shares_are_those_of_the_classes_by_their_names():
    shares = vote_shares(make(), ["sad", "calm", "angry"])
    assert np.isnan(shares[[2, 3]]).all()
    assert np.array_equal(shares[[0, 1, 4, 6]], [[0.25, 0, 0.75], [0.5, 0, 0.5], [0, 0, 1], [1, 0, 0]])


def test_rows_without_agreement_are_trained_on_and_not_tested_on(caplog):
    data_args = DataArguments("", split_column="split", target="votes", drop_unlabelled=True)
    parts = split_dataset(make(), data_args)
    assert {name: part["id"][:].tolist() for name, part in parts.items()} == {
        "train": ["u0", "u1"],
        "valid": ["u4"],
        "test": ["u6"],
    }
    targets = with_targets(parts, ["sad", "calm", "angry"], data_args)
    assert np.allclose(targets["train"].with_format(None)["labels"][:], [[0.25, 0, 0.75], [0.5, 0, 0.5]])
    assert "label" not in targets["train"].column_names
    assert targets["test"].with_format(None)["label"][:] == [0]
    assert np.allclose(class_counts(targets["train"], ["sad", "calm", "angry"]), [0.75, 0, 1.25])
    with pytest.raises(ValueError, match=r"The row with id 'u5' \(test\) has no label"):
        split_dataset(make(), DataArguments("", split_column="split", target="votes"))


def test_what_is_refused():
    with pytest.raises(ValueError, match="The votes of the row with id 'u0' are .*: they must be at least 0"):
        vote_shares(make([("angry", (-1, 2), "train")]), NAMES)
    parts = {"train": make(ROWS[:1]), "test": make([("angry", (-1, 2), "test")])}
    with pytest.raises(ValueError, match="The votes of the row with id 'u0'"):  # before training
        with_targets(parts, NAMES, DataArguments(""))
    with pytest.raises(ValueError, match="the dataset has votes for sad, which is none of the labels angry, calm"):
        vote_shares(make(), NAMES[:2])
    with pytest.raises(ValueError, match="target is votes, but the dataset has no column 'votes': it has id, label"):
        vote_shares(make().remove_columns("votes"), NAMES)
    plain = make().remove_columns("votes").add_column("votes", [1.0] * 7)
    with pytest.raises(ValueError, match="The column 'votes' of the dataset is .*: it must be a struct"):
        vote_shares(plain, NAMES)
