"""A dataset is opened in every form that it may have; of an extraction see tests/features/test_extraction.py."""

import pytest
from datasets import DatasetDict
from tiny import make_features

from tacfn_hf.corpora.dataset_opening import named_parts, open_dataset, unparted


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
