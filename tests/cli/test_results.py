"""What the commands leave, from features and from wav files to a prediction."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from datasets import ClassLabel, Dataset
from safetensors.numpy import save_file
from tiny import NAMES, SPLIT, TINY, make_features
from transformers import AutoModelForSequenceClassification

from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.evaluation.gate import format_gate_truth, measure_gate_truth
from tacfn_hf.features.collation import TacfnDataCollator


QUIET = ["--use_cpu", "true", "--disable_tqdm", "true"]


def results(folder: Path) -> tuple[dict, pd.DataFrame]:
    return json.loads((folder / "metrics.json").read_text()), pd.read_parquet(folder / "predictions.parquet")


def test_train_writes_its_results(trained):
    _, output, printed = trained
    assert "test: 12 rows" in printed
    assert "confusion" in printed
    metrics, table = results(output)
    assert metrics["test"]["UA"] > 0.9
    assert metrics["about"]["rows"] == {"train": 24, "test": 12, "valid": 12}
    assert metrics["about"]["epochs"] == 12
    assert metrics["about"]["world_size"] == 1
    assert metrics["about"]["arguments"][:2] == ["--dataset", str(trained[0])]
    assert table["split"].value_counts().to_dict() == {"test": 12, "valid": 12}
    test = table[table["split"] == "test"]
    assert (test["label"] == test["prediction"]).mean() == pytest.approx(metrics["test"]["WA"])
    assert {"README.md", "confusion.png", "beta.png"} <= {path.name for path in output.iterdir()}


def test_the_saved_model_gives_the_saved_predictions(trained):
    features, output, _ = trained
    model = AutoModelForSequenceClassification.from_pretrained(output).eval()
    table = results(output)[1].set_index("id")
    rows = [row for row in open_dataset(features).with_format("numpy") if row["id"] in table.index]
    with torch.no_grad():
        found = model(**TacfnDataCollator()(rows))
    table = table.loc[[row["id"] for row in rows]]
    assert [NAMES[i] for i in found.logits.argmax(-1)] == list(table["prediction"])
    assert np.allclose(found.beta[:, 0].numpy(), table["beta"], atol=1e-6)


def test_evaluation_gives_the_same_metrics(trained, succeed, tmp_path):
    features, output, _ = trained
    command = ["evaluate", "--model", output, "--use_cpu", "true"]
    printed = succeed(*command, "--dataset", features, *SPLIT, "--output_dir", tmp_path / "test")
    metrics, table = results(tmp_path / "test")
    trained_metrics, trained_table = results(output)
    pd.testing.assert_frame_equal(
        table, trained_table[trained_table["split"] == "test"].reset_index(drop=True), atol=1e-6
    )
    for name in ("WA", "UA", "wF1", "macro_F1", "confusion"):
        assert metrics["test"][name] == trained_metrics["test"][name]
    assert metrics["test"]["beta_mean"] == pytest.approx(trained_metrics["test"]["beta_mean"], abs=1e-6)
    beta, trained_beta = metrics["about"]["gate_truth"], trained_metrics["about"]["gate_truth"]
    assert (beta["part"], beta["rows"], beta["missing"]) == ("test", 10, trained_beta["missing"])
    assert beta["corruption"]["audio"]["noise"]["beta_mean"] == pytest.approx(
        trained_beta["corruption"]["audio"]["noise"]["beta_mean"], abs=1e-6
    )
    assert format_gate_truth(beta) in printed

    printed = succeed("summarize", output / "metrics.json", tmp_path / "test" / "metrics.json")
    ua = f"{metrics['test']['UA']:.4f}"
    assert [line.split()[2] for line in printed.splitlines()[1:4]] == [ua] * 3
    assert printed.splitlines()[4].split()[:2] == ["std", "(n-1)"]

    make_features(6, ["sad", "angry"]).remove_columns("h_a").save_to_disk(tmp_path / "fewer")
    more = ["--dataset", tmp_path / "fewer", "--split", "all", "--output_dir", tmp_path / "fewer_result"]
    succeed(*command, *more)
    metrics, table = results(tmp_path / "fewer_result")
    assert list(table["label"]) == ["sad", "angry"] * 3
    assert metrics["about"]["gate_truth"] is None  # no row has both modalities


def test_beta_is_measured_on_the_part_that_is_evaluated(trained, succeed, tmp_path):
    features, output, _ = trained
    command = ["evaluate", "--model", output, "--use_cpu", "true", "--dataset", features, *SPLIT, "--batch_size", "5"]
    succeed(*command, "--split", "valid", "--output_dir", tmp_path)
    found = results(tmp_path)[0]["about"]["gate_truth"]
    part = open_dataset(features).filter(lambda session: session == "3", input_columns="session")
    expected = measure_gate_truth(AutoModelForSequenceClassification.from_pretrained(output), part)
    assert found.pop("part") == "valid"
    assert found["missing"] == expected["missing"]
    assert found["occlusion"] == pytest.approx(expected["occlusion"], abs=1e-6)


def test_another_corpus_is_tested_on_the_labels_of_both(trained, succeed, fail, tmp_path):
    _, output, _ = trained
    make_features(12, ["surprised", "sad", "angry"]).save_to_disk(tmp_path / "other")
    command = ["evaluate", "--model", output, "--use_cpu", "true", "--split", "all"]
    command += ["--dataset", tmp_path / "other", "--output_dir", tmp_path / "result"]
    said = fail(*command)
    assert "does not know the dataset's label surprised" in said
    assert "give --shared_labels true" in said
    printed = succeed(*command, "--shared_labels", "true")
    assert "labels of both: angry, sad\nrows left out: 4 surprised\nlabels of the model left out: calm\n" in printed
    metrics, table = results(tmp_path / "result")
    assert metrics["about"]["label_names"] == ["angry", "sad"]
    assert metrics["about"]["left_out_rows"] == {"surprised": 4}
    assert metrics["about"]["left_out_labels"] == ["calm"]
    assert metrics["about"]["gate_truth"] is None
    assert list(table["label"]) == ["sad", "angry"] * 4
    assert (table["score_angry"] + table["score_sad"]).to_numpy() == pytest.approx(1)
    model = AutoModelForSequenceClassification.from_pretrained(output).eval()
    rows = [row for row in open_dataset(tmp_path / "other").with_format("numpy") if row["label"] != 0]
    with torch.no_grad():
        logits = model(**TacfnDataCollator()(rows)).logits.double().numpy()
    # One temperature for all rows with both modalities, and the softmax of two classes.
    both = np.array([row["h_a"] is not None for row in rows])
    difference = (logits[:, NAMES.index("angry")] - logits[:, NAMES.index("sad")])[both]
    odds = np.log(table["score_angry"] / table["score_sad"]).to_numpy()[both]
    assert odds == pytest.approx(difference * (odds[0] / difference[0]), rel=1e-4)


def test_nothing_to_resume_from(trained, fail):
    features, output, _ = trained
    command = ["train", "--dataset", features, *SPLIT, "--use_cpu", "true"]
    sentence = fail(*command, "--output_dir", f"{output}-new", "--resume_from_checkpoint", "true")
    assert "holds no checkpoint" in sentence


def test_cross_validation_prints_its_table_and_writes_a_card_for_each_run(trained, succeed, tmp_path):
    command = ["cross-validate", "--dataset", trained[0], "--group_column", "session", "--num_folds", "2"]
    command += ["--valid_fraction", "0.5", *TINY, *QUIET, "--num_train_epochs", "1", "--seeds", "3"]
    printed = succeed(*command, "--output_dir", tmp_path / "folds")
    assert "pooled" in printed
    assert "seeds 3." in printed
    assert len(list(tmp_path.glob("folds/fold-*/seed-3/README.md"))) == 2
    succeed("card", tmp_path / "folds", "--output", tmp_path / "card.md", "--license", "mit")
    assert "license: mit" in (tmp_path / "card.md").read_text()


def test_a_card_is_written_again(trained, succeed, fail, tmp_path):
    succeed("card", trained[1], "--license", "mit", "--language", "en", "de", "--repo_id", "user/name")
    card = (trained[1] / "README.md").read_text()
    assert "license: mit" in card
    assert "user/name" in card
    sentence = fail("card", trained[1], "--output", tmp_path / "card.md", "--repo_id", "user/name")
    assert sentence == (
        "tacfn card: error: --repo_id goes with one model, --output with the card of a cross-validation"
    )


@pytest.fixture(scope="module")
def extracted(succeed, processor, tmp_path_factory) -> tuple[Path, Path]:
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
    arguments = {"dataset": str(folder / "corpus.parquet"), "processor_name": str(folder / "processor")}
    (folder / "extraction.json").write_text(json.dumps({**arguments, "use_cpu": True}))
    printed = succeed("extract", "--config", folder / "extraction.json", "--output_dir", folder / "features")
    assert "24 rows" in printed
    command = ["train", "--dataset", folder / "features", *SPLIT, *TINY, *QUIET, "--num_train_epochs", "20"]
    command += ["--learning_rate", "5e-3", "--per_device_train_batch_size", "4", "--output_dir", folder / "run"]
    succeed(*command)
    return folder, folder / "run"


def test_from_wav_files_to_a_prediction(extracted, succeed):
    folder, output = extracted
    metrics, table = results(output)
    assert metrics["test"]["UA"] > 0.9
    command = ["predict", "--model", output, "--audio", folder / "u19.wav", "--text", "It is fine.", "--device", "cpu"]
    rows = [line.split() for line in succeed(*command).splitlines()]
    expected = table[table["id"] == "u19"].iloc[0]
    assert rows[0] == [expected["prediction"], f"{expected[f'score_{expected.prediction}']:.1%}"]
    assert len(rows) == 4
    assert rows[3][:2] == ["beta", f"{expected['beta']:.2f}"]


def test_a_model_of_features_alone_does_not_predict(trained, fail):
    sentence = fail("predict", "--model", trained[1], "--text", "It is fine.")
    assert sentence.endswith("has no processor: it takes features, not audio and text; see tacfn evaluate")


def test_features_of_a_corpus(extracted, succeed, tmp_path):
    folder, _ = extracted
    (tmp_path / "corpus").mkdir()
    for i in range(3):
        (tmp_path / "corpus" / f"u{i}.wav").write_bytes((folder / f"u{i}.wav").read_bytes())
    table = "clip,who,said,felt\nu0.wav,ann,Go away!,anger\nu1.wav,bob,It is fine.,\nu2.wav,ann,,joy\n"
    (tmp_path / "corpus" / "table.csv").write_text(table)
    command = ["extract", "--use_cpu", "true", "--dataset", tmp_path / "corpus"]
    command += ["--processor_name", folder / "processor", "--output_dir", tmp_path / "features", "--corpus", "folder"]
    command += ["--corpus_options", "text_column=said", "--label_column", "felt", "--speaker_column", "who"]
    assert "without text   1" in succeed(*command, "--audio_column", "clip")
    rows = open_dataset(tmp_path / "features")
    assert rows["id"][:] == ["u0", "u1", "u2"]
    assert rows["speaker"][:] == rows["group"][:] == ["ann", "bob", "ann"]
    assert [None if i is None else rows.features["label"].names[i] for i in rows["label"]] == ["angry", None, "happy"]
    assert [h is None for h in rows["h_t"]] == [False, False, True]


def test_features_of_another_encoder_are_refused_in_evaluation(extracted, encoders, succeed, fail, tmp_path):
    folder, output = extracted
    command = ["extract", "--dataset", folder / "corpus.parquet", "--use_cpu", "true"]
    command += ["--text_encoder", encoders[0], "--audio_encoder", encoders[1], "--output_dir", tmp_path / "features"]
    succeed(*command, "--audio_layer", "1", "2")
    command = ["evaluate", "--model", output, "--use_cpu", "true", *SPLIT]
    sentence = fail(*command, "--dataset", tmp_path / "features", "--output_dir", tmp_path / "result")
    assert "layer [1, 2]" in sentence
    assert "layer 3" in sentence
    assert not (tmp_path / "result" / "metrics.json").exists()


def test_import(succeed, fail, tmp_path):
    (tmp_path / "table.csv").write_bytes("id;label;speaker\nu0;sad;Zoé\nu1;angry;Ann\n".encode("cp1252"))
    save_file({"h": np.ones((2, 3), np.float32)}, tmp_path / "audio.safetensors")
    command = ["import", "--table", tmp_path / "table.csv", "--audio", f"{tmp_path}/audio.safetensors:h"]
    command += ["--output_dir", tmp_path / "features", "--separator", ";"]
    assert "utf-8" in fail(*command)
    printed = succeed(*command, "--encoding", "cp1252")
    assert "rows      2" in printed
    rows = open_dataset(tmp_path / "features")
    assert rows["speaker"][:] == ["Zoé", "Ann"]
    assert rows["id"][:] == ["u0", "u1"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["--hidden_dropout_prob", "1.5"], "hidden_dropout_prob is 1.5: it must be in"),
        (["--hidden_size", "0"], "hidden_size is 0: it must be at least 1"),
    ],
)
def test_what_a_config_refuses_is_one_sentence(trained, fail, tmp_path, setting, message):
    assert message in fail("train", "--dataset", trained[0], "--output_dir", tmp_path, *SPLIT, *QUIET, *setting)


def test_the_commands_name_the_folder_of_a_full_disk(trained, fail, tmp_path):
    data = ["--dataset", trained[0], "--group_column", "session", "--device", "cpu"]
    tiny = [*TINY, "--num_train_epochs", "1", "--eval_strategy", "no", "--save_strategy", "no"]
    tiny += ["--load_best_model_at_end", "false"]
    for name, argv, file in (
        ("train", [*tiny, "--test_groups", "2"], "predictions.parquet"),
        ("evaluate", ["--model", trained[1], "--test_groups", "2"], "predictions.parquet"),
        ("cross-validate", [*tiny, "--num_folds", "2"], f".cross_validation.json.{os.getpid()}.tmp"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).symlink_to("/dev/full")
        sentence = f"{tmp_path / name} can't be written, no space is left: make room and try again."
        found = fail(name, *data, *argv, "--output_dir", tmp_path / name)
        assert found == f"tacfn {name}: error: {sentence} (--debug shows where)"


def test_votes_are_learned_and_told(succeed, fail, tmp_path):
    """Of rows half way between two classes, on which half of the votes say the one, scores learn the votes."""
    generator = np.random.default_rng(0)
    share = generator.choice([0.0, 0.3, 0.7, 1.0], size=160)
    h_t = np.stack([share, 1 - share, np.ones(160)], axis=1) + 0.02 * generator.normal(size=(160, 3))
    votes = [{"angry": round(10 * p), "sad": 10 - round(10 * p)} for p in share]
    label = [None if p in (0.3, 0.7) and i < 80 else int(p < 0.5) for i, p in enumerate(share)]
    rows = {"id": [f"u{i}" for i in range(160)], "h_t": h_t.tolist(), "votes": votes, "label": label}
    rows["split"] = ["train"] * 100 + ["validation"] * 30 + ["test"] * 30
    dataset = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=["angry", "sad"]))
    dataset.save_to_disk(tmp_path / "features")
    command = ["train", "--dataset", tmp_path / "features", "--split_column", "split", "--drop_unlabelled", "true"]
    command += ["--num_train_epochs", "20", "--per_device_train_batch_size", "8", "--use_cpu", "true"]
    command += ["--disable_tqdm", "true", "--hidden_size", "16", "--num_attention_heads", "2", "--output_dir"]
    printed = succeed(*command, tmp_path / "votes", "--target", "votes")
    assert "distance to the votes, in nats: KL" in printed
    succeed(*command, tmp_path / "label")
    by_votes, by_label = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("votes", "label"))
    assert by_votes["about"]["rows"] == {"train": 100, "valid": 30, "test": 30}
    assert by_label["about"]["rows"]["train"] < 70
    assert by_votes["test"]["KL"] < 0.8 * by_label["test"]["KL"]
    assert by_votes["test"]["JS"] < by_votes["test"]["KL"]
    card = (tmp_path / "votes" / "README.md").read_text()
    assert "Distance of the scores to the votes of the annotators, on test, in nats: Kullback-Leibler 0." in card
    assert "| `target` | votes |" in card or "`target` votes" in card
    # The report of folds has the distance over all of them: that of their tables.
    dataset.remove_columns("split").add_column("half", [str(i % 2) for i in range(160)]).save_to_disk(
        tmp_path / "halves"
    )
    folds = ["cross-validate", "--dataset", tmp_path / "halves", *command[5:-1], "--group_column", "half"]
    folds += ["--valid_fraction", "0.5", "--valid_group_column", "id", "--num_train_epochs", "2", "--target", "votes"]
    printed = succeed(*folds, "--output_dir", tmp_path / "folds")
    tables = [pd.read_parquet(path) for path in tmp_path.glob("folds/*/*/predictions.parquet")]
    table = pd.concat(tables).query("split == 'test'")
    p, q = (table[[f"{of}_angry", f"{of}_sad"]].to_numpy(np.float64) for of in ("share", "score"))
    expected = np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0).sum(axis=1).mean()
    report = json.loads((tmp_path / "folds" / "cross_validation.json").read_text())
    assert report["pooled"]["mean"]["KL"] == pytest.approx(expected, abs=1e-6)
    assert " KL " in printed
    dataset.remove_columns("votes").save_to_disk(tmp_path / "without")
    command[2] = tmp_path / "without"
    assert "target is votes, which the train part does not have. The targets that it has: label." in fail(
        *command, tmp_path / "none", "--target", "votes"
    )
