"""Encoders and fusion network trained together by the project's own trainer."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset
from safetensors.torch import load_file
from tiny import config_for
from transformers import TrainerCallback

from tacfn_hf import TacfnDualEncoderForSequenceClassification, TacfnForSequenceClassification, TacfnProcessor
from tacfn_hf.cli.main import main
from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.evaluation.predictions import read_predictions, write_partition
from tacfn_hf.evaluation.record import RunRecord
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.raw_collation import TacfnRawDataCollator
from tacfn_hf.features.raw_rows import usable_rows
from tacfn_hf.features.splits import open_part, split_dataset
from tacfn_hf.model.decoding_tacfn import AudioError
from tacfn_hf.sharing.cross_validation_card import write_cross_validation_card
from tacfn_hf.training import fine_tuning
from tacfn_hf.training.fine_tuning import check_partition
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
    with torch.no_grad():  # some versions of transformers draw numbers there, which they do not use
        model.encode_audio(batch["input_values"], batch["input_lengths"])
        model.encode_text(batch["input_ids"], batch["attention_mask"])
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


def test_batches_by_length_need_the_durations(processor, model, tmp_path):
    args = TacfnTrainingArguments(output_dir=str(tmp_path), train_sampling_strategy="group_by_length", use_cpu=True)
    with pytest.raises(ValueError, match="which goes by the column duration, in seconds: the dataset does not have it"):
        build_trainer(model, args, {"train": rows(4), "valid": rows(4)}, TacfnRawDataCollator(processor))


def test_batches_of_like_seconds(processor, model, tmp_path):
    """Of 32 rows, half of them five times as long, four batches pad less than twice as much as is there."""
    seconds = [0.1, 0.5] * 16
    made = rows(32).remove_columns("audio").add_column("duration", seconds)
    made = made.add_column("audio", [{"array": [0.1] * round(16000 * s), "sampling_rate": 16000} for s in seconds])
    args = TacfnTrainingArguments(output_dir=str(tmp_path), train_sampling_strategy="batch_rebalance", use_cpu=True,
        per_device_train_batch_size=8, gradient_accumulation_steps=4, report_to="none")  # fmt: skip
    collator = TacfnRawDataCollator(processor.from_model(model))
    loader = build_trainer(model, args, {"train": made, "valid": made}, collator).get_train_dataloader()
    batches = [batch["input_lengths"] for batch in loader]
    assert sum(len(lengths) for lengths in batches) == 32
    padded = [float(len(lengths) * lengths.max()) for lengths in batches]
    assert sum(padded) < 1.2 * sum(seconds) * 16000
    assert max(padded) < 0.8 * 8 * 0.5 * 16000  # of a batch that is drawn


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


PARTS = ["--group_column", "speaker", "--test_groups", "4", "5", "--valid_groups", "3"]
BRIEF = ["--per_device_train_batch_size", "4", "--use_cpu", "true", "--disable_tqdm", "true"]


@pytest.fixture(scope="module")
def stage(encoders, tmp_path_factory):
    """A folder with rows of six speakers, their features, and a network that was trained on them: `run`, and `cv`."""
    text, audio = encoders
    folder = tmp_path_factory.mktemp("stage")
    made = rows(24).add_column("speaker", [str(i // 4) for i in range(24)])
    made.add_column("duration", [0.2] * 24).to_parquet(str(folder / "rows.parquet"))
    main(["extract", "--dataset", str(folder / "rows.parquet"), "--audio_encoder", audio, "--text_encoder", text,
        "--audio_layer", "2", "3", "--output_dir", str(folder / "features"), "--use_cpu"])  # fmt: skip
    train = ["--dataset", str(folder / "features"), *BRIEF, "--num_train_epochs", "2", "--hidden_size", "16"]
    train += ["--num_attention_heads", "2", "--gate_hidden_size", "8"]
    main(["train", *train, *PARTS, "--output_dir", str(folder / "run")])
    main(["cross-validate", *train, "--group_column", "speaker", "--num_folds", "2", "--valid_fraction", "0.4",
        "--seeds", "0", "--output_dir", str(folder / "cv")])  # fmt: skip
    return folder


def tune(stage, output_dir, *more, model="run", parts=PARTS) -> None:
    main(["fine-tune", "--model_name_or_path", str(stage / model), "--dataset", str(stage / "rows.parquet"), *parts,
        *BRIEF, "--output_dir", str(output_dir), *map(str, more)])  # fmt: skip


@pytest.mark.parametrize("lora", [[], ["--lora_rank", "2", "--learn_layer_weights"]])
def test_killed_and_resumed_it_is_as_if_nothing_had_happened(lora, stage, tmp_path, monkeypatch):
    more = ["--crop_seconds", "0.15", "--num_train_epochs", "3", "--encoder_learning_rate", "1e-3", *lora]
    more += ["--train_sampling_strategy", "batch_rebalance", "--gradient_accumulation_steps", "2"]
    more += ["--gradient_checkpointing"]
    tune(stage, tmp_path / "whole", *more)

    def kill(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainerCallback, "on_step_begin", kill)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        tune(stage, tmp_path / "killed", *more)
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "killed").glob("checkpoint-*")) == ["checkpoint-4"]
    tune(stage, tmp_path / "killed", *more, "--resume_from_checkpoint", "true")
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    start = load_model(str(stage / "run")).state_dict()
    assert any(not torch.equal(whole[name], value) for name, value in start.items())
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    record = RunRecord.read(tmp_path / "whole")
    card = (tmp_path / "whole/README.md").read_text()
    assert "(`TacfnDualEncoderForSequenceClassification`, hidden size 16" in card
    assert "trained together with its encoders of audio and text" in card
    assert "`tacfn fine-tune`" in card
    assert ("learned weights of the layers of audio: 2: 0." in card) == bool(lora)
    if lora:
        assert sum(record.layer_weights["audio"].values()) == pytest.approx(1, abs=1e-3)
        assert list(record.layer_weights["audio"].values()) != [0.5, 0.5]
        saved = json.loads((tmp_path / "whole/adapter/adapter_config.json").read_text())
        assert saved["base_model_name_or_path"] == "run"  # no place on this machine
        of_checkpoint = (tmp_path / "whole/checkpoint-6/adapter_model.safetensors").stat().st_size
        assert of_checkpoint < 0.7 * (tmp_path / "whole/model.safetensors").stat().st_size


def test_what_an_encoder_was_tuned_on_is_no_test_of_it(stage, tmp_path, capsys):
    shutil.copy(stage / "rows.parquet", tmp_path)
    tune(stage, tmp_path / "tuned", "--num_train_epochs", "1", "--encoder_learning_rate", "1e-3")
    tuned = str(tmp_path / "tuned")
    main(["extract", "--dataset", str(stage / "rows.parquet"), "--audio_encoder", tuned, "--text_encoder", tuned,
        "--audio_layer", "2", "3", "--output_dir", str(tmp_path / "features"), "--use_cpu"])  # fmt: skip
    features = open_dataset(str(tmp_path / "features"))
    assert features["tuned_on"][:] == ["train"] * 12 + ["valid"] * 4 + [None] * 8
    made = json.loads(features[0]["audio_provenance"])
    assert (made["encoder"], made["tuned_on"]) == ("tuned", ["rows.parquet, 12 rows"])
    model = load_model(tuned)
    expected = model(**TacfnRawDataCollator(TacfnProcessor.from_pretrained(tuned).from_model(model))([rows(2)[1]]))
    assert np.allclose(features.with_format("numpy")[1]["h_a"], expected.h_a[0].detach(), atol=1e-2)

    def parts(test: str, valid: str, **given) -> dict:
        data_args = DataArguments("", group_column="speaker", test_groups=[test], valid_groups=[valid], **given)
        return split_dataset(features, data_args)

    assert len(parts("5", "3", allow_tuned_rows=True)["train"]) == 16
    chosen = DataArguments(
        str(tmp_path / "features"), group_column="speaker", test_groups=["4", "5"], valid_groups=["3"]
    )
    assert len(open_part(chosen, "test")) == 8
    for name in ("train", "all"):
        with pytest.raises(ValueError, match="12 rows of the train part"):
            open_part(chosen, name)
    with pytest.raises(ValueError, match="12 rows of the train part, such as 'u0', are rows that an encoder was tuned"):
        parts("5", "3")
    with pytest.raises(ValueError, match="4 rows of the valid part, such as 'u0'"):
        parts("5", "0", allow_tuned_rows=True)
    for test in ("0", "3"):
        with pytest.raises(ValueError, match=f"4 rows of the test part, such as 'u{4 * int(test)}'.*no fair test"):
            parts(test, "4", allow_tuned_rows=True)
    # What is made with it, and what is saved of it, knows it too.
    saved = TacfnProcessor.from_pretrained(tmp_path / "features" / "processor")
    assert saved.tuned_rows == TacfnProcessor.from_pretrained(tuned).tuned_rows is not None
    assert "u0" not in json.dumps(saved.tuned_rows)
    assert TacfnProcessor.from_pretrained(stage / "run").tuned_rows is None
    with pytest.raises(ValueError, match="add_special_tokens is False: the text encoder of .* was tuned with True"):
        TacfnProcessor.from_encoders(tuned, tuned, audio_layer=[2, 3], add_special_tokens=False)
    with pytest.raises(ValueError, match=r"was tuned with several layers, \[2, 3\]: give audio_layer \[2, 3\]"):
        TacfnProcessor.from_encoders(tuned, tuned)
    again, other = ["--num_train_epochs", "1"], [*PARTS[:3], "0", *PARTS[3:]]
    with pytest.raises(SystemExit):
        tune(tmp_path, tmp_path / "again", *again, model="tuned", parts=other)
    assert "4 rows of the test part, such as 'u0', were in the train part of" in capsys.readouterr().err
    (tmp_path / "tuned/partition.parquet").unlink()  # as of a model of the Hub
    with pytest.raises(SystemExit):
        tune(tmp_path, tmp_path / "again", *again, model="tuned", parts=other)
    assert "4 rows of the test part, such as 'u0', are rows that an encoder was tuned on" in capsys.readouterr().err
    renamed = Dataset.from_parquet(str(tmp_path / "rows.parquet")).map(lambda row: {"id": f"new-{row['id']}"})
    renamed.to_parquet(str(tmp_path / "rows.parquet"))
    with pytest.raises(SystemExit):
        tune(tmp_path, tmp_path / "again", *again, model="tuned", parts=other)
    assert "such as 'new-u0', are rows that an encoder was tuned on, by their ids or" in capsys.readouterr().err


def test_an_error_after_training_loses_nothing(stage, tmp_path, monkeypatch):
    more = ["--num_train_epochs", "1", "--lora_rank", "2", "--encoder_learning_rate", "1e-3"]
    tune(stage, tmp_path / "whole", *more)

    def fail(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(fine_tuning, "encoded_rows", fail)
    with pytest.raises((OSError, SystemExit)):
        tune(stage, tmp_path / "failed", *more)
    whole, saved = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "failed"))
    assert all(torch.equal(saved[name], value) for name, value in whole.items())
    model = load_model(str(tmp_path / "failed"))
    assert len(TacfnProcessor.from_pretrained(tmp_path / "failed").from_model(model)(text="Yes.")["h_t"]) == 1
    monkeypatch.undo()
    tune(stage, tmp_path / "failed", *more, "--resume_from_checkpoint", "true")
    assert RunRecord.read(tmp_path / "failed").metrics == RunRecord.read(tmp_path / "whole").metrics


def test_bf16_computes_in_it_and_saves_weights_in_float32(stage, tmp_path):
    more = ["--num_train_epochs", "1", "--encoder_learning_rate", "1e-3"]
    tune(stage, tmp_path / "plain", *more)
    tune(stage, tmp_path / "bf16", *more, "--bf16", "true")
    plain, half = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "bf16"))
    assert {value.dtype for value in half.values()} == {value.dtype for value in plain.values()} == {torch.float32}
    assert any(not torch.equal(half[name], value) for name, value in plain.items())
    losses = [RunRecord.read(tmp_path / name).training_loss for name in ("plain", "bf16")]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_each_fold_is_tuned_on_its_own_training_rows(stage, tmp_path, capsys):
    more = ["--num_train_epochs", "1", "--lora_rank", "2"]
    tune(stage, tmp_path / "cv", *more, model="cv", parts=[])
    assert "pooled" in capsys.readouterr().out
    frozen, tuned = (json.loads((of / "cross_validation.json").read_text()) for of in (stage / "cv", tmp_path / "cv"))
    assert list(tuned["folds"]) == ["1", "2"]
    for name, fold in tuned["folds"].items():
        assert fold["test_groups"] == frozen["folds"][name]["test_groups"]
        before, after = (read_predictions(of / f"cv/fold-{name}/seed-0") for of in (stage, tmp_path))
        assert before[["id", "split"]].equals(after[["id", "split"]])
    write_cross_validation_card(tmp_path / "cv", tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text()
    assert "Arguments of `tacfn fine-tune` that differ from its defaults" in card
    assert "| `lora_rank` | 2 |" in card
    assert str(stage) not in card
    tune(stage, tmp_path / "cv", *more, model="cv", parts=[])
    assert "2 of 2 runs are done already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tune(stage, tmp_path / "other", *more, model="cv", parts=["--valid_fraction", "0.3"])
    assert "valid_fraction is 0.3, and was 0.4 in" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tune(stage, tmp_path / "other", *more, "--seed", "1", model="cv", parts=[])
    assert "seed is 1: the seeds are those of" in capsys.readouterr().err


def test_a_label_that_the_model_does_not_know_is_named_and_no_option_of_another_command(stage, tmp_path, capsys):
    shutil.copytree(stage / "run", tmp_path / "run")
    made = Dataset.from_parquet(str(stage / "rows.parquet"))
    made.cast_column("label", ClassLabel(names=["low", "shrill"])).to_parquet(str(tmp_path / "rows.parquet"))
    with pytest.raises(SystemExit):
        tune(tmp_path, tmp_path / "tuned")
    said = capsys.readouterr().err
    assert "The model does not know the dataset's label shrill" in said
    assert "shared_labels" not in said


def test_rows_are_divided_as_they_were_for_the_model(tmp_path):
    made = rows(12)
    parts = {name: made.select(range(*of)) for name, of in (("train", (0, 6)), ("valid", (6, 8)), ("test", (8, 12)))}
    check_partition(str(tmp_path), parts)  # it does not say how it was trained
    write_partition(tmp_path, parts)
    check_partition(str(tmp_path), parts)
    check_partition(str(tmp_path), {**parts, "valid": made.select([9]), "test": made.select([10])})
    check_partition(str(tmp_path), {**parts, "test": made.map(lambda row: {"id": f"new-{row['id']}"})})
    for part, row, before in (
        ("train", 9, "test"),
        ("valid", 3, "train"),
        ("test", 3, "train"),
        ("test", 7, "valid"),
    ):
        message = f"1 rows of the {part} part, such as 'u{row}', were in the {before} part of"
        with pytest.raises(ValueError, match=message):
            check_partition(str(tmp_path), {"train": made.select([0]), part: made.select([row])})


def test_rows_that_can_not_be_used_are_found_before_training(processor, model, caplog):
    processor = processor.from_model(model)
    made = list(rows(6))
    made[2]["audio"] = {"array": [float("nan")] * 3200, "sampling_rate": 16000}
    parts = {"train": Dataset.from_list(made[:3]), "test": Dataset.from_list(made[3:])}
    with pytest.raises(AudioError, match="the row with id 'u2' .*NaN|u2.*not finite|u2"):
        usable_rows(parts, processor, skip_bad_files=False, truncation=False)
    usable = usable_rows(parts, processor, skip_bad_files=True, truncation=False)
    assert {name: part["id"][:] for name, part in usable.items()} == {"train": ["u0", "u1"], "test": ["u3", "u4", "u5"]}
    made[5]["text"] = "no " * 600
    parts["test"] = Dataset.from_list(made[3:])
    with pytest.raises(ValueError, match="the row with id 'u5' has 602 tokens, the text encoder takes 512"):
        usable_rows(parts, processor, skip_bad_files=True, truncation=False)
    assert len(usable_rows(parts, processor, skip_bad_files=True, truncation=True)["test"]) == 3
    assert TacfnRawDataCollator(processor, truncation=True)([made[5]])["input_ids"].shape == (1, 512)
