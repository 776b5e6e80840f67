"""Cards say what was measured, all of it right, and nothing that was not."""

import json
import re
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from datasets import Dataset
from huggingface_hub import ModelCard
from tiny import NAMES, cross_validated, make_features
from transformers import TrainingArguments

from tacfn_hf import TacfnConfig
from tacfn_hf.cli.main import main
from tacfn_hf.cli.parsing import parse_arguments
from tacfn_hf.evaluation.record import changed_arguments
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.extraction import extract_features
from tacfn_hf.model.configuration_tacfn import TEMPERATURES
from tacfn_hf.sharing.card_values import METRICS, TASK
from tacfn_hf.sharing.cross_validation_card import write_cross_validation_card
from tacfn_hf.sharing.model_card import write_card
from tacfn_hf.training.arguments import CrossValidationArguments, ModelArguments, flags
from tacfn_hf.training.run import run_training
from tacfn_hf.training.training_arguments import TacfnTrainingArguments


ROOT = Path(__file__).parents[2]
SECRET = "hf_thisIsNoTokenButLooksLikeOne"
PLACE = {"use_cpu": True, "report_to": "none", "disable_tqdm": True}
FIGURES = ("WA", "UA", "wF1", "macro_F1", "ECE")
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 0, "gate_hidden_size": 4}
CLASSES = (DataArguments, ModelArguments, TacfnTrainingArguments)

