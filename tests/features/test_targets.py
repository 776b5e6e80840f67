"""What is learned of a dataset: which rows have it, how it is mapped to a model's outputs, and what is refused."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.collation import collate_labels
from tacfn_hf.features.splits import split_dataset
from tacfn_hf.features.targets import labelled_rows, problem_type_for, targets_of, with_targets


NAMES = ["angry", "calm", "sad"]


def make(**columns) -> Dataset:
    data = {
        "id": ["u0", "u1", "u2", "u3"],
        "label": [0, 1, None, 2],
        "labels": [[0, 2], [], None, [1]],
        "arousal": [1.0, 4.0, 2.5, None],
        "valence": [1, 3, 5, 2],
        "dominance": [1.0, float("nan"), 5.0, 2.0],
        "split": ["train", "train", "validation", "test"],
        "h_t": [[0.0, 1.0]] * 4,
        **columns,
    }
    kinds = {
        "label": ClassLabel(names=NAMES),
        "labels": List(ClassLabel(names=NAMES)),
        "valence": Value("int64"),
        **dict.fromkeys(("arousal", "dominance"), Value("float64")),
        **dict.fromkeys(("id", "split"), Value("string")),
        "h_t": List(Value("float32")),
    }
    kinds = {name: Value("string") if isinstance(data[name][0], str) else kinds[name] for name in data}
    return Dataset.from_dict(data, features=Features(kinds))


def args(target: str, *value_range: float, **more) -> DataArguments:
    return DataArguments("", split_column="split", target=target, target_range=list(value_range) or None, **more)


def targets(dataset: Dataset, names: list[str], data_args: DataArguments) -> dict[str, np.ndarray]:
    parts = with_targets(split_dataset(dataset, data_args), names, data_args)
    assert all("label" not in part.column_names for part in parts.values())
    return {name: np.array(part.with_format(None)["labels"][:]) for name, part in parts.items()}


def test_values_are_fractions_of_their_range_in_the_order_of_the_model():
    found = targets(make(), ["valence", "arousal"], args("arousal,valence", 1, 5, drop_unlabelled=True))
    assert np.allclose(found["train"], [[0, 0], [0.5, 0.75]])
    assert np.allclose(found["valid"], [[1, 0.375]])


def test_several_labels_are_matched_by_their_names_and_an_empty_list_is_none_of_them():
    dataset = make(labels=[[0, 2], [], [1], [1]])
    found = targets(dataset, ["sad", "angry", "calm"], args("labels"))
    assert np.array_equal(found["train"], [[1, 1, 0], [0, 0, 0]])
    assert np.array_equal(found["test"], [[0, 0, 1]])


def test_a_column_label_of_lists_is_of_several_labels_too():
    """As CMU-MOSEI has it."""
    dataset = make(labels=[[0, 2], [], [1], [1]]).remove_columns("label").rename_column("labels", "label")
    assert np.array_equal(targets(dataset, NAMES, args("labels"))["train"], [[1, 0, 1], [0, 0, 0]])
    with pytest.raises(ValueError, match=r"must be a ClassLabel with names\. Train on it with target labels"):
        split_dataset(dataset, args("label"))


def test_one_class_is_learned_though_there_are_several_labels_too():
    data_args = args("label", drop_unlabelled=True)
    parts = with_targets(split_dataset(make(), data_args), NAMES, data_args)
    assert "labels" not in parts["train"].column_names
    assert collate_labels(list(parts["train"].with_format(None))).tolist() == [0, 1]
    assert collate_labels(list(make().with_format(None).select([0, 1]))).tolist() == [0, 1]  # as they are stored


def test_which_rows_have_the_target():
    assert labelled_rows(make(), "label").tolist() == [True, True, False, True]
    assert labelled_rows(make(), "labels").tolist() == [True, True, False, True]
    assert labelled_rows(make(), "avd").tolist() == [True, False, True, False]
    parts = split_dataset(make(), args("valence,dominance", 1, 5, drop_unlabelled=True))
    assert {name: part["id"][:].tolist() for name, part in parts.items()} == {
        "train": ["u0"],
        "valid": ["u2"],
        "test": ["u3"],
    }


def test_the_targets_that_a_dataset_has():
    assert targets_of(make()) == ["label", "labels", "avd", "arousal", "valence", "dominance"]
    assert [problem_type_for(name) for name in ("label", "votes", "labels", "a,b")] == [
        "single_label_classification",
        "single_label_classification",
        "multi_label_classification",
        "regression",
    ]


@pytest.mark.parametrize(
    ("changes", "data_args", "sentence"),
    [
        (
            {},
            args("pleasure", 1, 5),
            "target is pleasure, which the train part does not have.*: label, labels, avd",
        ),
        ({"arousal": ["a", "b", "c", "d"]}, args("avd", 1, 5), "The column arousal of .* is .*: it must be numbers"),
        (
            {},
            args("arousal,valence"),
            "for values give their scale, such as --target_range 1 5",
        ),
        ({}, args("valence", 5, 1), "target_range is 5 1: give the lowest and the highest value"),
        ({}, args("valence", 1, 4), r"valence of the row with id 'u2' \(valid\) is 5: target_range says 1 to 4"),
        ({}, args("avd", 1, 5), r"The row with id 'u1' \(train\) has no value of avd: give it one, or leave all such"),
        ({"labels": [[-1], [0], [], []]}, args("labels"), r"The labels of .*'u0' .* are \[-1\]: they must be 0 to 2"),
        ({}, args("label", 1, 5), "target_range is given, but target is label: only values have a range"),
        ({}, args("valence,valence", 1, 5), "target is 'valence,valence': it must be label, votes, labels, avd, or"),
    ],
)
def test_what_is_refused(changes, data_args, sentence):
    dataset = make(**changes)
    with pytest.raises(ValueError, match=sentence):
        with_targets(
            split_dataset(dataset, data_args), NAMES if data_args.target == "labels" else ["valence"], data_args
        )


def test_labels_that_the_model_does_not_have_are_named():
    dataset = make(labels=[[0, 2], [], [1], [1]])
    with pytest.raises(ValueError, match="the train part has the labels angry, calm, sad, the model angry, calm"):
        targets(dataset, NAMES[:2], args("labels"))
