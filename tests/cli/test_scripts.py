"""The commands end to end, as a user starts them: alone, and on two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from datasets import Dataset
from tiny import NAMES, make_features
from transformers import AutoModelForSequenceClassification

from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.features.collation import TacfnDataCollator
from tacfn_hf.model.configuration_tacfn import TEMPERATURES


ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
SPLIT = ["--group_column", "session", "--test_groups", "4", "--valid_groups", "3"]
TINY = [
    "--hidden_size",
    "16",
    "--num_attention_heads",
    "2",
    "--num_hidden_layers",
    "1",
    "--gate_hidden_size",
    "8",
]


def run(command: list[str], **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command],
        env={**ENVIRONMENT, **more},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def succeed(command: list[str], **more: str) -> str:
    done = run(command, **more)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def last_line(command: list[str]) -> str:
    done = run(command)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """The dataset's folder and the output folder of one training."""
    folder = tmp_path_factory.mktemp("scripts")
    make_features().save_to_disk(folder / "features")
    recipe = {"use_cpu": True, "disable_tqdm": True, "num_train_epochs": 99, "learning_rate": 5e-3}
    (folder / "recipe.json").write_text(json.dumps({**recipe, "dataset": str(folder / "features")}))
    command = [
        sys.executable,
        "scripts/train.py",
        folder / "recipe.json",
        *SPLIT,
        *TINY,
        "--output_dir",
        folder / "run",
    ]
    printed = succeed([*command, "--num_train_epochs", "12", "--per_device_train_batch_size", "8"])
    assert "test: 12 rows" in printed
    assert "confusion" in printed
    return folder / "features", folder / "run"


def results(folder: Path) -> tuple[dict, pd.DataFrame]:
    return json.loads((folder / "metrics.json").read_text()), pd.read_parquet(folder / "predictions.parquet")


def test_train_writes_its_results(trained):
    _, output = trained
    metrics, table = results(output)
    assert metrics["test"]["UA"] > 0.9
    assert metrics["about"]["rows"] == {"train": 24, "test": 12, "valid": 12}
    assert metrics["about"]["epochs"] == 12
    assert metrics["about"]["world_size"] == 1
    assert table["split"].value_counts().to_dict() == {"test": 12, "valid": 12}
    test = table[table["split"] == "test"]
    assert (test["label"] == test["prediction"]).mean() == pytest.approx(metrics["test"]["WA"])
    assert {"README.md", "confusion.png", "beta.png"} <= {path.name for path in output.iterdir()}


def test_the_saved_model_gives_the_saved_scores(trained):
    features, output = trained
    model = AutoModelForSequenceClassification.from_pretrained(output).eval()
    rows = list(Dataset.load_from_disk(str(features)).with_format("numpy"))
    table = results(output)[1].set_index("id")
    scores = table[[f"score_{model.config.id2label[i]}" for i in range(3)]]
    batch = TacfnDataCollator()([row for row in rows if row["id"] in table.index])
    with torch.no_grad():
        found = model(**batch)
    ids = [row["id"] for row in rows if row["id"] in table.index]
    calibrated = (found.logits.double() / model.config.temperature_of(found.beta)).softmax(-1).numpy()
    assert np.allclose(calibrated, scores.loc[ids], atol=1e-6)
    assert np.allclose(found.beta[:, 0].numpy(), table["beta"].loc[ids], atol=1e-6)


def test_evaluation_gives_the_same_metrics(trained, tmp_path):
    features, output = trained
    command = [sys.executable, "scripts/evaluate.py", "--model", output, "--use_cpu", "true"]
    succeed([*command, "--dataset", features, *SPLIT, "--output_dir", tmp_path / "test"])
    metrics, table = results(tmp_path / "test")
    trained_metrics, trained_table = results(output)
    pd.testing.assert_frame_equal(
        table, trained_table[trained_table["split"] == "test"].reset_index(drop=True), atol=1e-6
    )
    temperature = AutoModelForSequenceClassification.from_pretrained(output).config.temperature
    assert metrics["about"]["temperature"] == trained_metrics["about"]["temperature"] == temperature
    for name in ("WA", "UA", "wF1", "macro_F1", "confusion"):
        assert metrics["test"][name] == trained_metrics["test"][name]
    assert metrics["test"]["beta_mean"] == pytest.approx(trained_metrics["test"]["beta_mean"], abs=1e-6)

    printed = succeed([sys.executable, "scripts/summarize.py", output / "metrics.json", tmp_path / "test/metrics.json"])
    assert "mean" in printed
    assert "std (n-1)" in printed

    make_features(6, ["sad", "angry"]).save_to_disk(tmp_path / "fewer")
    succeed(
        [
            *command,
            "--dataset",
            tmp_path / "fewer",
            "--split",
            "all",
            "--output_dir",
            tmp_path / "fewer_result",
        ]
    )
    metrics, table = results(tmp_path / "fewer_result")
    assert list(table["label"]) == ["sad", "angry"] * 3
    assert metrics["all"]["WA"] == 1.0