NUMBER = r"\d+\.\d"
BETA = r"\d\.\d{3} ± \d\.\d{3}"
OVER_SEEDS = rf"{NUMBER}(?: ± {NUMBER})?"
BETA_OVER_SEEDS = r"\d\.\d{3}(?: ± \d\.\d{3})?"
RULE = r"\|(?: --- \|)+\n"
FEATURES = r"(?:- (?:audio|text), \d+ dimensions: [^\n]+\n)+\n"
LIMITS = (
    r"## Intended use and limits\n\n- For research [^\n]+\n"
    r"- Out of scope: [^\n]+ \(AI Act, article 5\(1\)\(f\)\)[^\n]+\n- The labels say which emotion [^\n]+\n"
    r"- Language of the data: [^\n]+\. Speakers: [^\n]+\. Other languages[^\n]+\n- Scores are [^\n]+\n"
    r"- `beta` is not a confidence\. [^\n]+\n\n"
)
ARGUMENTS = (
    r"(?:Arguments of `tacfn [\w-]+` that differ from its defaults:\n\n"
    rf"\| argument \| value \|\n{RULE}(?:\| `\w+` \| [^\n]+ \|\n)+"
    r"|With the default arguments of `tacfn [\w-]+`\.\n)\n"
)
VERSIONS = r"- versions: (?:[\w-]+ [\w.+ ]+(?:, |\n))+"
LICENSE = r"## License\n\n[^\n]+\n"
GATE = (
    rf"(?:### What beta is worth \(\w+\)\n\n\| measure \|[^\n]+\n{RULE}(?:\| [^\n|]+ \| [+-]?\d+\.\d+ \|\n)+\n"
    r"Figures of the rows that have both modalities[^\n]+\n\n)?"
)
CARD = re.compile(
    r"---\n(?P<data>.+?)\n---\n\n# [\w.-]+\n\n"
    r"A TACFN-inspired network for [^\n]+ It recognizes \d+ emotions: [^\n]+\n\n"
    r"## Use\n\n```python\n(?P<usage>.+?)```\n\n(?:[^\n]+\n\n)?"
    rf"{LIMITS}## Features\n\n(?:[^\n]+\n\n)?{FEATURES}"
    r"## Data and protocol\n\n- Dataset: `[^\n/]+`; rows: [^\n]+\n- Partition: [^\n]+\n- Seeds: \d+ in [^\n]+\n\n"
    rf"## Results\n\n(?:No part was evaluated\.\n|\| part \|[^\n]+\n{RULE}"
    rf"(?:\| \w+ \| \d+ (?:\| {NUMBER} ){{5}}\| {BETA} \|\n)+\n"
    r"WA [^\n]+\nScores are softmax[^\n]+\n(?:[^\n]+\n){0,2})\n"
    rf"(?:### Classes \(\w+\)\n\n\| class \|[^\n]+\n{RULE}"
    rf"(?:\| [^\n]+ \| \d+ (?:\| (?:{NUMBER})? ){{3}}\| (?:{BETA})? \|\n)+\n"
    r"!\[Confusion matrix\]\(confusion\.png\)\n\n!\[Beta by class\]\(beta\.png\)\n\n)?"
    rf"{GATE}## Training\n\n{ARGUMENTS}(?:- [a-z ]+: [^\n]+\n)+{VERSIONS}\n{LICENSE}",
    re.DOTALL,
)
CROSS_VALIDATION_CARD = re.compile(
    r"---\n(?P<data>.+?)\n---\n\n# (?P<name>[\w.-]+)\n\nThe card of a cross-validation[^\n]+\n\n"
    r"A TACFN-inspired network for [^\n]+ It recognizes \d+ emotions: [^\n]+\n\n"
    rf"{LIMITS}## Features\n\n(?:[^\n]+\n\n)?{FEATURES}"
    r"## Data and protocol\n\n- Dataset: `[^\n/]+`; rows: \d+\n- Partition: `group_column` [^\n]+\n"
    rf"- Seeds: [\d, ]+ in [^\n]+\n\n\| fold \| test groups \| test rows \|\n{RULE}(?:\| fold [^\n]+ \| \d+ \|\n)+\n"
    rf"## Results\n\n\| fold \|[^\n]+\n{RULE}"
    rf"(?P<results>(?:\| [^\n|]+ (?:\| {OVER_SEEDS} ){{4}}\| {BETA_OVER_SEEDS} \|\n)+)\n"
    r"Figures of the test rows: WA [^\n]+\nScores are softmax[^\n]+\n\n"
    rf"### Classes \(pooled\)\n\n\| class \|[^\n]+\n{RULE}"
    rf"(?:\| [^\n]+ \| \d+ \| (?:{OVER_SEEDS})? \| (?:{BETA_OVER_SEEDS})? \|\n)+\n(?:The pictures [^\n]+\n\n)?"
    r"!\[Confusion matrix\]\((?P=name)-confusion\.png\)\n\n!\[Beta by class\]\((?P=name)-beta\.png\)\n\n"
    rf"{GATE}## Training\n\n{ARGUMENTS}(?:- [a-z ]+: [^\n]+\n)+{VERSIONS}\n"
    rf"```bash\n(?P<command>tacfn cross-validate [^\n]+)\n```\n\n{LICENSE}",
    re.DOTALL,
)


def train(dataset: Path, output_dir: Path, **more) -> Path:
    given = {"dataset": dataset, "output_dir": output_dir, **SIZES, **PLACE, "num_train_epochs": 1, **more}
    data_args, model_args, args = parse_arguments(CLASSES, flags(given))
    run_training(data_args, model_args, args, {"arguments": flags(given)}, quiet=True)
    write_card(output_dir)
    return output_dir


@pytest.fixture(scope="module")
def run(processor, tmp_path_factory) -> Path:
    """The folder of a run, from wav files and sentences, as train.py leaves it."""
    folder = tmp_path_factory.mktemp("cards")
    rows = {name: [] for name in ("id", "audio", "text", "label", "session", "speaker")}
    for i in range(24):
        path = folder / f"recording-{i}.wav"
        soundfile.write(path, 0.3 * np.sin(np.arange(4000) * (0.1 + 0.3 * (i % 3))), 16000)
        values = (f"clip-7f3a-{i}", str(path), "It is fine.", NAMES[i % 3], f"ses{i // 6}", f"speaker-{i // 3}")
        for name, value in zip(rows, values):
            rows[name].append(value)
    extract_features(Dataset.from_dict(rows), processor, folder / "features" / "corpus-x")
    shutil.copy(folder / "recording-0.wav", folder / "hello.wav")
    split = {"group_column": "session", "test_groups": ["ses3"], "valid_groups": ["ses2"]}
    chosen = {"metric_for_best_model": "UA", "learning_rate": 0.02, "hub_token": SECRET}
    return train(folder / "features" / "corpus-x", folder / "run-1", **split, **chosen)


