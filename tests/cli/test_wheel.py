"""The wheel, installed into an environment of its own and used outside of the clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import soundfile
from tiny import make_features


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a program of an environment that has the wheel, and finds all other packages in this one's."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, since a build leaves its files in the tree, and takes what an earlier one has left there.
    shutil.copytree(ROOT / "tacfn_hf", folder / "source" / "tacfn_hf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source"]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (folder / "venv").glob("lib/*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def run(*command: object) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(
            [folder / "venv" / "bin" / command[0], *map(str, command[1:])],
            cwd=folder,
            env={**environment, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    where = run("python", "-c", "import sys; sys.argv[0] = 'tacfn'; import tacfn_hf; print(tacfn_hf.__file__)")
    assert where.strip() == str(site / "tacfn_hf" / "__init__.py")
    return run


@pytest.mark.slow
def test_the_wheel_has_the_commands_and_their_recipes(run, tmp_path):
    assert "cross-validate" in run("tacfn", "--help")
    assert "--class_weights" in run("tacfn", "train", "--help")

    (tmp_path / "corpus" / "sad").mkdir(parents=True)
    soundfile.write(tmp_path / "corpus" / "sad" / "a.wav", [0.1, -0.1] * 4000, 16000)
    assert "utterances" in run("tacfn", "inspect", "folder", tmp_path / "corpus")

    features = make_features()
    dialogues = [str(i // 4) for i in range(len(features))]
    features.add_column("dialogue", dialogues).save_to_disk(tmp_path / "features")
    data = ["--config", "iemocap", "--dataset", tmp_path / "features", "--test_groups", "4", "--use_cpu", "true"]
    sizes = ["--hidden_size", "16", "--num_attention_heads", "2", "--gate_hidden_size", "8", "--num_train_epochs", "1"]
    run("tacfn", "train", *data, *sizes, "--report_to", "none", "--output_dir", tmp_path / "run")
    assert (tmp_path / "run" / "README.md").is_file()
    run("tacfn", "report", tmp_path / "run", "--output", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert all(f"<{name}>" in page for name in ("style", "script", "title"))
    run("tacfn", "export", tmp_path / "run", "--output_dir", tmp_path / "exported")
    printed = run("tacfn", "evaluate", *data, "--model", tmp_path / "run", "--output_dir", tmp_path / "test")
    assert "test: 12 rows" in printed
    assert "beta: 10 utterances with both modalities" in printed
