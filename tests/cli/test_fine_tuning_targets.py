"""Votes, several labels and values of the synthetic corpus: learned from its features, then together with encoders."""

import json

import pytest
from transformers import pipeline

from tacfn_hf.corpora import load_corpus
from tacfn_hf.corpora.diagnostic import make_diagnostic
from tacfn_hf.evaluation.predictions import read_predictions


BRIEF = ["--num_train_epochs", "1", "--use_cpu", "true", "--disable_tqdm", "true"]
SIZES = ["--hidden_size", "16", "--num_attention_heads", "2", "--gate_hidden_size", "8"]
TARGETS = {  # the options, a figure, the columns of predictions
    "votes": (["--target", "votes"], "KL", "score_"),
    "labels": (["--target", "labels"], "macro_F1", "score_"),
    "values": (["--target", "avd", "--target_range", "1", "5"], "CCC", "predicted_"),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(encoders, succeed, tmp_path_factory):
    """A folder with the corpus and its features."""
    folder = tmp_path_factory.mktemp("synthetic")
    make_diagnostic(folder / "corpus", num_speakers=6, repetitions=1)
    text, audio = encoders
    chosen = ["--audio_encoder", audio, "--text_encoder", text, "--use_cpu", "true"]
    corpus = ["--corpus", "diagnostic", "--dataset", folder / "corpus"]
    succeed("extract", *corpus, *chosen, "--output_dir", folder / "features")
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_fine_tuned_as_it_was_learned(target, corpus, succeed, tmp_path):
    chosen, figure, column = TARGETS[target]
    succeed("train", "--dataset", corpus / "features", *chosen, *BRIEF, *SIZES, "--output_dir", tmp_path / "run")
    tune = ["fine-tune", "--model_name_or_path", tmp_path / "run", "--corpus", "diagnostic"]
    tune += ["--dataset", corpus / "corpus", *BRIEF, "--output_dir", tmp_path / "tuned"]
    succeed(*tune, *chosen)
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("run", "tuned"))
    for name in ("problem_type", "id2label", "value_range"):
        assert after[name] == before[name]
    assert figure in json.loads((tmp_path / "tuned/metrics.json").read_text())["test"]

    row = load_corpus("diagnostic", corpus / "corpus")["test"][0]
    table = read_predictions(tmp_path / "tuned").set_index("id").loc[row["id"]]
    recognizer = pipeline("multimodal-emotion-recognition", model=str(tmp_path / "tuned"), device="cpu")
    answer = recognizer({"audio": row["audio"], "text": row["text"]}, top_k=None)
    assert {of["label"]: of["score"] for of in answer["scores"]} == pytest.approx(
        {name: table[f"{column}{name}"] for name in after["id2label"].values()}, abs=1e-5
    )