@pytest.fixture(scope="module")
def features_run(tmp_path_factory) -> Path:
    """A run on features that nobody knows the origin of, without a test part."""
    folder = tmp_path_factory.mktemp("cards")
    rows = make_features()
    rows.save_to_disk(folder / "features")
    return train(folder / "features", folder / "run-2", group_column="session", valid_groups=["4"])


def text_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_the_card_says_what_the_run_measured_of_beta(run):
    truth = metrics_of(run)["about"]["gate_truth"]
    shown = dict(re.findall(r"^\| (.+?) \| ([+-]?\d+\.\d+) \|$", text_of(run), re.MULTILINE))
    correlation = truth["corruption"]["text"]["noise"]["correlation"]
    assert (
        shown["correlation of beta with the share of text that is replaced by noise (should be 1)"]
        == f"{correlation:+.2f}"
    )
    assert shown["UA in % with audio alone"] == f"{100 * truth['missing']['audio only']['UA']:.1f}"
    assert truth["part"] == "test"


def section(text: str, name: str) -> str:
    return re.search(rf"^## {name}\n(.+?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]


def rows_of(text: str) -> dict[str, list[str]]:
    """The lines of the Markdown tables in a text, by their first cell."""
    lines = [[part.strip() for part in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in lines}


def test_the_parser_gives_the_figures_back(run):
    metrics = metrics_of(run)
    data = ModelCard.load(run / "README.md").data
    found = {(result.dataset_split, result.metric_name): result for result in data.eval_results}
    assert set(found) == {(part, name) for part in ("valid", "test") for name in FIGURES}
    for (part, name), result in found.items():
        assert result.metric_value == metrics[part][name]
        assert (result.metric_type, result.metric_args) == METRICS[name]
        assert (result.dataset_name, result.task_type) == ("corpus-x", TASK)
    assert data.model_name == "run-1"
    assert data.pipeline_tag == TASK  # what transformers.pipeline(model=...) takes for the task
    assert data.library_name == "transformers"
    assert set(data.metrics) == {"accuracy", "recall", "f1", "expected_calibration_error"}


def test_the_figures_in_the_text(run):
    metrics, text = metrics_of(run), text_of(run)
    table = pd.read_parquet(run / "predictions.parquet").query("split == 'test'")
    rows = rows_of(section(text, "Results"))
    for part in ("valid", "test"):
        assert rows[part][1:6] == [f"{100 * metrics[part][name]:.1f}" for name in FIGURES]
    for figures in metrics["test"]["per_class"]:
        row = rows[figures["label"]]
        assert row[:4] == [str(figures["support"]), *(f"{100 * figures[n]:.1f}" for n in ("recall", "precision", "f1"))]
        beta = table["beta"][table["label"] == figures["label"]]
        assert row[4] == f"{beta.mean():.3f} ± {np.std(beta):.3f}"
    about = metrics["about"]
    assert f"rows: {', '.join(f'{n} {part}' for part, n in about['rows'].items())}\n" in text
    assert "`group_column` session, `test_groups` ses3, `valid_groups` ses2\n" in text
    assert f"- seconds of training: {about['training_seconds']}\n- device: cpu\n- processes: 1\n" in text
    assert "Speakers: 4 in train, 2 in test, 2 in valid." in text
    assert "best UA on the validation part" in text
    arguments = rows_of(section(text, "Training"))
    assert arguments["`learning_rate`"] == ["0.02"]
    assert set(arguments) == {
        "argument",
        "---",
        *(f"`{name}`" for name in (*SIZES, "num_train_epochs", "learning_rate", "metric_for_best_model")),
    }


@pytest.mark.parametrize("name", ["run", "features_run"])
def test_the_lines_of_the_card_run_as_they_stand(name, request, monkeypatch, capsys):
    folder = request.getfixturevalue(name)
    monkeypatch.chdir(folder.parent)
    usage = CARD.fullmatch(text_of(folder))["usage"]
    exec(usage, {})
    printed = capsys.readouterr().out
    assert len(usage.splitlines()) <= 8
    if name == "run":
        assert printed.count("'label'") == 3
        assert "'beta'" in printed
    else:
        assert printed.startswith("tensor([[")


def test_the_shape_of_a_card(run, features_run):
    assert CARD.fullmatch(text_of(run))
    assert CARD.fullmatch(text_of(features_run))


def test_no_id_no_token_no_place(run):
    about = metrics_of(run)["about"]
    assert any(str(run.parent) in argument for argument in about["arguments"])
    for content in (
        text_of(run),
        *((run / name).read_bytes().decode("latin-1") for name in ("confusion.png", "beta.png")),
    ):
        assert SECRET not in content
        assert "clip-7f3a" not in content
        assert str(run.parent) not in content
        assert "recording-" not in content
        assert Path.home().as_posix() + "/" not in content
    body = text_of(run).replace("https://github.com/huggingface/transformers", "")
    assert not re.search(r"(?<![\w.])/\w|[A-Z]:\\", body)


def test_the_temperature_and_what_it_was_fitted_on(run, tmp_path):
    config = TacfnConfig.from_pretrained(run)
    of = config.temperatures
    alone = f"{of['audio']:.3g} with audio alone, {of['text']:.3g} with text alone"
    assert f"T = {of['both']:.3g}, {alone}; fitted on the validation rows. The ECE of test" in text_of(run)
    assert "- Scores are calibrated on the validation rows. On other data" in text_of(run)
    rows = make_features()
    rows.save_to_disk(tmp_path / "features")
    unchosen = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    text = text_of(
        train(tmp_path / "features", tmp_path / "run", group_column="session", test_groups=["4"], **unchosen)
    )
    assert "softmax(logits / T), T = 1, not fitted on validation rows.\n" in text
    assert "was kept" not in text
    assert "- Scores are not calibrated probabilities.\n" in text
    assert CARD.fullmatch(text)


def test_groups_that_are_rows_are_counted(tmp_path):
    rows = make_features()
    rows.save_to_disk(tmp_path / "features")
    split = {"group_column": "id", "test_groups": ["u3", "u4"], "valid_groups": ["u5", "u6", "u7"]}
    text = text_of(train(tmp_path / "features", tmp_path / "run", **split))
    assert "`test_groups` 2 groups, `valid_groups` 3 groups\n" in text
    assert not re.search(r"\bu\d", text)


def test_what_is_not_known_is_not_claimed(features_run):
    text, data = text_of(features_run), ModelCard.load(features_run / "README.md").data
    assert data.get("license") is data.get("language") is data.get("base_model") is None
    assert "Language of the data: not recorded. Speakers: not recorded." in text
    assert text.count("the dataset does not say what made them") == 2
    assert section(text, "License").strip().startswith("Not stated")
    assert {result.dataset_split for result in data.eval_results} == {"valid"}
    assert "There was no test part." in text
    assert "### Classes (valid)" in text
    assert "hello.wav" not in text


def test_what_only_the_caller_knows(features_run, tmp_path):
    folder = shutil.copytree(features_run, tmp_path / "again")
    more = {"license": "cc-by-nc-4.0", "language": ["en", "de"], "features": "Mean of 88 eGeMAPS functionals."}
    write_card(folder, repo_id="someone/emotions", **more)
    text, data = text_of(folder), ModelCard.load(folder / "README.md").data
    assert (data.license, data.language, data.model_name) == ("cc-by-nc-4.0", ["en", "de"], "emotions")
    assert 'AutoModel.from_pretrained("someone/emotions")' in text
    assert "Language of the data: en, de." in text
    assert more["features"] in text
    assert CARD.fullmatch(text)


def test_encoders_with_their_revisions(features_run, run, tmp_path):
    revision = TacfnConfig.from_pretrained(run).audio_provenance["revision"]
    assert f"- audio, 32 dimensions: wavlm (dtype float32, layer 3, revision {revision})\n" in text_of(run)
    assert ModelCard.load(run / "README.md").data.get("base_model") is None  # these are on no Hub
    folder = shutil.copytree(features_run, tmp_path / "again")
    config = TacfnConfig.from_pretrained(folder)
    config.audio_provenance = {"encoder": "microsoft/wavlm-base-plus", "revision": "a" * 40, "layer": 12}
    config.text_provenance = {"encoder": "/data/models/bert", "revision": "sha256:1", "layer": 2}
    config.save_pretrained(folder)
    text = write_card(folder).content
    assert f"- audio, 4 dimensions: microsoft/wavlm-base-plus (layer 12, revision {'a' * 40})\n" in text
    assert "- text, 5 dimensions: bert (layer 2, revision sha256:1)\n" in text
    data = ModelCard.load(folder / "README.md").data
    assert data.base_model == ["microsoft/wavlm-base-plus"]
    assert data.base_model_relation == "adapter"


def test_a_model_of_one_modality(tmp_path, monkeypatch, capsys):
    rows = make_features().remove_columns("h_a")
    rows = rows.add_column("language", ["english", "mandarin"] * 24)
    rows.save_to_disk(tmp_path / "features")
    folder = train(
        tmp_path / "features", tmp_path / "run", group_column="session", test_groups=["4"], valid_groups=["3"]
    )
    text = text_of(folder)
    assert "trained on features of text." in text
    assert "**It was trained without audio**" in text
    assert "Language of the data: english, mandarin." in text
    assert "audio, " not in section(text, "Features")
    assert (
        f"T = {TacfnConfig.from_pretrained(folder).temperatures['both']:.3g}; fitted on" in text
    )  # once, not by two names
    monkeypatch.chdir(tmp_path)
    exec(CARD.fullmatch(text)["usage"], {})
    assert "tensor([[0.]])" in capsys.readouterr().out


def test_classes_without_rows_and_names_that_markdown_would_read(features_run, tmp_path):
    folder = shutil.copytree(features_run, tmp_path / "again")
    table = pd.read_parquet(folder / "predictions.parquet").query("label != 'sad'")
    table["beta"] = np.where(np.arange(len(table)) < 3, 0.9, 0.3)  # of 8 rows, angry is the first of each two
    metrics = metrics_of(folder)
    metrics["about"]["label_names"][0] = metrics["valid"]["per_class"][0]["label"] = "angry | cross/mad/wild"
    metrics["valid"]["per_class"][2].update(support=0, recall=0.0, beta_mean=None)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    table.replace("angry", "angry | cross/mad/wild").to_parquet(folder / "predictions.parquet")
    text = write_card(folder).content
    assert re.search(r"\| angry \\\| cross/mad/wild \| 4 \|.* 0\.600 ± 0\.300 \|\n", text)
    assert re.search(rf"\| sad \| 0 \|  \| {NUMBER} \|  \|  \|\n", text)
    assert CARD.fullmatch(text)


def test_a_run_that_evaluated_nothing(features_run, tmp_path):
    folder = shutil.copytree(features_run, tmp_path / "again")
    (folder / "metrics.json").write_text(json.dumps({"about": metrics_of(folder)["about"]}))
    (folder / "predictions.parquet").unlink()
    text = write_card(folder).content
    assert "No part was evaluated." in text
    assert ModelCard.load(folder / "README.md").data.get("eval_results") is None
    assert ".png" not in text
    assert CARD.fullmatch(text)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "predictions.parquet"])