def test_another_corpus_is_tested_on_the_labels_of_both(trained, tmp_path):
    _, output = trained
    make_features(12, ["surprised", "sad", "angry"]).save_to_disk(tmp_path / "other")
    command = [sys.executable, "scripts/evaluate.py", "--model", output, "--use_cpu", "true", "--split", "all"]
    command += ["--dataset", tmp_path / "other", "--output_dir", tmp_path / "result"]
    assert "does not know the dataset's label surprised" in last_line(command)
    printed = succeed([*command, "--shared_labels", "true"])
    assert "labels of both: angry, sad\nrows left out: 4 surprised\nlabels of the model left out: calm\n" in printed
    metrics, table = results(tmp_path / "result")
    assert metrics["about"]["label_names"] == ["angry", "sad"]
    assert metrics["about"]["left_out_rows"] == {"surprised": 4}
    assert metrics["about"]["left_out_labels"] == ["calm"]
    assert list(table["label"]) == ["sad", "angry"] * 4
    assert (table["score_angry"] + table["score_sad"]).to_numpy() == pytest.approx(1)
    model = AutoModelForSequenceClassification.from_pretrained(output).eval()
    rows = [row for row in Dataset.load_from_disk(str(tmp_path / "other")).with_format("numpy") if row["label"] != 0]
    with torch.no_grad():
        logits = model(**TacfnDataCollator()(rows)).logits[:, [NAMES.index("angry"), NAMES.index("sad")]]
    expected = (logits.double() / model.config.temperature).softmax(-1).numpy()
    assert table[["score_angry", "score_sad"]].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_nothing_to_resume_from(trained):
    features, output = trained
    command = [sys.executable, "scripts/train.py", "--dataset", features, *SPLIT, "--use_cpu", "true"]
    message = last_line([*command, "--output_dir", f"{output}-new", "--resume_from_checkpoint", "true"])
    assert "holds no checkpoint" in message


