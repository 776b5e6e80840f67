"""The record of a run: metrics.json says what the fields hold, and gives them back."""

import json
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError

from tacfn_hf.evaluation.predictions import read_predictions
from tacfn_hf.evaluation.record import RunRecord


RECORD = RunRecord(
    metrics={"test": {"UA": 0.5, "per_class": [{"name": "sad", "recall": None}]}},
    dataset="features/mine",
    rows={"train": 8, "test": 4},
    label_names=["sad", "glad"],
    num_parameters=12,
    temperatures={"both": 1.5, "audio": 1, "text": 0.5},
    seed=0,
    speakers={"train": 2, "test": 0},
    settings={"learning_rate": 0.001, "seeds": [0, 1]},
)


def test_a_record_is_read_as_it_was_written(tmp_path):
    RECORD.write(tmp_path / "run", {})
    assert RunRecord.read(tmp_path / "run") == RECORD


def test_figures_stand_under_their_part_and_everything_else_under_about(tmp_path):
    RECORD.write(tmp_path, {})
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert set(content) == {"test", "about"}
    assert content["test"] == RECORD.metrics["test"]
    assert content["about"]["rows"] == {"train": 8, "test": 4}
    assert content["about"]["versions"]["torch"]


def test_predictions_of_all_parts_stand_beside_the_record(tmp_path):
    table = pd.DataFrame({"id": ["a", "b"], "label": ["sad", "glad"], "beta": [0.25, 1.0]})
    RECORD.write(tmp_path, {"valid": table, "test": table.iloc[:1]})
    assert list(read_predictions(tmp_path)["split"]) == ["valid", "valid", "test"]
    assert list(read_predictions(tmp_path)["id"]) == ["a", "b", "a"]


def test_a_run_that_can_not_write_its_predictions_has_no_record(tmp_path):
    with pytest.raises(pa.ArrowException):
        RECORD.write(tmp_path, {"test": pd.DataFrame({"id": [object()]})})
    assert not (tmp_path / "metrics.json").exists()


def test_what_another_version_wrote_beside_the_fields_is_left_out(tmp_path):
    RECORD.write(tmp_path, {})
    content = json.loads((tmp_path / "metrics.json").read_text())
    content["about"]["weather"] = "rain"
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert RunRecord.read(tmp_path) == RECORD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("about"), 'has no "about"'),
        (lambda content: content["about"].pop("rows"), "it lacks rows"),
        (lambda content: content["about"].update(rows="many"), "'rows'"),
        (lambda content: content["about"].update(rows={"test": "many"}), "'rows'"),
        (lambda content: content["about"].update(temperatures={"both": None}), "'temperatures'"),
        (lambda content: content.update(test=[1]), "'metrics'"),
    ],
)
def test_a_file_that_is_no_record_says_why(tmp_path, change, message):
    RECORD.write(tmp_path, {})
    content = json.loads((tmp_path / "metrics.json").read_text())
    change(content)
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is not the record of a run") as raised:
        RunRecord.read(tmp_path)
    assert message in str(raised.value)


def test_a_folder_without_a_record_is_not_that_of_a_finished_run(tmp_path):
    with pytest.raises(ValueError, match="it is not the folder of a finished run"):
        RunRecord.read(tmp_path)


def test_a_field_of_another_kind_is_refused_in_python_too():
    with pytest.raises(StrictDataclassFieldValidationError, match="rows"):
        replace(RECORD, rows="many")
