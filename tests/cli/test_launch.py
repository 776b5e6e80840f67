"""scripts/train.py, as `accelerate launch` starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import SPLIT, TINY, make_features


ROOT = Path(__file__).parents[2]
LAUNCH = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]


@pytest.mark.slow
def test_two_processes_train_as_one(succeed, tmp_path):
    make_features().save_to_disk(tmp_path / "features")
    # Without what is drawn: each process draws on its own.
    drawn = ["--feature_dropout_prob", "0", "--noise_prob", "0", "--hidden_dropout_prob", "0"]
    arguments = ["--dataset", tmp_path / "features", *SPLIT, *TINY, *drawn, "--num_train_epochs", "3"]
    arguments += ["--learning_rate", "3e-3", "--use_cpu", "true", "--disable_tqdm", "true"]
    batch = "--per_device_train_batch_size"
    succeed("train", *arguments, batch, "12", "--output_dir", tmp_path / "one")
    command = [sys.executable, "-m", *LAUNCH, "scripts/train.py", *arguments, batch, "6", "--output_dir"]
    done = subprocess.run(
        [str(part) for part in [*command, tmp_path / "two"]],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text())["about"] for name in ("one", "two"))
    assert (one["world_size"], two["world_size"]) == (1, 2)
    assert two["training_loss"] == pytest.approx(one["training_loss"], abs=1e-4)
    one, two = (pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("one", "two"))
    assert list(one["id"]) == list(two["id"])
    figures = [*one.filter(like="score_").columns, "beta"]
    assert np.allclose(one[figures], two[figures], atol=3e-3)
