"""Encoders and fusion network trained together by the project's own trainer."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset
from tiny import config_for

from tacfn_hf import TacfnDualEncoderForSequenceClassification, TacfnForSequenceClassification, TacfnProcessor
from tacfn_hf.cli.main import main
from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.evaluation.predictions import write_predictions
from tacfn_hf.features.raw_collation import TacfnRawDataCollator
from tacfn_hf.training.fine_tuning import check_test_rows
from tacfn_hf.training.objective import Objective
from tacfn_hf.training.setup import check_features, load_model
from tacfn_hf.training.trainer import build_trainer
from tacfn_hf.training.training_arguments import TacfnTrainingArguments


torch.set_num_threads(1)


@pytest.fixture(scope="module")
def processor(encoders):
    return TacfnProcessor.from_encoders(*encoders)


@pytest.fixture
def model(processor):
    torch.manual_seed(0)
    fusion = TacfnForSequenceClassification(
        config_for(processor, id2label={0: "low", 1: "high"}, gate_reads_distance=False)
    )
    return TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor)


def rows(number: int) -> Dataset:
    """High and low tones, of which every fourth row lacks the text."""
    generator, time = np.random.default_rng(0), np.arange(3200) / 16000
    data = [
        {
            "id": f"u{i}",
            "audio": {
                "array": (np.sin(2 * np.pi * (300, 2000)[i % 2] * time) + 0.1 * generator.normal(size=3200)).tolist(),
                "sampling_rate": 16000,
            },
            "text": None if i % 4 == 0 else "Yes.",
            "label": i % 2,
        }
        for i in range(number)
    ]
    return Dataset.from_list(data).cast_column("label", ClassLabel(names=["low", "high"]))


def batch_of(processor, model, number: int = 6) -> dict[str, torch.Tensor]:
    return TacfnRawDataCollator(processor.from_model(model))(list(rows(number)))


def test_the_objective_is_that_of_the_features_which_the_encoders_make(processor, model):
    for module in model.modules():
        if "encoder" not in type(module).__name__.lower() and isinstance(module, torch.nn.Dropout | torch.nn.Dropout1d):
            module.p = 0.0
    model.train()
    for encoder in (model.audio_encoder, model.text_encoder):
        encoder.eval()
    batch = batch_of(processor, model)
    labels = batch.pop("labels")
    objective = Objective(unimodal_loss_weight=0.7, gate_loss_weight=3.0, noise_prob=0.5)
    torch.manual_seed(1)
    loss, output = objective(model, batch, labels)
    features = {name: output[name].detach() for name in ("h_a", "mask_a", "h_t", "mask_t")}
    torch.manual_seed(1)
    assert torch.allclose(objective(model, features, labels)[0], loss, atol=1e-5)
    plain = objective(copy.deepcopy(model).eval(), batch, labels)[0]
    assert (loss - plain).abs() > 0.1
    loss.backward()
    for encoder in (model.audio_encoder, model.text_encoder):
        assert any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in encoder.parameters())


def test_the_trainer_learns_and_evaluates_whole_clips(processor, model, tmp_path):
    parts = {"train": rows(32), "valid": rows(8)}
    args = TacfnTrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=12,
        learning_rate=2e-3,
        per_device_train_batch_size=8,
        gate_loss_weight=1.0,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    collator = TacfnRawDataCollator(processor.from_model(model), crop_seconds=0.15)
    trainer = build_trainer(model, args, parts, collator)
    lengths = {
        name: {int(n) for batch in loader for n in batch["input_lengths"]}
        for name, loader in (("train", trainer.get_train_dataloader()), ("valid", trainer.get_eval_dataloader()))
    }
    assert lengths == {"train": {2400}, "valid": {3200}}
    trainer.train()
    assert trainer.evaluate()["eval_UA"] > 0.9


def test_lengths_of_features_are_not_there(processor, model, tmp_path):
    args = TacfnTrainingArguments(output_dir=str(tmp_path), train_sampling_strategy="group_by_length", use_cpu=True)
    with pytest.raises(ValueError, match="train_sampling_strategy is group_by_length, which goes by the lengths"):
        build_trainer(model, args, {"train": rows(4), "valid": rows(4)}, TacfnRawDataCollator(processor))


def test_features_of_a_tuned_model_are_extracted_and_no_others_are_taken(processor, model, tmp_path):
    with torch.no_grad():
        model.text_encoder.model.embeddings.word_embeddings.weight.mul_(1.5)
    model.save_pretrained(tmp_path / "tuned")
    processor.from_model(model).save_pretrained(tmp_path / "tuned")
    rows(4).to_parquet(str(tmp_path / "rows.parquet"))
    extract = ["extract", "--dataset", str(tmp_path / "rows.parquet"), "--use_cpu"]
    main([*extract, "--processor_name", str(tmp_path / "tuned"), "--output_dir", str(tmp_path / "features")])
    features = open_dataset(str(tmp_path / "features"))
    expected = processor.from_model(model)(text="Yes.")["h_t"][0].half()
    assert np.allclose(features.with_format("numpy")[1]["h_t"], expected, atol=1e-2)
    check_features(features, load_model(str(tmp_path / "tuned")).config, "the features")
    model.audio_encoder.model.feature_projection.projection.weight.data.mul_(2)
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="h_a of the features has features of .* on others its answers mean nothing"):
        check_features(features, load_model(str(tmp_path / "other")).config, "the features")


def test_rows_that_the_model_was_tested_on_are_not_trained_on(tmp_path):
    check_test_rows(str(tmp_path), rows(4))  # it was tested on nothing
    write_predictions(tmp_path, {"valid": pd.DataFrame({"id": ["u0"]}), "test": pd.DataFrame({"id": ["u5", "u6"]})})
    check_test_rows(str(tmp_path), rows(4))
    with pytest.raises(ValueError, match="1 training rows, such as 'u5', are test rows of"):
        check_test_rows(str(tmp_path), rows(6))
