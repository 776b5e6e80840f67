"""The command that compares fusion methods, on features that tell their label."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import cross_validated, make_features


ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
SIZES = ["--hidden_size", "16", "--num_attention_heads", "2", "--gate_hidden_size", "8", "--num_train_epochs", "2"]
FOLDS = ["--group_column", "session", "--num_folds", "2", "--valid_fraction", "0.5", "--split_seed", "1"]
PLACE = ["--use_cpu", "true", "--report_to", "none", "--disable_tqdm", "true"]


def compare(*arguments: object, script: str = "fusion_methods.py") -> subprocess.CompletedProcess:
    command = [sys.executable, f"scripts/benchmarks/{script}", *SIZES, *FOLDS, *PLACE, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    folder = tmp_path_factory.mktemp("methods")
    make_features().save_to_disk(folder / "features")
    given = ["--dataset", folder / "features", "--output_dir", folder / "run", "--seeds", "0", "1"]
    for methods in (["tacfn", "SVM"], ["tacfn", "SVM", "concatenation", "GMU"]):  # the second one goes on
        done = compare(*given, "--methods", *methods)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder, done


def test_the_table_is_of_the_predictions(compared):
    folder, done = compared
    report = json.loads((folder / "run" / "methods.json").read_text())["methods"]
    assert list(report) == ["tacfn", "SVM", "concatenation", "GMU"]
    for name, seeds in (("tacfn", "01"), ("SVM", "0"), ("concatenation", "01")):
        for seed in seeds:
            tables = [pd.read_parquet(path) for path in folder.glob(f"run/{name}/*/seed-{seed}/predictions.parquet")]
            table = pd.concat(tables)
            assert len(table) == table["id"].nunique() == 48
            wa = (table["label"] == table["prediction"]).mean()
            assert np.isclose(report[name]["seeds"][seed]["WA"], wa)
            assert table.filter(like="score_").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert report["SVM"]["std"]["UA"] is None
    assert report["concatenation"]["gate_truth"] is None
    assert -1 <= report["GMU"]["gate_truth"]["audio, noise"] <= 1
    wa = {name: report[name]["mean"]["WA"] for name in ("tacfn", "concatenation")}
    above = report["concatenation"]["network_above"]["WA"]
    assert np.isclose(above["difference"], wa["tacfn"] - wa["concatenation"])
    assert "NaN" not in (folder / "run" / "methods.json").read_text()
    assert f"{100 * report['tacfn']['mean']['WA']:.1f} ± " in done.stdout


def test_the_network_is_the_one_of_cross_validation(compared, tmp_path):
    folder, _ = compared
    given = [*SIZES, *FOLDS, *PLACE, "--dataset", folder / "features"]
    cross_validated([*map(str, given), "--output_dir", str(tmp_path), "--seeds", "0"])
    for fold in ("fold-1", "fold-2"):
        table = pd.read_parquet(tmp_path / fold / "seed-0" / "predictions.parquet")
        table = table[table["split"] == "test"].drop(columns="split").reset_index(drop=True)
        other = pd.read_parquet(folder / "run" / "tacfn" / fold / "seed-0" / "predictions.parquet").drop(
            columns="split"
        )
        pd.testing.assert_frame_equal(table, other, atol=1e-5)


def test_the_cost_is_a_ratio_of_the_seconds(compared, tmp_path):
    features = compared[0] / "features"
    done = compare("--dataset", features, "--output_dir", tmp_path, "--seeds", "0", "1", script="training_cost.py")
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(re.findall(r"^(tacfn|concatenation): (.*) s$", done.stdout, re.MULTILINE))
    network, other = (sum(map(float, found[name].split(", "))) for name in ("tacfn", "concatenation"))
    said = re.search(r"takes (.*) times as long", done.stdout)
    assert float(said.group(1)) == pytest.approx(network / other, rel=0.02)  # of seconds with three digits


def test_a_baseline_is_kept_when_only_the_network_changes(compared):
    folder, _ = compared
    place = ["--dataset", folder / "features", "--output_dir", folder / "run", "--seeds", "0", "1"]
    runs = sorted(folder.glob("run/concatenation/*/*/metrics.json"))
    made = [path.stat().st_mtime_ns for path in runs]
    done = compare(*place, "--methods", "concatenation", "--gate_loss_weight", "1", "--hidden_size", "32")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.stat().st_mtime_ns for path in runs] == made
    assert len(made) == 4
    done = compare(*place, "--methods", "tacfn", "--gate_loss_weight", "1")
    assert "holds a run with other arguments" in done.stderr


def test_runs_on_other_data_are_not_taken(compared, tmp_path):
    """The same folder, whose labels have changed since."""
    folder, _ = compared
    shutil.copytree(folder / "run", tmp_path / "run")
    shutil.move(folder / "features", tmp_path / "before")
    rows = make_features()
    labels = np.roll(rows.with_format(None)["label"][:], 1)
    try:
        rows.remove_columns("label").add_column("label", labels).cast(rows.features).save_to_disk(folder / "features")
        place = ["--dataset", folder / "features", "--output_dir", tmp_path / "run", "--seeds", "0", "1"]
        done = compare(*place, "--methods", "SVM")
    finally:
        shutil.rmtree(folder / "features")
        shutil.move(tmp_path / "before", folder / "features")
    assert done.returncode != 0
    assert "holds a run with other arguments or data" in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--methods", "magic"], "methods names magic: there are tacfn, audio only"),
        (["--methods", "SVM", "--valid_fraction", "0.3"], "holds a run with other arguments"),
    ],
)
def test_what_is_refused(compared, given, message):
    folder, _ = compared
    place = ["--dataset", folder / "features", "--output_dir", folder / "run", "--seeds", "0"]
    done = compare(*place, *given)
    assert done.returncode != 0
    assert message in done.stderr