def test_a_folder_that_is_not_complete(features_run, tmp_path, name):
    folder = shutil.copytree(features_run, tmp_path / "again")
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"again has no {name}: ") as caught:
        write_card(folder)
    assert "\n" not in str(caught.value)


def test_a_card_is_made_again_to_the_byte(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / run.name)
    names = ("README.md", "confusion.png", "beta.png")
    for name in names:
        (folder / name).unlink()
    write_card(folder)
    assert [(folder / name).read_bytes() for name in names] == [(run / name).read_bytes() for name in names]


def test_arguments_that_differ_from_the_defaults():
    args = TacfnTrainingArguments(output_dir="x", use_cpu=True, report_to="none")
    arguments = {**asdict(DataArguments(dataset="d")), **asdict(ModelArguments()), **args.to_dict()}
    assert changed_arguments(arguments, *CLASSES) == {}
    changed = {"hidden_dropout_prob": 0.0, "weight_decay": 0.0, "bf16": True, "test_groups": ["1"]}
    changed["accelerator_config"] = {**arguments["accelerator_config"], "even_batches": False}
    hidden = {"output_dir": "/y", "hub_token": SECRET, "logging_dir": "/z", "dataset": "/d", "processor_name": "/p"}
    assert changed_arguments({**arguments, **changed, **hidden}, *CLASSES) == changed
    assert set(changed_arguments(TrainingArguments(output_dir="x").to_dict(), TacfnTrainingArguments)) >= {
        "learning_rate"
    }


