"""Expected values are worked out by hand from the formulas."""

import doctest

import pytest

from tacfn_hf.evaluation import metrics
from tacfn_hf.evaluation.metrics import EmotionMetric, format_table


NAMES = ["neutral", "happy", "angry", "sad"]
# neutral 2 of 3 right, happy 1 of 2, angry 0 of 1, sad is in no reference but predicted once
REFERENCES = [0, 0, 0, 1, 1, 2]
PREDICTIONS = [0, 0, 1, 1, 3, 0]


def compute(**kwargs):
    return EmotionMetric().compute(predictions=PREDICTIONS, references=REFERENCES, **kwargs)


def test_values():
    result = compute(label_names=NAMES)
    f1 = [2 * (2 / 3) * (2 / 3) / (2 / 3 + 2 / 3), 2 * (1 / 2) * (1 / 2) / (1 / 2 + 1 / 2), 0.0]
    assert result["WA"] == pytest.approx(3 / 6)
    assert result["UA"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert result["wF1"] == pytest.approx((3 * f1[0] + 2 * f1[1] + 1 * f1[2]) / 6)
    assert result["macro_F1"] == pytest.approx(sum(f1) / 3)
    assert result["confusion"] == [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert result["per_class"][0] == pytest.approx(
        {"label": "neutral", "support": 3, "recall": 2 / 3, "precision": 2 / 3, "f1": 2 / 3}
    )
    assert result["per_class"][3] == {"label": "sad", "support": 0, "recall": 0, "precision": 0, "f1": 0}


def test_order_of_samples_does_not_matter_and_names_are_optional():
    shuffled = EmotionMetric().compute(predictions=PREDICTIONS[::-1], references=REFERENCES[::-1])
    assert shuffled == compute()
    assert [row["label"] for row in shuffled["per_class"]] == ["0", "1", "2", "3"]
    assert shuffled["WA"] == compute(label_names=NAMES)["WA"]


def test_added_batch_by_batch():
    metric = EmotionMetric()
    metric.add_batch(predictions=PREDICTIONS[:2], references=REFERENCES[:2])
    metric.add_batch(predictions=PREDICTIONS[2:], references=REFERENCES[2:])
    assert metric.compute(label_names=NAMES) == compute(label_names=NAMES)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "predictions and references are empty"),
        ([0, 4], [0, 1], r"predictions\[1\] is 4.* 0 to 3 \(neutral, happy, angry, sad\)"),
        ([0, 1], [-100, 1], r"references\[0\] is -100.* 0 to 3"),
        ([0, 1.5], [0, 1], r"predictions\[1\] is 1.5; class indices must be whole numbers"),
        ([0, float("nan")], [0, 1], r"predictions\[1\] is nan"),
        ([0, 1, 2], [0, 1], r"predictions \(3\) and references \(2\)"),
    ],
)
def test_bad_input(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        EmotionMetric().compute(predictions=predictions, references=references, label_names=NAMES)


def test_table():
    lines = format_table(compute(label_names=NAMES) | {"beta_mean": 0.512, "beta_std": 0.1034}).splitlines()
    assert lines[0].split() == ["WA", "50.0%", "UA", "38.9%", "wF1", "50.0%", "macro", "F1", "38.9%"]
    assert lines[1] == "beta 0.512 ± 0.103 (0 = text, 1 = audio)"
    cells = [line.split() for line in lines]
    assert ["happy", "50.0%", "50.0%", "50.0%", "2"] in cells
    assert ["happy", "0", "1", "0", "1"] in cells
    assert "beta" not in format_table(compute())
    assert format_table(compute() | {"ECE": 0.0314}).splitlines()[0].endswith("macro F1 38.9%   ECE 3.1%")


def test_doctest():
    assert doctest.testmod(metrics).attempted > 0
    assert doctest.testmod(metrics).failed == 0
