"""The measurements of gpu.sh run in small, and their figures are ones that can be: on a GPU they run seldom."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


SCRIPTS = Path(__file__).parents[2] / "scripts" / "benchmarks"


def figures(script: str, *arguments: object, output: Path) -> dict:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(output.read_text())


@pytest.mark.slow
def test_exactness(encoders, tmp_path):
    text, audio = encoders
    found = figures(
        "encoder_exactness.py", "--text_encoder", text, "--audio_encoder", audio, output=tmp_path / "figures.json"
    )
    assert set(found) == {text, audio}
    for row in found.values():
        assert row["batch"] < 2e-6
        assert row["float32"] < 1e-5


@pytest.mark.slow
def test_a_training_step(tmp_path):
    sizes = ["--batch_size", 2, "--audio_length", 20, "--hidden_size", 32, "--min_run_time", 0.01, "--compile", "false"]
    found = figures("training_step.py", *sizes, output=tmp_path / "figures.json")
    # The host waits for the device once, where labels are checked.
    assert [(row["blocks"], row["waits"]["operators"]) for row in found["steps"]] == [(0, 1), (0, 1), (2, 1), (2, 1)]


@pytest.mark.slow
def test_the_cost_of_fine_tuning(tmp_path):
    sizes = ["--batch_size", 1, "--seconds", 1, "--repeats", 1]
    found = figures("fine_tuning_cost.py", *sizes, output=tmp_path / "figures.json")
    memory = found["memory"]
    assert memory["adapters"]["trained"] < 0.1 * memory["all weights"]["trained"]
    assert memory["adapters"]["MiB"] < memory["all weights"]["MiB"]


@pytest.mark.slow
def test_training_on_stored_features_and_on_files(tmp_path):
    sizes = ["--rows", 6, "--epochs", 1, "--turns", 1, "--size", 32, "--batch_size", 3]
    found = figures("stored_features.py", *sizes, output=tmp_path / "figures.json")
    assert len(found["ratios"]) == 1
    assert found["ratios"][0] == found["seconds"]["files"][0] / found["seconds"]["tacfn_hf"][0]


@pytest.mark.slow
def test_the_profile_of_an_encoder(encoders, tmp_path):
    sizes = ["--audio_encoder", encoders[1], "--seconds", 1, "--repeats", 2]
    found = figures("encoder_profile.py", *sizes, output=tmp_path / "figures.json")
    kinds = found["kinds"]
    assert kinds["convolutions"]["calls"] == 8  # seven of the front, and that of positions
    assert kinds["linear layers"]["calls"] >= 1 + 3 * 6
    assert kinds["attention"]["calls"] == 3
    assert found["limit"] == pytest.approx(1e3 * sum(of["limit"] for of in kinds.values()))
