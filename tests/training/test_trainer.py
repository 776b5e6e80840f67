"""The Trainer on features: every flag does what it says, or is refused by name."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from sessions import NAMES, make, plain, session_parts, tiny, trainer_for
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.debug_utils import DebugOption

from tacfn_hf import TacfnConfig, TacfnDataCollator
from tacfn_hf.evaluation.predictions import evaluate_split
from tacfn_hf.features.collation import as_features
from tacfn_hf.features.shapes import feature_lengths
from tacfn_hf.training.trainer import build_trainer, make_compute_metrics
from tacfn_hf.training.training_arguments import REFUSED, TacfnTrainingArguments


torch.set_num_threads(1)  # the models are too small for more


def empty_modalities() -> Dataset:
    return make(6, h_a=[None] * 5 + [np.ones((1, 4))], h_t=[np.ones((1, 5))] * 3 + [np.zeros((0, 5)), None, None])


def test_trains_and_logs_beta(tmp_path):
    parts = session_parts()
    trainer = trainer_for(tmp_path, parts, num_train_epochs=12, learning_rate=0.01)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_UA" in entry]
    assert len(logged) == 12
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
    there = (np.array([False, True, True]), np.array([True, True, False]))
    prediction = type("Prediction", (), {"predictions": (logits, beta, *there), "label_ids": np.array([0, 1, 2])})
    config = TacfnConfig(id2label=dict(enumerate(NAMES)), temperatures={"both": 0.5, "audio": 0.01})
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
    terms = {"unimodal_loss_weight": 0.5, "gate_loss_weight": 2.0, "noise_prob": 0.0, "label_smoothing_factor": 0.0}
    chosen = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "learning_rate": 1e-4}
    args = TacfnTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        disable_tqdm=True,
        max_steps=1,
        logging_strategy="steps",
        logging_steps=1,
        **{"per_device_train_batch_size": 8, "per_device_eval_batch_size": 5, **terms, **chosen, **flags},
    )
    torch.manual_seed(0)
    trainer = build_trainer(tiny(parts["train"], hidden_dropout_prob=0.0), args, parts)
    trainer.objective.class_weights = [0.7, 1.5, 1.0]
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
        {"dataloader_drop_last": True},
        {"dataloader_num_workers": 1},
        {"accelerator_config": {"dispatch_batches": True}},
        {"optim": "sgd"},
        {"lr_scheduler_type": "linear"},
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
    labels = batch.pop("labels")
    with torch.no_grad():
        expected = trainer.model(**batch).logits
    output = trainer.predict(rows)
    assert np.allclose(output.predictions[0], expected, atol=tolerance)
    expected_loss = cross_entropy(expected, labels, torch.tensor([0.7, 1.5, 1.0]), reduction="none").mean().item()
    assert output.metrics["test_loss"] == pytest.approx(expected_loss, abs=tolerance)
    assert trainer.evaluate()["eval_UA"] == output.metrics["test_UA"]


def test_a_step_of_eight_rows_and_four_steps_of_two_that_are_accumulated_end_with_the_same_weights(tmp_path):
    flags = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0}
    whole, _ = first_step(tmp_path / "whole", **flags)
    pieces, _ = first_step(tmp_path / "pieces", **flags, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    start = tiny(session_parts()["train"], hidden_dropout_prob=0.0)
    moved = 0
    for name, weight in whole.model.named_parameters():
        assert torch.allclose(weight, pieces.model.get_parameter(name), atol=1e-5), name
        moved += not torch.allclose(weight, start.get_parameter(name), atol=1e-3)
    assert moved > 10


def test_label_smoothing_is_that_of_the_objective_in_training_and_evaluation(tmp_path):
    trainer, loss = first_step(tmp_path, label_smoothing_factor=0.1, train_sampling_strategy="sequential")
    parts = session_parts()
    torch.manual_seed(0)
    fresh = tiny(parts["train"], hidden_dropout_prob=0.0).train()
    batch = TacfnDataCollator()([parts["train"][i] for i in range(8)])
    assert trainer.objective.label_smoothing == 0.1
    with torch.no_grad():
        expected = trainer.objective(fresh, batch, batch.pop("labels"))[0]
    assert loss == pytest.approx(expected.item(), abs=1e-5)
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
    "eval_use_gather_object": True,
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
        trainer_for(tmp_path, parts, lr_scheduler_type=strategy, metric_for_best_model="UA")
    trainer_for(
        tmp_path,
        parts,
        lr_scheduler_type=strategy,
        metric_for_best_model="UA",
        lr_scheduler_kwargs={"mode": "max"},
    )
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


@pytest.mark.parametrize("metric", ["ECE", "eval_loss"])
def test_a_larger_error_is_never_the_better_one(tmp_path, metric):
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, metric_for_best_model=metric, greater_is_better=True, report_to="none"
    )
    with pytest.raises(ValueError, match=f"greater_is_better is True, but a smaller {metric} is better"):
        build_trainer(tiny(make()), args, session_parts())


def test_several_gpus_in_one_process_are_refused(tmp_path):
    args = TacfnTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    args._n_gpu = 2
    with pytest.raises(ValueError, match="There are 2 GPUs, and one process: choose one with --device cuda:0"):
        build_trainer(tiny(make()), args, session_parts())


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
    logits, beta, *_ = trainer.predict(parts["test"]).predictions
    listed = trainer.predict(list(parts["test"].with_format("numpy"))).predictions
    assert np.array_equal(logits, listed[0])

    def without_text(rows: dict) -> dict:
        return {**rows, "h_t": [None] * len(rows["h_t"])}

    heard = parts["test"].select(np.flatnonzero(np.array(beta)[:, 0] > 0)).with_transform(without_text)
    assert (trainer.predict(heard).predictions[1] == 1).all()


def test_early_stopping(tmp_path):
    best = {"early_stopping_patience": 2, "load_best_model_at_end": True}
    trainer = trainer_for(tmp_path, session_parts(), num_train_epochs=30, learning_rate=0.0, **best)
    trainer.train()
    assert trainer.state.epoch == 3


@pytest.mark.parametrize("name", ["eval_strategy", "save_strategy"])
def test_the_best_model_needs_evaluation_and_checkpoints(tmp_path, name):
    with pytest.raises(ValueError, match=f"^{name} is no, .*--load_best_model_at_end false"):
        TacfnTrainingArguments(output_dir=str(tmp_path), **{name: "no"})


def test_no_validation_part(tmp_path):
    parts = {"train": session_parts()["train"]}
    with pytest.raises(ValueError, match="no validation part to evaluate on"):
        trainer_for(tmp_path, parts)
    none = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer_for(tmp_path, parts, num_train_epochs=1, **none).train()


def test_means_that_are_made_once_give_what_the_network_makes_of_the_positions(tmp_path):
    parts = session_parts()
    args = TacfnTrainingArguments(output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, num_train_epochs=1)
    model = tiny(parts["train"], num_hidden_layers=0)
    trainer = build_trainer(model, args, parts)
    seen = []
    model.model.text_standardizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    trainer.train()
    output = trainer.predict(parts["test"])
    assert set(seen) == {1}  # the network is given means alone
    batch = TacfnDataCollator()([parts["test"][i] for i in range(12)])
    assert batch["h_t"].shape[1] > 1
    with torch.no_grad():
        expected = model.eval()(**batch)
    assert np.allclose(output.predictions[0], expected.logits, atol=1e-5)
    assert np.allclose(output.predictions[1], expected.beta, atol=1e-5)
    lengths = [len(h) for row in parts["train"] if (h := as_features(row, "h_t", 0)) is not None]
    assert trainer.objective.num_positions["text"] == pytest.approx(np.mean(lengths))


def test_the_trainer_of_transformers_trains_on_the_plain_loss(tmp_path):
    parts = session_parts()
    args = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        max_steps=1,
        logging_steps=1,
        remove_unused_columns=False,
        label_names=["labels"],
        per_device_train_batch_size=24,
    )
    model = tiny(parts["train"], hidden_dropout_prob=0.0)
    batch = TacfnDataCollator()([parts["train"][i] for i in range(24)])
    with torch.no_grad():
        expected = model.train()(**batch).loss.item()
    trainer = Trainer(model=model, args=args, train_dataset=parts["train"], data_collator=TacfnDataCollator())
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, abs=1e-4)
