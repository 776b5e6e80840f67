"""The commands with several labels and with values: figures, pictures, cards, answers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, List
from tiny import config_for

from tacfn_hf import TacfnForSequenceClassification


NAMES = ["angry", "sad"]
SIZES = ["--hidden_size", "16", "--num_attention_heads", "2", "--use_cpu", "true", "--disable_tqdm", "true"]
TRAINING = ["--num_train_epochs", "30", "--per_device_train_batch_size", "16", "--learning_rate", "3e-3", *SIZES]
TARGETS = {"several": ["--target", "labels"], "values": ["--target", "avd", "--target_range", "1", "5"]}
FIGURES = {"several": "macro_F1", "values": "CCC"}


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """Of 160 rows in 4 sessions, two labels that a row has or has not, and values, by single numbers of features."""
    generator = np.random.default_rng(0)
    hidden = generator.random((160, 3))
    h_a, h_t = (hidden + 0.03 * generator.normal(size=hidden.shape) for _ in range(2))
    rows = {
        "id": [f"u{i}" for i in range(160)],
        "session": [str(i // 40 + 1) for i in range(160)],
        "h_a": np.concatenate([h_a, np.ones((160, 1))], axis=1).tolist(),
        "h_t": h_t.tolist(),
        "labels": [[label for label in range(2) if of_row[label] > 0.6] for of_row in hidden],
        **{name: (1 + 4 * hidden[:, i]).tolist() for i, name in enumerate(("arousal", "valence", "dominance"))},
    }
    folder = tmp_path_factory.mktemp("targets") / "features"
    Dataset.from_dict(rows).cast_column("labels", List(ClassLabel(names=NAMES))).save_to_disk(folder)
    return folder


@pytest.fixture(scope="module", params=list(TARGETS))
def run(request, succeed, features) -> tuple[str, Path, str]:
    """The kind of target, the folder of a run, and what was printed."""
    folder = features.parent / request.param
    split = ["--group_column", "session", "--test_groups", "4", "--valid_groups", "3", "--output_dir", folder]
    return request.param, folder, succeed("train", "--dataset", features, *TARGETS[request.param], *TRAINING, *split)


def test_it_is_learned_and_every_file_follows(run):
    kind, folder, printed = run
    metrics = json.loads((folder / "metrics.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    table = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'")
    card = (folder / "README.md").read_text()
    assert metrics["test"][FIGURES[kind]] > 0.8
    assert metrics["test"]["rows"] == len(table) == 40
    pictures = {path.stem for path in folder.glob("*.png")}
    if kind == "several":
        assert "weighted accuracy" in printed
        assert (pictures, config["value_range"]) == ({"cooccurrence", "beta"}, None)
        scores = table[["score_angry", "score_sad"]].to_numpy()
        answered = [[name for name, yes in zip(NAMES, row) if yes] for row in scores >= config["thresholds"]]
        assert [list(row) for row in table["predictions"]] == answered
        assert "of which an utterance may have several or none: angry, sad." in card
    else:
        assert "CCC" in printed
        assert (pictures, config["value_range"]) == ({"scatter", "beta"}, [1.0, 5.0])
        errors = (table["true_valence"] - table["predicted_valence"]).abs()
        found = {row["label"]: row["MAE"] for row in metrics["test"]["per_value"]}
        assert errors.mean() == pytest.approx(found["valence"], abs=1e-6)
        assert table["true_valence"].between(1, 5).all()
        assert "It predicts arousal, valence, dominance, from 1 to 5." in card
    assert f"| {metrics['about']['label_names'][0]} | 40 |" in card or kind == "several"


def test_it_is_evaluated_without_being_told_the_target(run, succeed, fail, features, tmp_path):
    kind, folder, _ = run
    more = ["--group_column", "session", "--test_groups", "4", "--use_cpu", "true", "--output_dir"]
    succeed("evaluate", "--model", folder, "--dataset", features, *more, tmp_path / "again")
    first, again = (json.loads((of / "metrics.json").read_text())["test"] for of in (folder, tmp_path / "again"))
    assert again[FIGURES[kind]] == pytest.approx(first[FIGURES[kind]], abs=1e-6)
    wrong = ["--target", "votes"]
    said = fail("evaluate", "--model", folder, "--dataset", features, *wrong, *more, tmp_path / "wrong")
    assert "target is votes, which needs a model of problem_type single_label_classification" in said


def test_folds_and_their_card(run, succeed, features, tmp_path):
    kind, *_ = run
    arguments = ["--dataset", features, *TARGETS[kind], *TRAINING, "--group_column", "session", "--num_folds", "2"]
    arguments += ["--valid_fraction", "0.5", "--seeds", "0", "1", "--num_train_epochs", "6"]
    printed = succeed("cross-validate", *arguments, "--output_dir", tmp_path / "folds")
    report = json.loads((tmp_path / "folds" / "cross_validation.json").read_text())
    assert FIGURES[kind].replace("_", " ") in printed
    tables = [
        pd.read_parquet(path).query("split == 'test'") for path in tmp_path.glob("folds/*/seed-1/predictions.parquet")
    ]
    table = pd.concat(tables)
    if kind == "values":
        x, y = table["predicted_arousal"].astype(float), table["true_arousal"].astype(float)
        expected = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var(ddof=0) + y.var(ddof=0) + (x.mean() - y.mean()) ** 2)
        assert report["pooled"]["seeds"]["1"]["CCC arousal"] == pytest.approx(expected, abs=1e-5)
    else:
        right = [set(row.labels) & set(row.predictions) for row in table.itertuples()]
        said, there = table["predictions"].map(len).sum(), table["labels"].map(len).sum()
        micro = 2 * sum(map(len, right)) / (said + there)
        assert report["pooled"]["seeds"]["1"]["micro_F1"] == pytest.approx(micro)
    succeed("card", tmp_path / "folds", "--output", tmp_path / "folds.md")
    assert "## Results" in (tmp_path / "folds.md").read_text()


@pytest.mark.parametrize("kind", list(TARGETS))
def test_predict_answers_in_kind(kind, succeed, processor, tmp_path):
    settings = {"values": {"value_range": [1.0, 5.0]}, "several": {"thresholds": [0.0, 1.0]}}[kind]
    problem = {"values": "regression", "several": "multi_label_classification"}[kind]
    config = config_for(processor, problem_type=problem, id2label={0: "one", 1: "other"}, **settings)
    TacfnForSequenceClassification(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    printed = succeed("predict", "--model", tmp_path, "--text", "Hello there!", "--use_cpu")
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    if kind == "several":
        assert lines["one"][-1] == "*"
        assert lines["other"][-1].endswith("%")
    else:
        assert lines["values"] == ["from", "1", "to", "5"]
        assert list(lines)[:2] == ["one", "other"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ["--gradient_accumulation_steps", "2"],
            "gradient_accumulation_steps is 2, but CCC is one of all rows of a step",
        ),
        (["--metric_for_best_model", "UA"], "metric_for_best_model is 'UA': it must be one of CCC, pearson, MAE, RMSE"),
        (["--target_range", "1", "2"], "target_range says 1 to 2"),
    ],
)
def test_what_is_refused_before_training(more, sentence, fail, features, tmp_path):
    split = ["--group_column", "session", "--test_groups", "4", "--valid_groups", "3", "--output_dir", tmp_path / "run"]
    command = ["train", "--dataset", features, *TARGETS["values"], *TRAINING, *split]
    assert sentence in fail(*command, *more)
