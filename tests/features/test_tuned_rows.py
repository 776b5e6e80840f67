"""Rows that an encoder was tuned on are known by their ids and by their audio."""

import pytest
from datasets import Dataset
from recordings import make, waveform

from tacfn_hf import TacfnProcessor
from tacfn_hf.features import tuned_rows
from tacfn_hf.features.extraction import extract_features


@pytest.fixture
def processor(encoders) -> TacfnProcessor:
    """One that a test may change."""
    return TacfnProcessor.from_encoders(*encoders)


def test_the_same_audio_is_known_under_another_id(processor, tmp_path):
    """Whether it is a file, embedded, or samples; of rows without audio only the id tells."""
    embedded, files = make(4), []
    for i, audio in enumerate(embedded["audio"]):
        files.append(None if audio is None else str(tmp_path / f"{i}.flac"))
        if audio is not None:
            (tmp_path / f"{i}.flac").write_bytes(audio["bytes"])
    tuned_on = Dataset.from_dict({"id": ["a", "u1", "c", "d"], "audio": files, "text": ["No."] * 4})
    parts = {"train": tuned_on.select([0, 1]), "valid": tuned_on.select([2])}
    processor.tuned_rows = tuned_rows.with_rows(None, parts)
    features = extract_features(embedded, processor, tmp_path / "features", shard_size=3)
    assert features["tuned_on"][:] == ["train", "train", "valid", None]
    # Of the same encoders, whose rows are known better now.
    parts["train"] = tuned_on.select([0, 1, 3])
    processor.tuned_rows = tuned_rows.with_rows(None, parts)
    features = extract_features(embedded, processor, tmp_path / "features", shard_size=3)
    assert features["tuned_on"][:] == ["train", "train", "valid", "train"]
    samples = {"array": waveform(0).tolist(), "sampling_rate": 16000}
    row = {"id": "b", "audio": samples}
    found = tuned_rows.with_rows(None, {"train": Dataset.from_list([row])})
    assert tuned_rows.uses_of([tuned_rows.keys_of("x", {**samples, "array": waveform(0)})], found) == ["train"]
    assert tuned_rows.uses_of([tuned_rows.keys_of("x", {**samples, "array": waveform(1)})], found) == [None]


def test_hashes_of_ids_alone_are_understood(processor, tmp_path):
    processor.tuned_rows = {"train": ["9dc02223da426384"], "valid": []}  # as an older version wrote them
    features = extract_features(make(4), processor, tmp_path / "features")
    assert features["tuned_on"][:] == ["train", None, None, None]


def test_without_such_rows_nothing_is_hashed(processor, tmp_path, monkeypatch):
    monkeypatch.setattr(tuned_rows, "keys_of", None)
    assert "tuned_on" not in extract_features(make(4), processor, tmp_path / "features").column_names
