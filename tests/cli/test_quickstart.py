"""The steps of the quickstart, on features that are there already."""

from datasets import DatasetDict, load_from_disk
from tiny import make_features

from tacfn_hf.cli.quickstart_steps import loads_again, save_one_modality, train
from tacfn_hf.features.extraction import PROCESSOR_FOLDER
from tacfn_hf.sharing.hub import check_checkpoint
from tacfn_hf.sharing.model_card import write_card


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
