"""Splits that do not leak, weights, metrics in the Trainer, and errors that name what is wrong."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets
from tacfn_hf.cli.shared import parse_arguments, with_recipe
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback
from transformers.debug_utils import DebugOption

from tacfn_hf import TacfnConfig, TacfnDataCollator, TacfnForSequenceClassification
from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.evaluation.calibration import expected_calibration_error
from tacfn_hf.evaluation.predictions import evaluate_split
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.collation import as_features
from tacfn_hf.features.labels import match_labels, share_labels
from tacfn_hf.features.shapes import feature_lengths
from tacfn_hf.features.splits import split_dataset
from tacfn_hf.features.statistics import feature_statistics
from tacfn_hf.model.configuration_tacfn import TEMPERATURES
from tacfn_hf.training.arguments import ModelArguments
from tacfn_hf.training.run import calibrate, check_output_dir, run_training
from tacfn_hf.training.setup import balanced_class_weights, build_model, check_features, load_model, load_processor
from tacfn_hf.training.trainer import build_trainer, make_compute_metrics
from tacfn_hf.training.training_arguments import REFUSED, TacfnTrainingArguments


torch.set_num_threads(1)  # the models are too small for more

NAMES = ["neutral", "angry", "sad"]


def make(rows: int = 48, prefix: str = "u", label_names=NAMES, **columns) -> Dataset:
    """4 sessions of 12 rows, dialogues of 4; every 6th row lacks a modality."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(len(label_names), 9))
    label = [i % len(label_names) for i in range(rows)]

    def features(i: int, part: slice) -> np.ndarray:
        centre = centres[label[i]][part]
        return centre + 0.3 * generator.normal(size=(generator.integers(1, 5), len(centre)))

    data = {
        "id": [f"{prefix}{i}" for i in range(rows)],
        "h_a": [None if i % 6 == 0 else features(i, slice(0, 4)) for i in range(rows)],
        "h_t": [None if i % 6 == 1 else features(i, slice(4, 9)) for i in range(rows)],
        "label": label,
        "session": [i // 12 + 1 for i in range(rows)],
        "dialogue": [f"d{i // 4}" for i in range(rows)],
        "part": ["train" if i < 24 else "dev" if i < 36 else "test" for i in range(rows)],
    }
    kinds = {
        "id": Value("string"),
        "h_a": Array2D((None, 4), "float16"),
        "h_t": Array2D((None, 5), "float16"),
        "label": ClassLabel(names=list(label_names)),
        "session": Value("int64"),
        "dialogue": Value("string"),
        "part": Value("string"),
    }
    return Dataset.from_dict({**data, **columns}, features=Features(kinds))


def arguments(**values) -> DataArguments:
    return DataArguments(dataset="unused", **values)


def plain(dataset: Dataset, column: str) -> list:
    return list(dataset.with_format(None)[column])


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


def test_loads_every_form(tmp_path):
    dataset = make()
    dataset.save_to_disk(tmp_path / "disk")
    (tmp_path / "parquet").mkdir()
    dataset.to_parquet(tmp_path / "parquet" / "features.parquet")
    for path in ("disk", "parquet", "parquet/features.parquet", "parquet/*.parquet"):
        loaded = open_dataset(str(tmp_path / path))
        assert loaded.features == dataset.features
        assert np.array_equal(loaded.with_format("numpy")[1]["h_a"], dataset.with_format("numpy")[1]["h_a"])
    DatasetDict(train=dataset, test=make(6, "v")).save_to_disk(tmp_path / "dict")
    assert set(open_dataset(str(tmp_path / "dict"))) == {"train", "test"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("id\n")
    for path, message in (
        (tmp_path / "empty", "holds neither"),
        (tmp_path / "table.csv", "not .parquet"),
        (tmp_path / "none.parquet", "No file matches"),
        ("no/dataset", "the Hub failed"),
    ):
        with pytest.raises(ValueError, match=message):
            open_dataset(str(path))


def test_balanced_class_weights():
    weights = balanced_class_weights([0, 0, 0, 1, 2, 2], NAMES)
    assert weights == pytest.approx([2 / 3, 2.0, 1.0])
    assert np.mean([weights[label] for label in [0, 0, 0, 1, 2, 2]]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="No training row has the label angry"):
        balanced_class_weights([0, 2], NAMES)


def test_labels_are_matched_by_name():
    dataset = make(6)
    assert match_labels(dataset, NAMES) is dataset
    order = ["sad", "happy", "neutral", "angry"]
    matched = match_labels(dataset, order)
    assert [order[i] for i in plain(matched, "label")] == [NAMES[i] for i in plain(dataset, "label")]
    assert np.array_equal(matched[1]["h_a"], dataset.with_format("numpy")[1]["h_a"])
    with pytest.raises(ValueError, match="label sad: the dataset has neutral, angry, sad, the model neutral, angry"):
        match_labels(dataset, ["neutral", "angry"])


def test_labels_of_both():
    dataset = make(12, label_names=["calm", "sad", "angry"])
    rows, shared, left_out = share_labels(dataset.with_format("numpy").select(range(12)), NAMES)
    assert shared == ["angry", "sad"]
    assert left_out == {"calm": 4}
    names = [rows.features["label"].names[i] for i in plain(rows, "label")]
    assert names == ["sad", "angry"] * 4
    assert plain(rows, "id") == [f"u{i}" for i in range(12) if i % 3]
    np.testing.assert_equal(plain(rows, "h_t"), [dataset[i]["h_t"] for i in range(12) if i % 3])
    assert isinstance(rows[1]["h_a"], np.ndarray)
    with pytest.raises(
        ValueError, match="no label in common: the dataset has calm, bored, the model neutral, angry, sad"
    ):
        share_labels(make(12, label_names=["calm", "bored"]), NAMES)
    with pytest.raises(ValueError, match="No row of the dataset has one of the labels that the model has too, sad"):
        share_labels(make(2, label_names=["calm", "bored", "sad"]), NAMES)


def test_feature_sizes():
    check_features(make(), TacfnConfig(audio_feature_size=4, text_feature_size=5), "the dataset")
    with pytest.raises(ValueError, match="h_t of the dataset has 5 dimensions, the model's text_feature_size is 768"):
        check_features(make(), TacfnConfig(audio_feature_size=4), "the dataset")


MADE = {"encoder": "user/wavlm", "revision": "a" * 40, "layer": 12, "dtype": "float32"}


def with_provenance(dataset: Dataset, **changes) -> Dataset:
    return dataset.add_column("audio_provenance", [json.dumps({**MADE, **changes})] * len(dataset))


def test_a_new_model_remembers_what_made_its_features():
    config = tiny(with_provenance(make())).config
    assert config.audio_provenance == MADE
    assert config.text_provenance is None
    assert tiny(make()).config.audio_provenance is None


def test_features_of_another_encoder_are_refused():
    config = tiny(with_provenance(make())).config
    check_features(with_provenance(make()), config, "the dataset")
    check_features(make(), config, "the dataset")  # imported features do not say
    with pytest.raises(ValueError, match="h_a of the dataset has .*layer 9.* trained on features of .*layer 12"):
        check_features(with_provenance(make(), layer=9), config, "the dataset")
    mixed = concatenate_datasets([with_provenance(make(6)), with_provenance(make(6, "v"), revision="b" * 40)])
    with pytest.raises(ValueError, match="h_a of different encoders: .*aaaa.*bbbb"):
        tiny(mixed)


def test_going_on_with_features_of_another_encoder(tmp_path):
    tiny(with_provenance(make())).save_pretrained(tmp_path)
    build_model(with_provenance(make()), ModelArguments(str(tmp_path)), "none")
    with pytest.raises(ValueError, match="dtype bfloat16.*dtype float32"):
        build_model(with_provenance(make(), dtype="bfloat16"), ModelArguments(str(tmp_path)), "none")


def test_a_processor_that_makes_other_features_is_refused(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    fitting = TacfnConfig(audio_provenance=processor.audio_provenance, text_provenance=processor.text_provenance)
    assert load_processor(str(tmp_path), fitting).text_provenance == processor.text_provenance
    with pytest.raises(ValueError, match="processor .*layer 2.*trained on features of .*layer 1"):
        load_processor(str(tmp_path), TacfnConfig(text_provenance={**processor.text_provenance, "layer": 1}))


def tiny(dataset: Dataset, class_weights: str = "none", **values) -> TacfnForSequenceClassification:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    return build_model(dataset, ModelArguments(**sizes, **values), class_weights)


def test_new_model_fits_the_data():
    config = tiny(make(), "balanced", hidden_dropout_prob=0.0).config
    assert (config.audio_feature_size, config.text_feature_size, config.hidden_size) == (4, 5, 16)
    assert config.id2label == dict(enumerate(NAMES))
    assert config.class_weights == pytest.approx([1.0] * 3)
    assert config.hidden_dropout_prob == 0.0
    assert config.gate_hidden_size == TacfnConfig().gate_hidden_size


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("names", [["sad"], NAMES])
@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_one_label_is_nothing_to_learn(tmp_path, names, class_weights, from_checkpoint):
    """Whether the dataset has one name, or several of which the rows have one."""
    train = make(6, label_names=names, label=[names.index("sad")] * 6)
    model_args = ModelArguments()
    if from_checkpoint:
        tiny(make()).save_pretrained(tmp_path)
        model_args = ModelArguments(str(tmp_path))
    with pytest.raises(ValueError, match="The training part has only one label, sad: "):
        build_model(train, model_args, class_weights)


def test_going_on_from_a_checkpoint(tmp_path):
    model = tiny(make(), "balanced")
    model.save_pretrained(tmp_path / "model")
    again = build_model(make(label_names=["sad", "neutral", "angry"]), ModelArguments(str(tmp_path / "model")), "none")
    assert again.config.id2label == model.config.id2label
    assert again.config.class_weights is None
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    with pytest.raises(ValueError, match="hidden_size can't be given beside model_name_or_path"):
        build_model(make(), ModelArguments(str(tmp_path / "model"), hidden_size=16), "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("classifier.out_proj.bias"), "missing: classifier.out_proj.bias"),
        (lambda weights: weights.update(extra=torch.ones(1)), "unexpected: extra"),
        (
            lambda weights: weights.update({"classifier.dense.bias": torch.ones(3)}),
            "shape: classifier.dense.bias",
        ),
    ],
)
def test_a_checkpoint_that_is_not_whole(tmp_path, change, message):
    model = tiny(make())
    weights = dict(model.state_dict())
    change(weights)
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(ValueError, match=message):
        load_model(str(tmp_path))


def trainer_for(tmp_path, parts, **values) -> Trainer:
    values = {
        "use_cpu": True,
        "disable_tqdm": True,
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 8,
        **values,
    }
    args = TacfnTrainingArguments(output_dir=str(tmp_path), **values)
    torch.manual_seed(0)
    return build_trainer(tiny(parts["train"], args.class_weights), args, parts)


def session_parts() -> dict[str, Dataset]:
    return split_dataset(make(), arguments(group_column="session", test_groups=["4"], valid_groups=["3"]))


def test_trains_and_logs_beta(tmp_path):
    parts = session_parts()
    trainer = trainer_for(tmp_path, parts, num_train_epochs=6)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_UA" in entry]
    assert len(logged) == 6
    assert all(0 <= entry[f"eval_{name}"] <= 1 for entry in logged for name in ("WA", "wF1", "macro_F1", "beta_mean"))
    result, table = evaluate_split(trainer, parts["test"])
    assert result["UA"] > 0.9
    assert json.dumps(result)
    assert list(table["id"]) == plain(parts["test"], "id")
    assert (table["prediction"] == table["label"]).mean() == pytest.approx(result["WA"])
    scores = table[[f"score_{name}" for name in NAMES]]
    assert np.allclose(scores.sum(axis=1), 1)
    assert list(scores.idxmax(axis=1)) == [f"score_{name}" for name in table["prediction"]]
    assert list(table["beta"][[0, 1]]) == [0.0, 1.0]  # rows 36 and 37 lack audio and text
    assert result["beta_mean"] == pytest.approx(table["beta"].mean())
    for name, of_class in zip(NAMES, result["per_class"], strict=True):
        assert of_class["beta_mean"] == pytest.approx(table["beta"][table["label"] == name].mean())


def test_compute_metrics_gives_floats_only():
    logits, beta = np.eye(3)[[0, 1, 1]], np.array([[0.0], [0.5], [1.0]])
    prediction = type("Prediction", (), {"predictions": (logits, beta), "label_ids": np.array([0, 1, 2])})
    config = TacfnConfig(id2label=dict(enumerate(NAMES)), temperature=0.5, audio_temperature=0.01)
    figures = make_compute_metrics(config)(prediction)
    assert figures["WA"] == pytest.approx(2 / 3)
    assert figures["beta_mean"] == 0.5
    assert all(type(value) is float for value in figures.values())
    assert set(figures) == {"WA", "UA", "wF1", "macro_F1", "ECE", "beta_mean", "beta_std"}
    score = np.exp(2) / (np.exp(2) + 2)  # of the first two, which are right; that of the third is 1, and wrong
    assert figures["ECE"] == pytest.approx((2 * (1 - score) + 1) / 3)


def first_step(tmp_path, **flags) -> tuple[Trainer, float]:
    """A trainer after one step with all terms of the loss, and that step's loss."""
    parts = session_parts()
    terms = {"unimodal_loss_weight": 0.5, "gate_loss_weight": 2.0, "standardize_features": True}
    chosen = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    args = TacfnTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        disable_tqdm=True,
        max_steps=1,
        logging_strategy="steps",
        logging_steps=1,
        **{"per_device_train_batch_size": 8, "per_device_eval_batch_size": 5, **chosen, **flags},
    )
    torch.manual_seed(0)
    model = tiny(parts["train"], hidden_dropout_prob=0.0, **terms)
    model.config.class_weights = [0.7, 1.5, 1.0]
    trainer = build_trainer(model, args, parts)
    trainer.train()
    return trainer, trainer.state.log_history[0]["loss"]


@pytest.fixture(scope="module")
def without_flags(tmp_path_factory) -> float:
    return first_step(tmp_path_factory.mktemp("without"))[1]


@pytest.mark.parametrize(
    "flags",
    [
        {"label_smoothing_factor": 1e-9},
        pytest.param({"torch_compile_backend": "eager"}, marks=pytest.mark.slow),
        {"train_sampling_strategy": "group_by_length"},
        {"auto_find_batch_size": True},
        {"gradient_checkpointing": True},
        {"bf16": True},
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 2},
        {"average_tokens_across_devices": False},
        {"remove_unused_columns": True},
        {"label_names": None},
        {"include_for_metrics": ["loss"]},
        {"eval_accumulation_steps": 1},
        {"eval_use_gather_object": True},
        {"dataloader_drop_last": True},
        {"dataloader_num_workers": 1},
        {"accelerator_config": {"dispatch_batches": True}},
        {"optim": "sgd"},
        {"lr_scheduler_type": "cosine"},
        {"torch_empty_cache_steps": 1},
    ],
    ids=lambda flags: next(iter(flags)),
)
def test_flags_that_change_neither_the_loss_nor_the_rows_that_are_evaluated(tmp_path, without_flags, flags):
    trainer, loss = first_step(tmp_path, **flags)
    tolerance = 1e-2 if "bf16" in flags else 1e-5
    assert loss == pytest.approx(without_flags, abs=tolerance)
    rows = trainer.eval_dataset  # 12, of which the last batch has 2
    trainer.model.eval()
    batch = TacfnDataCollator()([rows[i] for i in range(len(rows))])
    with torch.no_grad():
        expected = trainer.model(**batch)
    output = trainer.predict(rows)
    assert np.allclose(output.predictions[0], expected.logits, atol=tolerance)
    assert output.metrics["test_loss"] == pytest.approx(expected.loss.item(), abs=tolerance)
    assert trainer.evaluate()["eval_UA"] == output.metrics["test_UA"]


