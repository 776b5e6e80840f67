"""A whole run: what it leaves, and its temperatures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from sessions import NAMES, make
from torch.nn.functional import cross_entropy
from transformers import TrainerState

from tacfn_hf import TacfnConfig, TacfnDataCollator, TacfnForSequenceClassification
from tacfn_hf.evaluation.calibration import expected_calibration_error
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.collation import as_features
from tacfn_hf.training.arguments import ModelArguments
from tacfn_hf.training.run import calibrate, check_best_metric, check_output_dir, run_training
from tacfn_hf.training.setup import load_model
from tacfn_hf.training.trainer import build_trainer
from tacfn_hf.training.training_arguments import TacfnTrainingArguments


torch.set_num_threads(1)  # the models are too small for more


def test_a_push_without_a_processor_is_refused_before_training(tmp_path):
    make().save_to_disk(tmp_path / "features")
    args = TacfnTrainingArguments(output_dir=str(tmp_path / "run"), push_to_hub=True, use_cpu=True, report_to="none")
    data_args = DataArguments(str(tmp_path / "features"), group_column="session", test_groups=["4"], valid_groups=["3"])
    sizes = ModelArguments(hidden_size=8, num_attention_heads=2)
    with pytest.raises(ValueError, match="push_to_hub needs the processor"):
        run_training(data_args, sizes, args, {})
    assert not (tmp_path / "run").exists()


def test_training_on_all_rows_leaves_a_model(tmp_path):
    make().save_to_disk(tmp_path / "features")
    args = TacfnTrainingArguments(
        output_dir=str(tmp_path / "run"),
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        num_train_epochs=1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    sizes = ModelArguments(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, gate_hidden_size=4)
    assert run_training(DataArguments(dataset=str(tmp_path / "features")), sizes, args, {}) == {}
    assert load_model(str(tmp_path / "run")).config.hidden_size == 8


def train_on_noise(folder: Path, output: str, checkpoint: str | None = None, **model_args) -> dict:
    """A run in `folder/output` on labels of which two fifths are drawn; its metrics.json."""
    if not (folder / "features").exists():
        generator = np.random.default_rng(0)
        drawn, kept = generator.integers(3, size=48), generator.random(48) < 0.6
        make(label=np.where(kept, np.arange(48) % 3, drawn).tolist()).save_to_disk(folder / "features")
    data_args = DataArguments(
        dataset=str(folder / "features"), group_column="session", test_groups=["4"], valid_groups=["1", "3"]
    )
    args = TacfnTrainingArguments(
        output_dir=str(folder / output),
        eval_strategy="no",
        load_best_model_at_end=False,
        save_total_limit=None,
        num_train_epochs=6,
        learning_rate=0.03,
        gate_loss_weight=0.0,
        per_device_train_batch_size=8,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    if not model_args:
        model_args = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "gate_hidden_size": 4}
    run_training(data_args, ModelArguments(**model_args), args, {}, checkpoint)
    return json.loads((folder / output / "metrics.json").read_text())


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> tuple[Path, dict]:
    """A folder with a run on labels that are partly drawn, and its metrics.json."""
    folder = tmp_path_factory.mktemp("noisy")
    return folder, train_on_noise(folder, "run")


def name_of_temperature(row: dict) -> str:
    silent, mute = (as_features(row, column, 0) is None for column in ("h_a", "h_t"))
    return "text" if silent else "audio" if mute else "both"


def test_the_temperatures_are_those_of_the_validation_rows(noisy):
    """Of those that have both modalities, of all that have audio, without text, and of all text without audio."""
    folder, metrics = noisy
    model = load_model(str(folder / "run")).eval()
    assert metrics["about"]["temperature_fitted_on"] == "valid"
    temperatures = model.config.temperatures
    assert metrics["about"]["temperatures"] == temperatures
    assert len(set(temperatures.values())) == 3
    for temperature in temperatures.values():
        assert abs(np.log(temperature)) > 0.01  # such training is sure of itself, or has not learnt much
        assert abs(np.log(temperature)) < 2.9  # and none of the bounds
    rows = list(Dataset.load_from_disk(str(folder / "features")))
    table = pd.read_parquet(folder / "run" / "predictions.parquet").set_index("id")
    for part, sessions in (("valid", (1, 3)), ("test", (4,))):
        chosen = [row for row in rows if row["session"] in sessions]
        batch = TacfnDataCollator()(chosen)
        with torch.no_grad():
            logits = model(**batch).logits.double()
        found = table.loc[[row["id"] for row in chosen]]
        assert set(found["split"]) == {part}
        scores = found[[f"score_{name}" for name in NAMES]].to_numpy()
        own = [temperatures[name_of_temperature(row)] for row in chosen]
        assert len(set(own)) == 3
        assert np.allclose(scores, (logits / torch.tensor(own)[:, None]).softmax(-1), atol=1e-5)
        labels = np.array([int(row["label"]) for row in chosen])
        assert metrics[part]["ECE"] == pytest.approx(expected_calibration_error(scores, labels), abs=1e-12)
    valid = [row for row in rows if row["session"] in (1, 3)]
    given = {
        "both": valid,
        "audio": [{**row, "h_t": None} for row in valid if as_features(row, "h_a", 0) is not None],
        "text": [{**row, "h_a": None} for row in valid if as_features(row, "h_t", 0) is not None],
    }
    for name, temperature in temperatures.items():
        chosen = [row for row in given[name] if name_of_temperature(row) == name]
        assert len(chosen) >= 16
        batch = TacfnDataCollator()(chosen)
        with torch.no_grad():
            logits = model(**batch).logits.double()
        losses = [float(cross_entropy(logits / t, batch["labels"])) for t in np.geomspace(0.05, 20, 500)]
        assert float(cross_entropy(logits / temperature, batch["labels"])) <= min(losses) + 1e-9


def test_temperatures_where_no_validation_row_has_both(tmp_path):
    """That of both is then that of all rows, and counts where there are no rows of one modality."""
    text = make().remove_columns("h_a").select([i for i in range(48) if i % 6 != 1])
    args = TacfnTrainingArguments(
        str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True, eval_strategy="no", save_strategy="no"
    )
    sizes = {"audio_feature_size": 4, "text_feature_size": 5, "num_labels": 3, "hidden_size": 8}
    config = TacfnConfig(**sizes, temperatures={"both": 2.0, "audio": 3.0})
    calibrate(build_trainer(TacfnForSequenceClassification(config), args, {}), text)
    assert config.temperatures["both"] == config.temperatures["text"] == config.temperatures["audio"] != 2


def test_a_resumed_training_ends_with_the_same_temperature(noisy):
    folder, metrics = noisy
    again = train_on_noise(folder, "resumed", checkpoint=str(folder / "run" / "checkpoint-2"))
    assert again["about"]["temperatures"] == metrics["about"]["temperatures"]
    assert again["test"] == metrics["test"]


def test_going_on_gives_a_new_temperature_or_without_validation_rows_keeps_the_old_one(noisy):
    folder, metrics = noisy
    before = metrics["about"]["temperatures"]
    again = train_on_noise(folder, "longer", model_name_or_path=str(folder / "run"))["about"]
    assert again["temperatures"] == load_model(str(folder / "longer")).config.temperatures != before
    assert again["temperature_fitted_on"] == "valid"
    args = TacfnTrainingArguments(
        output_dir=str(folder / "all"),
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        num_train_epochs=1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    run_training(DataArguments(dataset=str(folder / "features")), ModelArguments(str(folder / "run")), args, {})
    about = json.loads((folder / "all" / "metrics.json").read_text())["about"]
    assert load_model(str(folder / "all")).config.temperatures == about["temperatures"] == before
    assert about["temperature_fitted_on"] is None


def test_the_best_value_so_far_is_of_the_metric_that_goes_on(tmp_path):
    """Otherwise a loss of 0.9 would be the best UA there ever was."""
    log_history = [{"eval_loss": 1.1, "eval_UA": 0.4}, {"loss": 1.0}, {"eval_loss": 0.9, "eval_UA": 0.5}]
    TrainerState(best_metric=0.9, log_history=log_history).save_to_json(str(tmp_path / "trainer_state.json"))
    check_best_metric(str(tmp_path), TacfnTrainingArguments(output_dir=str(tmp_path), metric_for_best_model="loss"))
    with pytest.raises(ValueError, match="metric_for_best_model is UA, and the best value .* 0.9, is of another"):
        check_best_metric(str(tmp_path), TacfnTrainingArguments(output_dir=str(tmp_path), metric_for_best_model="UA"))


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint-3", "metrics.json"])
def test_a_used_output_dir(tmp_path, name):
    check_output_dir(TacfnTrainingArguments(output_dir=str(tmp_path / "new")))
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"already holds {name}"):
        check_output_dir(TacfnTrainingArguments(output_dir=str(tmp_path)))
    check_output_dir(TacfnTrainingArguments(output_dir=str(tmp_path), resume_from_checkpoint="true"))
