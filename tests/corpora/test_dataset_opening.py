"""A dataset is opened in every form that it may have; of an extraction see tests/features/test_extraction.py."""

from pathlib import Path

import fsspec
import pytest
from datasets import DatasetDict
from tiny import make_features

from tacfn_hf.corpora.dataset_opening import named_parts, open_dataset, unparted
from tacfn_hf.features.extraction import processor_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_every_form(tmp_path):
    dataset = make_features(6)
    dataset.save_to_disk(tmp_path / "disk")
    (tmp_path / "parquet").mkdir()
    dataset.to_parquet(tmp_path / "parquet" / "features.parquet")
    for path in ("disk", "parquet", "parquet/features.parquet", "parquet/*.parquet"):
        loaded = open_dataset(str(tmp_path / path))
        assert loaded.features == dataset.features
        assert loaded.to_dict() == dataset.to_dict()
    DatasetDict(train=dataset, test=make_features(3)).save_to_disk(tmp_path / "dict")
    parts = open_dataset(tmp_path / "dict")
    assert {name: len(part) for name, part in parts.items()} == {"train": 6, "test": 3}


def test_features_on_another_file_system_are_copied_once(tmp_path, monkeypatch):
    files = fsspec.filesystem("memory")
    dataset = make_features(6)
    dataset.save_to_disk(tmp_path / "disk")
    files.put(str(tmp_path / "disk"), "/bucket/features", recursive=True)
    dataset.to_parquet(tmp_path / "features.parquet")
    files.put(str(tmp_path / "features.parquet"), "/bucket/features.parquet")
    try:
        for path in ("memory://bucket/features", "memory://bucket/features.parquet"):
            assert open_dataset(path).to_dict() == dataset.to_dict()
        with monkeypatch.context() as patch:
            patch.setattr(type(files), "get", None)  # it is there already
            assert open_dataset("memory://bucket/features").to_dict() == dataset.to_dict()
        make_features(3).save_to_disk(tmp_path / "other")
        files.rm("/bucket/features", recursive=True)
        files.put(str(tmp_path / "other"), "/bucket/features", recursive=True)
        assert len(open_dataset("memory://bucket/features")) == 3
        (tmp_path / "processor").mkdir()
        (tmp_path / "processor" / "processor_config.json").write_text("{}")
        files.put(str(tmp_path / "processor"), "/bucket/features/processor", recursive=True)
        assert (Path(processor_of("memory://bucket/features")) / "processor_config.json").is_file()
    finally:
        files.rm("/bucket", recursive=True)
    with pytest.raises(ValueError, match="Nothing is at memory://bucket/features"):
        open_dataset("memory://bucket/features")
    with pytest.raises(ValueError, match=r"nosuch://a can't be read|Protocol not known: nosuch"):
        open_dataset("nosuch://a")


def test_nothing_to_open(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("id\n")
    (tmp_path / "half" / "train").mkdir(parents=True)
    (tmp_path / "half" / "train" / "shard-00000.arrow").touch()
    for path, message in (
        (tmp_path / "empty", "holds neither features of an extraction nor a dataset of save_to_disk nor a .parquet"),
        (tmp_path / "half", "The extraction in .*half is not complete: give the command again"),
        (tmp_path / "table.csv", "not .parquet"),
        (tmp_path / "none.parquet", "No file matches"),
        ("no/dataset", "the Hub failed"),
    ):
        with pytest.raises(ValueError, match=message):
            open_dataset(path)


def test_a_dataset_without_a_partition_is_all_train():
    dataset = make_features(3)
    assert unparted(DatasetDict(train=dataset)) is dataset
    assert set(unparted(DatasetDict(train=dataset, test=dataset))) == {"train", "test"}
    assert set(unparted(DatasetDict(test=dataset))) == {"test"}
    assert named_parts(dataset) == {"train": dataset}