def test_label_smoothing_is_that_of_the_models_loss_in_training_and_evaluation(tmp_path):
    trainer, loss = first_step(tmp_path, label_smoothing_factor=0.1, train_sampling_strategy="sequential")
    parts = session_parts()
    torch.manual_seed(0)
    fresh = tiny(parts["train"], hidden_dropout_prob=0.0, standardize_features=True)
    fresh.config.update(trainer.model.config.to_dict())
    batch = TacfnDataCollator()([parts["train"][i] for i in range(8)])
    with torch.no_grad():
        assert loss == pytest.approx(fresh.train()(**batch, smoothing=0.1).loss.item(), abs=1e-5)
    valid = TacfnDataCollator()([parts["valid"][i] for i in range(12)])
    with torch.no_grad():
        losses = -trainer.model.eval()(**valid).logits.double().log_softmax(-1)
    own, weights = losses.gather(1, valid["labels"][:, None])[:, 0], torch.tensor([0.7, 1.5, 1.0])[valid["labels"]]
    expected = (weights * (0.9 * own + 0.1 * losses.mean(-1))).mean()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected.item(), abs=1e-5)


REFUSED_VALUES = {
    "label_smoothing_factor": 1.5,
    "neftune_noise_alpha": 5.0,
    "use_liger_kernel": True,
    "gradient_checkpointing_kwargs": {"use_reentrant": True},
    "deepspeed": "config.json",
    "bf16_full_eval": True,
    "fp16_full_eval": True,
    "label_names": ["label"],
    "prediction_loss_only": True,
    "batch_eval_metrics": True,
    "eval_do_concat_batches": False,
    "include_for_metrics": ["loss", "inputs"],
    "include_num_input_tokens_seen": "all",
    "debug": [DebugOption.UNDERFLOW_OVERFLOW],
}


