"""The steps of the quickstart, on features that are there already."""

import re
import shlex
from pathlib import Path

import pytest
from datasets import DatasetDict, load_from_disk
from tiny import make_features

from tacfn_hf import TacfnProcessor
from tacfn_hf.cli.quickstart_steps import loads_again, save_encoders, save_one_modality, train
from tacfn_hf.corpora import load_corpus
from tacfn_hf.corpora.diagnostic import make_diagnostic
from tacfn_hf.evaluation.record import RunRecord
from tacfn_hf.features.extraction import PROCESSOR_FOLDER, extract_features
from tacfn_hf.sharing.hub import check_checkpoint
from tacfn_hf.sharing.model_card import write_card


ROOT = Path(__file__).parents[2]


def test_its_checkpoint_is_one_for_the_hub(fail, processor, tmp_path):
    features = DatasetDict()
    for name in ("train", "validation", "test"):
        ids = [f"{name}-{i}" for i in range(12)]
        features[name] = make_features(12).remove_columns("id").add_column("id", ids)
    features.save_to_disk(tmp_path / "features")
    processor.save_pretrained(tmp_path / "features" / PROCESSOR_FOLDER)
    table = train("fused", tmp_path / "features", tmp_path / "checkpoint", seed=0)
    assert table["id"].tolist() == [f"test-{i}" for i in range(12)]
    write_card(tmp_path / "checkpoint")
    check_checkpoint(tmp_path / "checkpoint")
    assert loads_again(tmp_path / "checkpoint", features["test"], table)
    other = table.assign(beta=table["beta"] + 0.01)
    assert not loads_again(tmp_path / "checkpoint", features["test"], other)
    assert "'no name' is no name of a repository" in fail("push", tmp_path / "checkpoint", "no name")


def test_one_modality_is_without_the_rows_that_lack_it(tmp_path):
    rows = make_features(6)
    conditions = ["text_only" if h_a is None else "both" for h_a in rows["h_a"]]
    features = DatasetDict({"test": rows.add_column("condition", conditions)})
    save_one_modality(features, "h_a", "h_t", tmp_path / "audio")
    saved = load_from_disk(str(tmp_path / "audio"))["test"]
    assert saved["id"][:] == [f"u{i}" for i in range(1, 6)]
    assert "h_t" not in saved.column_names


@pytest.mark.slow
def test_on_its_corpus_tuned_encoders_beat_the_frozen_ones(succeed, tmp_path):
    """By the command of docs/fine-tuning.md."""
    make_diagnostic(tmp_path / "corpus")
    save_encoders(tmp_path / "encoders", seed=0)
    processor = TacfnProcessor.from_encoders(tmp_path / "encoders/text", tmp_path / "encoders/audio")
    extract_features(load_corpus("diagnostic", tmp_path / "corpus"), processor, tmp_path / "features")
    train("fused", tmp_path / "features", tmp_path / "checkpoint", seed=0)
    page = (ROOT / "docs" / "fine-tuning.md").read_text("utf-8")
    (command,) = re.findall(r"^tacfn (fine-tune [^`]*quickstart/tuned[^`]*?)^```$", page, re.M | re.S)
    words = shlex.split(command.replace("\\\n", " ").replace("quickstart/", f"{tmp_path}/"))
    succeed(*words, "--use_cpu", "true", "--disable_tqdm", "true")
    frozen, tuned = (RunRecord.read(tmp_path / name).metrics["test"]["UA"] for name in ("checkpoint", "tuned-0"))
    assert tuned > frozen + 0.02
