"""scripts/train.py and fine_tune.py, as `accelerate launch` starts them."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from tiny import SPLIT, TINY, make_features


ROOT = Path(__file__).parents[2]
LAUNCH = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]


def start(*command: object) -> subprocess.Popen:
    """A Python module with its arguments, in a process of its own, without a GPU."""
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def two_machines(*commands: list) -> list[subprocess.Popen]:
    """Two launches that find each other, as on two machines with one process each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = ["--num_machines", 2, "--main_process_ip", "127.0.0.1", "--main_process_port", free.getsockname()[1]]
    return [start(*LAUNCH, *place, "--machine_rank", rank, *command) for rank, command in enumerate(commands)]


def finish(process: subprocess.Popen) -> None:
    said = process.communicate(timeout=200)[1]
    assert process.returncode == 0, said[-9000:]


@pytest.mark.slow
@pytest.mark.parametrize("target", [[], ["--target", "value", "--target_range", "0", "2"]], ids=["label", "value"])
def test_two_processes_train_as_one(target, succeed, tmp_path):
    rows, kinds = make_features().to_dict(), make_features().features
    rows["h_a"][6], rows["h_t"][6:12] = rows["h_a"][7], [None] * 6  # a batch of the second process without any text
    features = Dataset.from_dict(rows, features=kinds)
    values = [label + (i % 5) / 10 - 0.2 if label == 1 else float(label) for i, label in enumerate(features["label"])]
    features.add_column("value", values).save_to_disk(tmp_path / "features")
    # Without what is drawn: each process draws on its own.
    drawn = ["--feature_dropout_prob", "0", "--noise_prob", "0", "--hidden_dropout_prob", "0"]
    arguments = ["--dataset", tmp_path / "features", *SPLIT, *TINY, *drawn, *target, "--num_train_epochs", "3"]
    arguments += ["--train_sampling_strategy", "sequential"]
    arguments += ["--learning_rate", "3e-3", "--use_cpu", "true", "--disable_tqdm", "true"]
    batch = "--per_device_train_batch_size"
    succeed("train", *arguments, batch, "12", "--output_dir", tmp_path / "one")
    command = [*LAUNCH, "--main_process_port", "0", "scripts/train.py", *arguments, batch, "6", "--output_dir"]
    finish(start(*command, tmp_path / "two"))
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text())["about"] for name in ("one", "two"))
    assert (one["world_size"], two["world_size"]) == (1, 2)
    assert two["training_loss"] == pytest.approx(one["training_loss"], abs=1e-4)
    one, two = (pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("one", "two"))
    assert list(one["id"]) == list(two["id"])
    figures = [*one.filter(regex="score_|predicted_").columns, "beta"]
    assert np.allclose(one[figures], two[figures], atol=3e-3)


@pytest.fixture(scope="module")
def rows(succeed, encoders, tmp_path_factory) -> Path:
    """A folder with `rows.parquet`, of noise, in which words are missing from whole batches; and a model, `run`."""
    folder, generator = tmp_path_factory.mktemp("rows"), np.random.default_rng(0)
    made = [
        {
            "id": f"u{i}",
            "audio": {"array": generator.normal(size=2000).tolist(), "sampling_rate": 16000},
            "text": None if i < 8 else "Hello there!",
            "label": ("low", "high")[i % 2],
            "speaker": str(i // 8),
            "duration": 0.125,
        }
        for i in range(32)
    ]
    Dataset.from_list(made).to_parquet(str(folder / "rows.parquet"))
    text, audio = encoders
    succeed("extract", "--dataset", folder / "rows.parquet", "--audio_encoder", audio, "--text_encoder", text,
        "--output_dir", folder / "features", "--use_cpu")  # fmt: skip
    succeed("train", "--dataset", folder / "features", *PARTS, *TINY, "--num_train_epochs", "1", "--use_cpu", "true",
        "--disable_tqdm", "true", "--output_dir", folder / "run")  # fmt: skip
    return folder


PARTS = ["--group_column", "speaker", "--test_groups", "3", "--valid_groups", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two processes", "two machines", "adapters", "recipe"])
def test_encoders_are_tuned_by_two_processes_as_by_one(kind, succeed, rows, tmp_path):
    """Also where a step of a process has no text at all, and with checkpoints of activations."""
    # Nothing is drawn: the encoders' own dropout is 0 from here on.
    shutil.copytree(rows / "run", tmp_path / "run")
    for part in ("audio", "text"):
        path = tmp_path / "run" / f"{part}_encoder" / "config.json"
        config = json.loads(path.read_text())
        config |= {name: 0.0 for name, value in config.items() if "drop" in name and value}
        path.write_text(json.dumps({**config, "apply_spec_augment": False}))
    config = json.loads((tmp_path / "run/config.json").read_text())
    path = tmp_path / "run/config.json"
    path.write_text(json.dumps({**config, "hidden_dropout_prob": 0.0, "feature_dropout_prob": 0.0}))
    arguments = ["--model_name_or_path", tmp_path / "run", "--dataset", rows / "rows.parquet", *PARTS]
    arguments += "--noise_prob 0 --encoder_learning_rate 1e-3 --use_cpu true --disable_tqdm true".split()
    if kind == "recipe":  # whose step has all 16 rows, in four batches of each process
        arguments += "--config fine-tune --num_train_epochs 5 --load_best_model_at_end false".split()
        of_one, of_each = "4", "2"
    else:
        arguments += "--num_train_epochs 2 --train_sampling_strategy sequential --gradient_checkpointing true".split()
        arguments += ["--lora_rank", "2"] if kind == "adapters" else []
        of_one, of_each = "8", "4"
    batch = "--per_device_train_batch_size"
    succeed("fine-tune", *arguments, batch, of_one, "--output_dir", tmp_path / "one")
    tail = ["scripts/fine_tune.py", *arguments, batch, of_each, "--output_dir", tmp_path / "two"]
    if kind == "two machines":
        for machine in two_machines(tail, tail):
            finish(machine)
    else:
        finish(start(*LAUNCH, "--main_process_port", "0", *tail))
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text())["about"] for name in ("one", "two"))
    assert (one["world_size"], two["world_size"]) == (1, 2)
    assert two["training_loss"] == pytest.approx(one["training_loss"], abs=1e-4)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    start_of = load_file(rows / "run/audio_encoder/model.safetensors")
    moved = 0
    for name, value in one.items():
        assert torch.allclose(two[name], value, atol=2e-4), name
        before = start_of.get(name.removeprefix("audio_encoder.model."))
        moved += before is not None and not torch.allclose(before, value, atol=4e-4)
    assert moved > 5


@pytest.mark.slow
def test_machines_that_share_no_folder_are_told_so(rows, tmp_path):
    command = ["scripts/fine_tune.py", "--model_name_or_path", rows / "run", "--dataset", rows / "rows.parquet", *PARTS]
    command += ["--use_cpu", "true", "--output_dir"]
    first, second = two_machines([*command, tmp_path / "first"], [*command, tmp_path / "second"])
    said = second.communicate(timeout=100)[1]
    first.terminate()  # it waits for the other one
    first.communicate()
    assert "second is another folder on this machine than on the first one" in said