@pytest.mark.parametrize("name", REFUSED)
def test_flags_that_are_refused_by_name(tmp_path, name):
    parts = session_parts()
    args = TacfnTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    setattr(args, name, REFUSED_VALUES[name])
    with pytest.raises(ValueError, match=f"^{name} is [^<]*: .*[.]$") as caught:
        build_trainer(tiny(parts["train"]), args, parts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strategy", ["reduce_lr_on_plateau", "greedy"])
def test_a_plateau_is_one_of_the_metric_that_chooses_the_best(tmp_path, strategy):
    parts = session_parts()
    with pytest.raises(ValueError, match=f'lr_scheduler_type is {strategy}, which .* smaller UA .*"mode": "max"'):
        trainer_for(tmp_path, parts, lr_scheduler_type=strategy)
    trainer_for(tmp_path, parts, lr_scheduler_type=strategy, lr_scheduler_kwargs={"mode": "max"})
    trainer_for(tmp_path, parts, lr_scheduler_type=strategy, metric_for_best_model="loss", greater_is_better=False)


@pytest.mark.parametrize(
    ("metric", "better"), [("loss", False), ("eval_loss", False), ("ECE", False), ("UA", True), ("eval_wF1", True)]
)
def test_the_best_model_has_the_smaller_loss_and_the_larger_recall(tmp_path, metric, better):
    args = TacfnTrainingArguments(output_dir=str(tmp_path), use_cpu=True, metric_for_best_model=metric)
    assert args.greater_is_better is better
    given = TacfnTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, metric_for_best_model=metric, greater_is_better=not better
    )
    assert given.greater_is_better is not better


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"metric_for_best_model": "F1"}, "metric_for_best_model is 'F1': it must be one of UA, WA, wF1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0: it must be at least 1"),
    ],
)
def test_flags_that_would_stop_a_training_later(tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        trainer_for(tmp_path, session_parts(), **flags)


def test_rows_are_dropped_in_training_alone(tmp_path):
    parts = session_parts()
    trainer = trainer_for(tmp_path, parts, dataloader_drop_last=True, per_device_train_batch_size=7)
    assert len(trainer.get_train_dataloader()) == 24 // 7
    assert sum(len(batch["labels"]) for batch in trainer.get_eval_dataloader()) == 12
    assert sum(len(batch["labels"]) for batch in trainer.get_test_dataloader(parts["test"])) == 12


class Break(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_resumed_training_ends_with_the_same_weights(tmp_path, strategy):
    parts = session_parts()
    values = {
        "train_sampling_strategy": strategy,
        "num_train_epochs": 3,
        "save_strategy": "steps",
        "save_steps": 4,  # inside of the second epoch, which has 3 steps like the others
        "eval_strategy": "no",
        "load_best_model_at_end": False,
    }
    whole = trainer_for(tmp_path / "whole", parts, **values)
    whole.train()
    broken = trainer_for(tmp_path / "broken", parts, **values)
    broken.add_callback(Break())
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = trainer_for(tmp_path / "broken", parts, **values)
    resumed.train(resume_from_checkpoint=str(tmp_path / "broken" / "checkpoint-4"))
    assert resumed.state.global_step == whole.state.global_step == 9
    for (name, weight), other in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(weight, other), name


def test_grouping_by_length_trains_on_every_row_and_keeps_the_order_of_predictions(tmp_path):
    parts = {**session_parts(), "train": make(320)}  # of fewer rows transformers groups none
    none = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = trainer_for(tmp_path, parts, train_sampling_strategy="group_by_length", num_train_epochs=1, **none)
    order = list(trainer._get_train_sampler())
    assert sorted(order) == list(range(len(parts["train"])))
    lengths = feature_lengths(parts["train"])[order]
    spread = [np.ptp(lengths[i : i + 8]) for i in range(0, len(lengths), 8)]
    assert np.mean(spread) < np.ptp(lengths) / 2
    trainer.train()
    _, table = evaluate_split(trainer, parts["test"])
    assert list(table["id"]) == plain(parts["test"], "id")
    for i, row in table.iterrows():
        alone = evaluate_split(trainer, parts["test"].select([i]))[1].iloc[0]
        assert np.allclose(
            row.filter(like="score_").astype(float), alone.filter(like="score_").astype(float), atol=1e-6
        )


def test_what_the_trainer_of_transformers_takes(tmp_path):
    """A sampler that takes a column of lengths where there is one, rows in a list, and a transform."""
    parts = session_parts()
    train = parts["train"].add_column("length", feature_lengths(parts["train"]).tolist())
    values = {"train_sampling_strategy": "batch_rebalance", "eval_strategy": "no", "save_strategy": "no"}
    values |= {"max_steps": 2, "load_best_model_at_end": False}
    trainer = trainer_for(tmp_path, {**parts, "train": train}, **values)
    trainer.train()
    losses = [entry.get("train_loss") for entry in trainer.state.log_history]
    without = trainer_for(tmp_path, parts, **values)
    without.train()
    assert [entry.get("train_loss") for entry in without.state.log_history] == losses
    logits, beta = trainer.predict(parts["test"]).predictions
    listed = trainer.predict(list(parts["test"].with_format("numpy"))).predictions
    assert np.array_equal(logits, listed[0])

    def without_text(rows: dict) -> dict:
        return {**rows, "h_t": [None] * len(rows["h_t"])}

    heard = parts["test"].select(np.flatnonzero(np.array(beta)[:, 0] > 0)).with_transform(without_text)
    assert (trainer.predict(heard).predictions[1] == 1).all()


def test_lengths_are_those_of_the_longer_modality():
    dataset = make(12)
    lengths = {
        name: [0 if (h := as_features(row, name, 0)) is None else len(h) for row in dataset] for name in ("h_a", "h_t")
    }
    assert feature_lengths(dataset).tolist() == np.max([lengths["h_a"], lengths["h_t"]], axis=0).tolist()
    assert feature_lengths(dataset.remove_columns("h_a")).tolist() == lengths["h_t"]


def test_statistics_are_those_of_all_positions():
    generator = np.random.default_rng(0)
    h_a = [generator.normal(size=(i % 4, 3)) * 1e-3 + 1e4 if i % 4 else None for i in range(600)]
    dataset = Dataset.from_dict({"h_a": h_a}, features=Features({"h_a": Array2D(shape=(None, 3), dtype="float64")}))
    positions = np.concatenate([h for h in h_a if h is not None]).astype(np.float32).astype(np.float64)
    mean, std = feature_statistics(dataset.with_format("numpy"), "h_a")
    assert np.allclose(mean, positions.mean(axis=0), rtol=1e-12)
    assert np.allclose(std, positions.std(axis=0), rtol=1e-6)


def test_a_new_model_has_the_statistics_of_the_training_part():
    train = session_parts()["train"]
    model = tiny(train, standardize_features=True, gate_reads_distance=True).model
    positions = torch.cat([h for row in train if (h := as_features(row, "h_t", 0)) is not None]).double().numpy()
    assert np.allclose(model.text_standardizer.mean, positions.mean(axis=0), atol=1e-5)
    assert np.allclose(model.text_standardizer.std, positions.std(axis=0), rtol=1e-4)
    whitening = model.text_distance.whitening.double().numpy()
    precision = np.linalg.inv(0.9 * np.corrcoef(positions.T) + 0.1 * np.eye(positions.shape[1]))
    assert np.allclose(whitening.T @ whitening, precision, atol=1e-4)
    assert not np.allclose(precision, np.diag(np.diag(precision)), atol=1e-2)


def test_a_recipe_goes_in_front(tmp_path):
    recipe = tmp_path / "default.json"
    recipe.write_text('{"hidden_size": 8, "learning_rate": 0.5, "standardize_features": true}')

    def parsed(*argv):
        return parse_arguments(
            (ModelArguments, TacfnTrainingArguments), [*with_recipe(argv, recipe), "--output_dir", "x"]
        )

    model_args, args = parsed("--learning_rate", "0.1")
    assert (model_args.hidden_size, model_args.standardize_features, args.learning_rate) == (8, True, 0.1)
    model_args, args = parsed("--model_name_or_path=x")
    assert (model_args.hidden_size, model_args.standardize_features, args.learning_rate) == (None, None, 0.5)
    own = tmp_path / "own.json"
    own.write_text('{"hidden_size": 16}')
    model_args, args = parsed(str(own))
    assert (model_args.hidden_size, args.learning_rate) == (16, TacfnTrainingArguments.learning_rate)


def test_early_stopping(tmp_path):
    trainer = trainer_for(tmp_path, session_parts(), num_train_epochs=30, learning_rate=0.0, early_stopping_patience=2)
    trainer.train()
    assert trainer.state.epoch == 3


def test_no_validation_part(tmp_path):
    parts = {"train": session_parts()["train"]}
    with pytest.raises(ValueError, match="no validation part to evaluate on"):
        trainer_for(tmp_path, parts)
    none = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer_for(tmp_path, parts, num_train_epochs=1, **none).train()


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
    return "text_temperature" if silent else "audio_temperature" if mute else "temperature"


def test_the_temperatures_are_those_of_the_validation_rows(noisy):
    """Of those that have both modalities, of all that have audio, without text, and of all text without audio."""
    folder, metrics = noisy
    model = load_model(str(folder / "run")).eval()
    assert metrics["about"]["temperature_fitted_on"] == "valid"
    temperatures = {name: getattr(model.config, name) for name in TEMPERATURES}
    assert len(set(temperatures.values())) == 3
    for name, temperature in temperatures.items():
        assert abs(np.log(temperature)) > 0.01  # such training is sure of itself, or has not learnt much
        assert abs(np.log(temperature)) < 2.9  # and none of the bounds
        assert metrics["about"][name] == temperature
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
        "temperature": valid,
        "audio_temperature": [{**row, "h_t": None} for row in valid if as_features(row, "h_a", 0) is not None],
        "text_temperature": [{**row, "h_a": None} for row in valid if as_features(row, "h_t", 0) is not None],
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
    """`temperature` is then that of all rows; one for which there are no rows is not set, and `temperature` counts."""
    rows = make()
    text = rows.remove_columns("h_a").select([i for i in range(48) if i % 6 != 1])
    unchosen = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    args = TacfnTrainingArguments(str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True, **unchosen)
    config = TacfnConfig(
        audio_feature_size=4, text_feature_size=5, num_labels=3, hidden_size=8, audio_temperature=3.0, temperature=2.0
    )
    calibrate(build_trainer(TacfnForSequenceClassification(config), args, {}), text)
    assert config.temperature == config.text_temperature != 2
    assert config.audio_temperature is None
    assert config.temperature_of(1.0) == config.temperature


def test_a_resumed_training_ends_with_the_same_temperature(noisy):
    folder, metrics = noisy
    again = train_on_noise(folder, "resumed", checkpoint=str(folder / "run" / "checkpoint-2"))
    assert again["about"]["temperature"] == metrics["about"]["temperature"]
    assert again["test"] == metrics["test"]


def test_going_on_gives_a_new_temperature_or_without_validation_rows_keeps_the_old_one(noisy):
    folder, metrics = noisy
    before = metrics["about"]["temperature"]
    again = train_on_noise(folder, "longer", model_name_or_path=str(folder / "run"))["about"]
    assert again["temperature"] == load_model(str(folder / "longer")).config.temperature != before
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
    assert load_model(str(folder / "all")).config.temperature == about["temperature"] == before
    assert about["temperature_fitted_on"] is None


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint-3", "metrics.json"])
def test_a_used_output_dir(tmp_path, name):
    check_output_dir(TacfnTrainingArguments(output_dir=str(tmp_path / "new")))
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"already holds {name}"):
        check_output_dir(TacfnTrainingArguments(output_dir=str(tmp_path)))
    check_output_dir(TacfnTrainingArguments(output_dir=str(tmp_path), resume_from_checkpoint="true"))


def test_flags_override_the_json_file(tmp_path):
    recipe = {
        "dataset": "d",
        "test_groups": ["1", "2"],
        "use_cpu": True,
        "learning_rate": 0.5,
        "valid_fraction": None,
    }
    (tmp_path / "recipe.json").write_text(json.dumps({**recipe, "output_dir": str(tmp_path)}))
    classes = (DataArguments, ModelArguments, TacfnTrainingArguments)
    data_args, _, args = parse_arguments(classes, [str(tmp_path / "recipe.json"), "--learning_rate", "0.1"])
    assert data_args.test_groups == ["1", "2"]
    assert (args.use_cpu, args.learning_rate, data_args.valid_fraction) == (True, 0.1, None)
    (tmp_path / "recipe.json").write_text(json.dumps({"dataset": "d", "learning_rat": 1}))
    with pytest.raises(ValueError, match="--learning_rat"):
        parse_arguments(classes, [str(tmp_path / "recipe.json")])
