"""Cross-validation: what is tested on what, through interruptions, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from sklearn.metrics import recall_score
from tiny import NAMES, cross_validated, make_features

from tacfn_hf.evaluation.calibration import expected_calibration_error
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.training.cross_validation import fold_folder, format_report, make_folds


torch.set_num_threads(1)  # as in the process that is killed: the last bit may depend on it

ROOT = Path(__file__).parents[2]
SIZES = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 0, "gate_hidden_size": 4}
SETTINGS = {**SIZES, "group_column": "session", "valid_fraction": 0.4, "num_train_epochs": 3, "learning_rate": 0.02}
PLACE = {"use_cpu": True, "report_to": "none", "per_device_train_batch_size": 8}


def arguments(dataset: Path, output_dir: Path, seeds=(0, 1), **more) -> list[str]:
    given = {"dataset": dataset, "output_dir": output_dir, **SETTINGS, **PLACE, **more}
    pairs = [[f"--{name}", str(value)] for name, value in given.items() if value is not None]
    return [*(part for pair in pairs for part in pair), "--seeds", *map(str, seeds)]


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """
    Features of four sessions; `other` is like session, but with names that no file can have. The classes are not of one
    size, so that WA and UA differ.
    """
    folder = tmp_path_factory.mktemp("cross") / "features"
    rows = make_features()
    labels = [2 if i % 5 == 0 else label for i, label in enumerate(rows["label"][:])]
    rows = rows.remove_columns("label").add_column("label", labels, feature=rows.features["label"])
    rows = rows.add_column("other", [f"s/{session}" for session in rows["session"][:]])
    rows.save_to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def whole(features) -> tuple[Path, dict]:
    """The folder and the report of an undisturbed run."""
    folder = features.parent / "whole"
    return folder, cross_validated(arguments(features, folder))


def predictions(folder: Path, seed: int) -> pd.DataFrame:
    tables = [pd.read_parquet(path) for path in sorted(folder.glob(f"fold-*/seed-{seed}/predictions.parquet"))]
    return pd.concat(tables)


def test_every_row_is_tested_once_a_seed_by_a_model_that_never_saw_its_group(whole, features):
    folder, _ = whole
    sessions = {row["id"]: row["session"] for row in Dataset.load_from_disk(str(features))}
    for seed in (0, 1):
        table = predictions(folder, seed)
        tested = table[table["split"] == "test"]
        assert sorted(tested["id"]) == sorted(sessions)
    for path in folder.glob("fold-*/seed-*"):
        table = pd.read_parquet(path / "predictions.parquet")
        of = {name: {sessions[id_] for id_ in part["id"]} for name, part in table.groupby("split")}
        about = json.loads((path / "metrics.json").read_text())["about"]
        assert of["test"] == set(about["test_groups"]) == {path.parent.name.removeprefix("fold-")}
        assert not of["test"] & of["valid"]
        trained = 48 - len(table)
        assert about["rows"]["train"] == trained > 0


def test_pooled_figures_are_those_of_all_predictions(whole):
    folder, report = whole
    scores = []
    for seed in (0, 1):
        table = predictions(folder, seed).query("split == 'test'")
        scores.append(recall_score(table["label"], table["prediction"], average="macro"))
        assert report["pooled"]["seeds"][seed]["UA"] == pytest.approx(scores[-1])
        assert report["pooled"]["seeds"][seed]["WA"] == pytest.approx((table["label"] == table["prediction"]).mean())
        assert report["pooled"]["seeds"][seed]["beta_mean"] == pytest.approx(table["beta"].mean())
        labels = np.array([NAMES.index(label) for label in table["label"]])
        error = expected_calibration_error(table[[f"score_{name}" for name in NAMES]].to_numpy(), labels)
        assert report["pooled"]["seeds"][seed]["ECE"] == pytest.approx(error)
        of_folds = [report["folds"][fold]["seeds"][seed]["ECE"] for fold in "1234"]
        assert error <= np.mean(of_folds) + 1e-12  # folds of one size: a bin's gap is at most the mean of its parts'
    assert report["pooled"]["mean"]["UA"] == pytest.approx(np.mean(scores))
    assert report["pooled"]["std"]["UA"] == pytest.approx(np.std(scores, ddof=1))
    assert scores[0] != scores[1]
    assert report["pooled"]["mean"]["UA"] != report["pooled"]["mean"]["WA"]


def test_the_report_is_that_of_the_runs(whole):
    folder, report = whole
    for seed in (0, 1):
        figures = [
            json.loads((folder / f"fold-{fold}" / f"seed-{seed}" / "metrics.json").read_text())["test"]
            for fold in "1234"
        ]
        for name in ("WA", "UA", "wF1", "ECE", "beta_mean"):
            assert [report["folds"][fold]["seeds"][seed][name] for fold in "1234"] == [f[name] for f in figures]
            mean = np.mean([f[name] for f in figures])
            assert report["mean_over_folds"]["seeds"][seed][name] == pytest.approx(mean)
    written = json.loads((folder / "cross_validation.json").read_text())
    assert "n - 1" in written["about"]
    assert written["pooled"]["mean"] == report["pooled"]["mean"]
    printed = format_report(report)
    assert "n - 1" in printed
    pooled = next(line for line in printed.splitlines() if "pooled" in line)
    mean, std = (100 * report["pooled"][key]["UA"] for key in ("mean", "std"))
    assert f"{mean:.1f} ± {std:.1f}" in pooled
    mean, std = (100 * report["pooled"][key]["ECE"] for key in ("mean", "std"))
    assert f" {mean:.1f} ± {std:.1f} " in pooled
    assert " ECE " in printed.splitlines()[0]
    assert " 48 " in pooled


def test_a_finished_run_is_not_run_again_and_seeds_can_be_added(whole, features, tmp_path, capsys):
    folder, report = whole
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("fold-*/**/*")}
    assert cross_validated(arguments(features, folder)) == report
    assert "8 of 8 runs are done already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("fold-*/**/*")} == before
    assert not list(folder.rglob("checkpoint-*"))
    first = cross_validated(arguments(features, tmp_path, seeds=[1]))
    assert first["pooled"]["std"]["UA"] is None
    assert first["pooled"]["seeds"][1] == report["pooled"]["seeds"][1]
    assert cross_validated(arguments(features, tmp_path))["pooled"] == report["pooled"]


def test_killed_and_started_again_it_ends_the_same(whole, features, tmp_path):
    folder, _ = whole
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = "import sys; from tacfn_hf.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", run, "cross-validate", *arguments(features, tmp_path)]
    with open(tmp_path / "printed", "w") as file:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=file, stderr=file)
    while process.poll() is None and not (
        len(list(tmp_path.glob("fold-*/seed-*/metrics.json"))) >= 2
        and [path for path in tmp_path.glob("fold-*/seed-*") if not (path / "metrics.json").exists()]
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    printed = (tmp_path / "printed").read_text()
    assert "Cross-validating" in printed
    assert not [noise for noise in ("Writing model shards", "loss", "it/s") if noise in printed]
    assert not (tmp_path / "cross_validation.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("fold-*/seed-*/metrics.json")}
    assert 0 < len(finished) < 8
    cross_validated(arguments(features, tmp_path))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert (tmp_path / "cross_validation.json").read_text() == (folder / "cross_validation.json").read_text()
    for path in folder.glob("fold-*/seed-*/predictions.parquet"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(path), pd.read_parquet(tmp_path / path.relative_to(folder)), check_exact=True
        )


def test_runs_of_other_arguments_folds_or_data_are_refused(features, tmp_path):
    rows = Dataset.load_from_disk(str(features))
    rows.save_to_disk(tmp_path / "features")
    few = {"seeds": [0], "num_train_epochs": 1, "num_folds": 2}

    def again(**more) -> dict:
        return cross_validated(arguments(tmp_path / "features", tmp_path / "run", **{**few, **more}))

    report = again()
    assert [len(report["folds"][fold]["test_groups"]) for fold in "12"] == [2, 2]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.*")}
    with pytest.raises(ValueError, match=r"seed-0 holds a run with learning_rate 0.02, not 0.5 as now: choose another"):
        again(learning_rate=0.5)
    with pytest.raises(ValueError, match=r"seed-0 holds a run with test_groups \['\d', '\d'\], not \['1'\] as now"):
        again(num_folds=None)
    foreign = tmp_path / "run" / "fold-1" / "seed-1"
    foreign.mkdir()
    metrics = json.loads((tmp_path / "run" / "fold-1" / "seed-0" / "metrics.json").read_text())
    metrics["about"]["settings"] = None
    (foreign / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="fold-1.seed-1 holds a run that cross-validation did not make"):
        again()
    shutil.rmtree(foreign)
    shutil.rmtree(tmp_path / "features")
    rows.select(range(47)).save_to_disk(tmp_path / "features")
    with pytest.raises(
        ValueError,
        match="seed-0 holds a run with other data than .*features holds now",
    ):
        again()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.*")} == before


def test_a_fold_that_there_is_not_any_more(whole, features):
    folder, _ = whole
    with pytest.raises(ValueError, match="fold-1.seed-0 holds a run of a fold that no longer exists: choose another"):
        cross_validated(arguments(features, folder, group_column="other"))
    assert not list(folder.glob("fold-s*"))


def test_a_group_without_any_label_is_no_fold(features, tmp_path):
    rows = Dataset.load_from_disk(str(features))
    labels = [None if row["session"] == "4" or row["id"] == "u7" else row["label"] for row in rows]
    kind = ClassLabel(names=rows.features["label"].names)
    rows.remove_columns("label").add_column("label", labels, feature=kind).save_to_disk(tmp_path / "features")
    few = {"seeds": [0], "num_train_epochs": 1}
    with pytest.raises(ValueError, match="id 'u7' .* has no label"):
        cross_validated(arguments(tmp_path / "features", tmp_path / "run", **few))
    report = cross_validated(arguments(tmp_path / "features", tmp_path / "run", **few, drop_unlabelled=True))
    assert {fold: of["rows"] for fold, of in report["folds"].items()} == {"1": 11, "2": 12, "3": 12}


def test_sets_of_groups(features):
    rows = Dataset.load_from_disk(str(features))
    data_args = DataArguments(dataset="", group_column="session")
    assert make_folds(rows, data_args, None) == {fold: [fold] for fold in "1234"}
    folds = make_folds(rows, data_args, 2)
    assert list(folds) == ["1", "2"]
    assert sorted(folds["1"] + folds["2"]) == ["1", "2", "3", "4"]
    assert folds == make_folds(rows, data_args, 2)
    drawn = {
        str(make_folds(rows, DataArguments(dataset="", group_column="session", split_seed=i), 2)) for i in range(9)
    }
    assert len(drawn) > 1


def test_every_name_has_a_folder_of_its_own():
    names = ["a/b", "a%2Fb", "€", " AC", "é", "e", "..", "a:b", "a b"]
    assert len({fold_folder(name) for name in names}) == len(names)
    assert all(set('/\\:*?"<>| ').isdisjoint(fold_folder(name)) for name in names)


def test_a_name_that_no_folder_can_have(features, tmp_path):
    cross_validated(arguments(features, tmp_path, seeds=[0], group_column="other", num_train_epochs=1))
    names = [path.name for path in tmp_path.iterdir() if path.is_dir()]
    assert sorted(names) == [f"fold-s%2F{i}" for i in range(1, 5)]


REFUSED = {
    "no groups": ({"group_column": None}, "group_column must say which column"),
    "one group": ({"group_column": "one"}, "needs at least 2 groups in 'one', which has 1"),
    "no such column": ({"group_column": "speaker"}, "group_column is 'speaker', but the dataset has no such column"),
    "test groups": ({"test_groups": "1"}, "test_groups can't be given in cross-validation"),
    "partition": ({"test_fraction": 0.2, "valid_groups": "1"}, "valid_groups, test_fraction can't be given"),
    "folds": ({"num_folds": 5}, "num_folds is 5: it must be 2 to 4"),
    "one fold": ({"num_folds": 1}, "num_folds is 1: it must be 2 to 4"),
    "seed": ({"seed": 3}, "seed is 3: in cross-validation give seeds"),
    "resume": ({"resume_from_checkpoint": "true"}, "goes on by itself, fold by fold"),
    "push": ({"push_to_hub": True}, "push_to_hub can't be given: every fold and seed has a model of its own"),
    "seed twice": ({"seeds": [1, 1]}, "seeds has a seed twice: 1 1"),
}


@pytest.mark.parametrize(("more", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(features, tmp_path, more, message):
    rows = Dataset.load_from_disk(str(features))
    rows.add_column("one", ["all"] * len(rows)).save_to_disk(tmp_path / "features")
    with pytest.raises(ValueError, match=message):
        cross_validated(arguments(tmp_path / "features", tmp_path / "output", **more))
    assert not (tmp_path / "output").exists()


def test_a_dataset_with_a_partition_of_its_own(features, tmp_path):
    rows = Dataset.load_from_disk(str(features))
    DatasetDict(train=rows.select(range(24)), test=rows.select(range(24, 48))).save_to_disk(tmp_path / "parted")
    with pytest.raises(ValueError, match="has a partition of its own, train, test: train on that with tacfn train"):
        cross_validated(arguments(tmp_path / "parted", tmp_path / "output"))
    DatasetDict(test=rows).save_to_disk(tmp_path / "test")
    with pytest.raises(ValueError, match="has a partition of its own, test: train on that"):
        cross_validated(arguments(tmp_path / "test", tmp_path / "output"))