def test_a_checkpoint_to_go_on_from_is_named_without_its_place(features_run, tmp_path):
    folder = features_run.parent
    sizes = dict.fromkeys(SIZES)
    split = {"group_column": "session", "valid_groups": ["4"], "model_name_or_path": features_run}
    text = text_of(train(folder / "features", tmp_path / "run", **split, **sizes))
    assert "| `model_name_or_path` | run-2 |" in text
    assert str(folder) not in text


@pytest.fixture(scope="module")
def cross_validation(tmp_path_factory) -> tuple[Path, dict]:
    """A cross-validation of two folds with two groups each, and its report."""
    folder = tmp_path_factory.mktemp("cards")
    make_features().save_to_disk(folder / "corpus-y")
    given = {"dataset": folder / "corpus-y", "output_dir": folder / "output", **SIZES, **PLACE, "num_train_epochs": 2}
    given |= {"group_column": "session", "valid_fraction": 0.5, "num_folds": 2, "seeds": [0, 3], "learning_rate": 0.02}
    return folder / "output", cross_validated(flags(given))


def test_the_card_of_a_cross_validation(cross_validation, tmp_path):
    folder, report = cross_validation
    card = write_cross_validation_card(folder, tmp_path / "corpus-y-folds.md", language="en")
    text = (tmp_path / "corpus-y-folds.md").read_text(encoding="utf-8")
    assert text == card.content
    match = CROSS_VALIDATION_CARD.fullmatch(text)
    found = {
        (r.dataset_config, r.metric_name): r.metric_value
        for r in ModelCard.load(tmp_path / "corpus-y-folds.md").data.eval_results
    }
    expected = {"fold 1": report["folds"]["1"], "fold 2": report["folds"]["2"], "pooled": report["pooled"]}
    assert found == {(name, m): of["mean"][m] for name, of in expected.items() for m in ("WA", "UA", "wF1", "ECE")}
    rows = rows_of(match["results"])
    assert set(rows) == {"fold 1", "fold 2", "mean over folds", "pooled"}
    mean, std = (100 * report["pooled"][key]["UA"] for key in ("mean", "std"))
    assert rows["pooled"][1] == f"{mean:.1f} ± {std:.1f}"
    mean, std = (100 * report["pooled"][key]["ECE"] for key in ("mean", "std"))
    assert rows["pooled"][3] == f"{mean:.1f} ± {std:.1f}"
    abouts = [metrics_of(path.parent)["about"] for path in folder.glob("fold-*/seed-*/README.md")]
    of_both, of_audio, of_text = (
        " to ".join(
            dict.fromkeys(f"{bound([about['temperatures'][name] for about in abouts]):.3g}" for bound in (min, max))
        )
        for name in TEMPERATURES
    )
    line = f"T = {of_both}, {of_audio} with audio alone, {of_text} with text alone; fitted on the validation rows."
    assert f"softmax(logits / T), {line}" in text
    assert "Scores are calibrated on the validation rows" in text
    tables = [
        pd.read_parquet(path).query("split == 'test'") for path in folder.glob("fold-*/seed-*/predictions.parquet")
    ]
    sad = pd.concat(tables).query("label == 'sad'")
    row = rows_of(section(text, "Results"))["sad"]
    assert row[0] == str(len(sad) // 2)
    assert row[1].startswith(f"{100 * (sad['prediction'] == 'sad').mean():.1f} ±")
    assert row[2].startswith(f"{sad['beta'].mean():.3f} ±")
    assert str(folder.parent) not in text
    assert not re.search(r"\bu\d", text)
    assert {path.name for path in tmp_path.iterdir()} == {
        "corpus-y-folds.md",
        "corpus-y-folds-confusion.png",
        "corpus-y-folds-beta.png",
    }
    # The command is the one that was given, but for places.
    _, _, *script = shlex.split(match["command"])
    given = parse_arguments((*CLASSES, CrossValidationArguments), [*script, "--use_cpu", "true"])
    assert (given[3].num_folds, given[3].seeds, given[0].dataset) == (2, [0, 3], "features/corpus-y")
    settings = json.loads((folder / "cross_validation.json").read_text())["settings"]
    again = {**asdict(given[0]), **asdict(given[1]), **given[2].to_dict()}
    differing = {name for name, value in settings.items() if again[name] != value}
    assert differing <= {"dataset", "disable_tqdm", "report_to"}


def test_a_cross_validation_that_is_not_complete(cross_validation, features_run, tmp_path):
    with pytest.raises(ValueError, match="run-2 has no cross_validation.json"):
        write_cross_validation_card(features_run, tmp_path / "card.md")
    folder = shutil.copytree(cross_validation[0], tmp_path / "output")
    shutil.rmtree(folder / "fold-2" / "seed-3")
    with pytest.raises(ValueError, match="seed-3 has no metrics.json"):
        write_cross_validation_card(folder, tmp_path / "card.md")
    assert not (tmp_path / "card.md").exists()


def test_the_command(features_run, cross_validation, tmp_path):
    folder = shutil.copytree(features_run, tmp_path / "again")
    for argv in (
        [folder, "--license", "mit", "--language", "en", "de"],
        [cross_validation[0], "--output", tmp_path / "folds.md", "--license", "mit", "--language", "en", "de"],
    ):
        main(["card", *map(str, argv)])
    for path in (folder / "README.md", tmp_path / "folds.md"):
        data = ModelCard.load(path).data
        assert (data.license, data.language) == ("mit", ["en", "de"])


CARDS = sorted(path for path in (ROOT / "model_cards").glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("path", CARDS, ids=[path.name for path in CARDS])
def test_cards_of_the_project_are_as_the_code_writes_them(path):
    match = CROSS_VALIDATION_CARD.fullmatch(path.read_text(encoding="utf-8"))
    assert match
    assert match["name"] == path.stem
    rows = rows_of(match["results"])
    results = ModelCard.load(path).data.eval_results
    assert {result.dataset_config for result in results} == set(rows) - {"mean over folds"}
    for result in results:
        column = ["WA", "UA", "wF1", "ECE"].index(result.metric_name)
        assert rows[result.dataset_config][column].split(" ± ")[0] == f"{100 * result.metric_value:.1f}"
    for kind in ("confusion", "beta"):
        assert (path.parent / f"{path.stem}-{kind}.png").is_file()


def test_the_project_has_cards():
    assert CARDS