@pytest.fixture(scope="module")
def extracted(processor, tmp_path_factory) -> tuple[Path, Path]:
    """A folder with wav files, a processor and the features that its command made; and the model trained on them."""
    folder = tmp_path_factory.mktemp("raw")
    rows = {"id": [], "audio": [], "text": [], "label": [], "session": []}
    for i in range(24):
        label = i % 3
        time = np.arange(4000 + 200 * i) / 16000
        soundfile.write(folder / f"u{i}.wav", 0.3 * np.sin(2 * np.pi * (200 + 900 * label) * time), 16000)
        rows["id"].append(f"u{i}")
        rows["audio"].append(str(folder / f"u{i}.wav"))
        rows["text"].append(["I hate this!", "It is fine.", "What a pity."][label])
        rows["label"].append(NAMES[label])
        rows["session"].append(str(i // 6 + 1))
    Dataset.from_dict(rows).to_parquet(folder / "corpus.parquet")
    processor.save_pretrained(folder / "processor")
    command = [sys.executable, "scripts/extract_features.py", "--dataset", folder / "corpus.parquet"]
    printed = succeed(
        [*command, "--processor_name", folder / "processor", "--output_dir", folder / "features", "--use_cpu", "true"]
    )
    assert "24 rows" in printed
    command = [sys.executable, "scripts/train.py", "--dataset", folder / "features", *SPLIT, *TINY, "--use_cpu", "true"]
    command += ["--disable_tqdm", "true", "--num_train_epochs", "20", "--learning_rate", "5e-3"]
    succeed([*command, "--per_device_train_batch_size", "4", "--output_dir", folder / "run"])
    return folder, folder / "run"


def test_from_wav_files_to_a_prediction(extracted):
    folder, output = extracted
    metrics, table = results(output)
    assert metrics["test"]["UA"] > 0.9
    printed = succeed(
        [sys.executable, "scripts/predict.py", "--model", output, "--audio", folder / "u19.wav"]
        + ["--text", "It is fine.", "--device", "cpu"]
    )
    rows = [line.split() for line in printed.splitlines()]
    expected = table[table["id"] == "u19"].iloc[0]
    assert rows[0] == [expected["prediction"], f"{expected[f'score_{expected.prediction}']:.1%}"]
    assert len(rows) == 4
    assert rows[3][:2] == ["beta", f"{expected['beta']:.2f}"]
    assert "give --audio, --text or both" in last_line([sys.executable, "scripts/predict.py", "--model", output])


def test_features_of_a_corpus(extracted, tmp_path):
    folder, _ = extracted
    (tmp_path / "corpus").mkdir()
    for i in range(3):
        (tmp_path / "corpus" / f"u{i}.wav").write_bytes((folder / f"u{i}.wav").read_bytes())
    table = "clip,who,said,felt\nu0.wav,ann,Go away!,anger\nu1.wav,bob,It is fine.,\nu2.wav,ann,,joy\n"
    (tmp_path / "corpus" / "table.csv").write_text(table)
    command = [sys.executable, "scripts/extract_features.py", "--use_cpu", "true", "--dataset", tmp_path / "corpus"]
    command += ["--processor_name", folder / "processor", "--output_dir", tmp_path / "features", "--corpus", "folder"]
    command += ["--corpus_options", "text_column=said", "--label_column", "felt", "--speaker_column", "who"]
    printed = succeed([*command, "--audio_column", "clip"])
    assert "without text   1" in printed
    rows = open_dataset(tmp_path / "features")
    assert rows["id"][:] == ["u0", "u1", "u2"]
    assert rows["speaker"][:] == rows["group"][:] == ["ann", "bob", "ann"]
    assert [None if i is None else rows.features["label"].names[i] for i in rows["label"]] == ["angry", None, "happy"]
    assert [h is None for h in rows["h_t"]] == [False, False, True]


def test_features_of_another_encoder_are_refused_in_evaluation(extracted, encoders, tmp_path):
    folder, output = extracted
    command = [
        sys.executable,
        "scripts/extract_features.py",
        "--dataset",
        folder / "corpus.parquet",
        "--use_cpu",
        "true",
    ]
    command += ["--text_encoder", encoders[0], "--audio_encoder", encoders[1], "--output_dir", tmp_path / "features"]
    succeed([*command, "--audio_layer", "1", "2"])
    command = [sys.executable, "scripts/evaluate.py", "--model", output, "--use_cpu", "true", *SPLIT]
    message = last_line([*command, "--dataset", tmp_path / "features", "--output_dir", tmp_path / "result"])
    assert "layer [1, 2]" in message
    assert "layer 3" in message
    assert not (tmp_path / "result" / "metrics.json").exists()


BATCH = "--per_device_train_batch_size"


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> tuple[list, Path]:
    """Arguments of a training on 24 rows, and what it gives in one process with a batch of 12."""
    folder = tmp_path_factory.mktemp("processes")
    make_features().save_to_disk(folder / "features")
    # Without what is drawn: each process draws on its own.
    drawn = ["--feature_dropout_prob", "0", "--noise_prob", "0"]
    arguments = ["scripts/train.py", "--dataset", folder / "features", *SPLIT, *TINY, *drawn]
    arguments += ["--num_train_epochs", "3", "--hidden_dropout_prob", "0", "--learning_rate", "3e-3"]
    arguments += ["--use_cpu", "true", "--disable_tqdm", "true"]
    succeed([sys.executable, *arguments, BATCH, "12", "--output_dir", folder / "one"])
    return arguments, folder / "one"


@pytest.mark.parametrize(
    "launcher",
    [
        ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"],
        ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    ],
    ids=["accelerate", "torchrun"],
)
def test_two_processes_train_as_one(one_process, tmp_path, launcher):
    arguments, one_folder = one_process
    command = [sys.executable, "-m", *launcher, *arguments, BATCH, "6", "--output_dir", tmp_path]
    succeed(command, ACCELERATE_USE_CPU="true")
    (one, one_table), (two, two_table) = results(one_folder), results(tmp_path)
    assert (one["about"]["world_size"], two["about"]["world_size"]) == (1, 2)
    assert two["about"]["training_loss"] == pytest.approx(one["about"]["training_loss"], abs=1e-4)
    assert list(one_table["id"]) == list(two_table["id"])
    assert np.allclose(one_table["beta"], two_table["beta"], atol=1e-3)
    for name in TEMPERATURES:
        assert two["about"][name] == pytest.approx(one["about"][name], rel=1e-2)
