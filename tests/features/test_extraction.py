"""Extraction: what its rows hold, what makes them anew, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, List
from recordings import SENTENCES, flac, make, remade, shards, waveform
from tiny import save_speech_encoder

from tacfn_hf import TacfnProcessor
from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.corpora.folder import load_folder
from tacfn_hf.corpora.schema import BadFilesError
from tacfn_hf.features.arrow_layout import provenance_of
from tacfn_hf.features.extraction import REPORT, extract_features, processor_of, stored
from tacfn_hf.model.decoding_tacfn import AudioError


def on_disk(folder: Path, rows: int = 6) -> Dataset:
    """The same with audio in files beside the table."""
    for i in range(rows):
        soundfile.write(folder / f"u{i}.wav", waveform(i), 16000)
    return make(rows, audio=[str(folder / f"u{i}.wav") for i in range(rows)])


def test_rows_hold_what_the_processor_gives(processor, tmp_path):
    features = extract_features(make(), processor, tmp_path / "features", shard_size=4)
    assert features.column_names[:3] == ["id", "h_a", "h_t"]
    assert {"text", "speaker"} < set(features.column_names)
    assert "audio" not in features.column_names
    assert features.features["label"] == ClassLabel(names=["angry", "sad"])
    assert list(features["id"]) == [f"u{i}" for i in range(10)]
    assert list(features["label"]) == [1, 0] * 5
    for i, row in enumerate(open_dataset(tmp_path / "features")):
        alone = processor(
            text=make()[i]["text"], audio=None if i == 1 else waveform(i), sampling_rate=16000, return_tensors="np"
        )
        for column in ("h_a", "h_t"):
            if (column, i) in (("h_a", 1), ("h_t", 2)):
                assert row[column] is None
            else:  # FLAC has 16 bits, float16 11
                expected = alone[column][0]
                assert np.linalg.norm(np.array(row[column]) - expected) < 2e-3 * np.linalg.norm(expected)


def test_features_are_stored_in_float16(processor, tmp_path):
    extract_features(make(3), processor, tmp_path)
    with pa.memory_map(str(tmp_path / "shard-00000.arrow")) as file:
        types = pa.ipc.open_stream(file).schema
    assert (
        types.field("h_a").type.value_type.value_type == types.field("h_t").type.value_type.value_type == pa.float16()
    )


def test_provenance_and_processor_lie_beside_the_features(processor, tmp_path):
    features = extract_features(make(5), processor, tmp_path, shard_size=2)
    assert provenance_of(features, "h_a") == processor.audio_provenance
    assert provenance_of(features.filter(lambda row: row["id"] == "u3"), "h_t") == processor.text_provenance
    saved = TacfnProcessor.from_pretrained(processor_of(tmp_path))
    assert (saved.audio_provenance, saved.text_provenance) == (processor.audio_provenance, processor.text_provenance)
    assert json.loads((tmp_path / REPORT).read_text())["provenance"]["h_a"] == processor.audio_provenance


def test_one_modality(processor, tmp_path):
    only_text = extract_features(make(4, text=SENTENCES + ["Yes."]).remove_columns("audio"), processor, tmp_path / "t")
    assert "h_a" not in only_text.column_names
    assert provenance_of(only_text, "h_a") is None
    only_audio = extract_features(make(1).remove_columns("text"), processor, tmp_path / "a")
    assert "h_t" not in only_audio.column_names


def changed_text() -> Dataset:
    return make(text=[*SENTENCES, *SENTENCES, "Other words.", *SENTENCES])


def changed_audio() -> Dataset:
    return make(audio=[{"bytes": flac(99 if i == 6 else i), "path": f"u{i}.flac"} for i in range(10)])


@pytest.mark.parametrize(
    "change", [changed_text, changed_audio, lambda: make(speaker=["s0"] * 6 + ["other"] + ["s0"] * 3)]
)
def test_only_the_shard_of_a_changed_row_is_made_anew(processor, tmp_path, change):
    complete = make(
        text=[*SENTENCES, *SENTENCES, *SENTENCES, "No."],
        speaker=["s0"] * 10,
        audio=[{"bytes": flac(i), "path": f"u{i}.flac"} for i in range(10)],
    )
    changed = change()
    same = {name: complete[name] for name in ("text", "speaker", "audio")}
    row = {name: [changed[6][name] if i == 6 else same[name][i] for i in range(10)] for name in same}
    first = extract_features(complete, processor, tmp_path, shard_size=4)
    before = shards(tmp_path)
    second = extract_features(make(**row), processor, tmp_path, shard_size=4)
    assert remade(before, shards(tmp_path)) == ["shard-00001.arrow"]
    assert second[5] == first[5]
    assert second[6] != first[6]


def test_a_file_that_changed_is_read_anew(processor, tmp_path):
    rows = on_disk(tmp_path)
    first = extract_features(rows, processor, tmp_path / "features", shard_size=2)
    before = shards(tmp_path / "features")
    soundfile.write(tmp_path / "u3.wav", waveform(77), 16000)
    second = extract_features(rows, processor, tmp_path / "features", shard_size=2)
    assert remade(before, shards(tmp_path / "features")) == ["shard-00001.arrow"]
    assert second[3]["h_a"] != first[3]["h_a"]


@pytest.mark.parametrize(
    "setting", [{"text_layer": 1}, {"audio_layer": 1}, {"dtype": "bfloat16"}, {"add_special_tokens": False}]
)
def test_other_encoder_settings_make_all_anew(encoders, processor, tmp_path, setting):
    first = extract_features(make(), processor, tmp_path, shard_size=4)
    before = shards(tmp_path)
    other = TacfnProcessor.from_encoders(*encoders, **setting)
    second = extract_features(make(), other, tmp_path, shard_size=4)
    assert len(remade(before, shards(tmp_path))) == 3
    assert second[0] != first[0]
    assert TacfnProcessor.from_pretrained(processor_of(tmp_path)).text_provenance == other.text_provenance


def test_another_revision_makes_all_anew(encoders, processor, tmp_path):
    extract_features(make(), processor, tmp_path / "features", shard_size=4)
    before = shards(tmp_path / "features")
    save_speech_encoder(tmp_path / "wavlm", initializer_range=0.05)  # other weights under the same name
    other = TacfnProcessor.from_encoders(encoders[0], tmp_path / "wavlm")
    assert other.audio_provenance["encoder"] == processor.audio_provenance["encoder"]
    extract_features(make(), other, tmp_path / "features", shard_size=4)
    assert len(remade(before, shards(tmp_path / "features"))) == 3


def test_several_labels_of_a_row_stay(processor, tmp_path):
    rows = make(3, label=[[0, 1], [], [1]])
    rows = rows.cast_column("label", List(ClassLabel(names=["angry", "sad"])))
    features = extract_features(rows, processor, tmp_path)
    assert features["label"][:] == [[0, 1], [], [1]]
    assert features.features["label"].feature.names == ["angry", "sad"]


def test_splits_share_labels_and_stay_apart(processor, tmp_path):
    dataset = DatasetDict(train=make(4), test=make(2, id=["a", "b"], label=["happy", None]))
    features = extract_features(dataset, processor, tmp_path)
    assert {name: len(part) for name, part in features.items()} == {"train": 4, "test": 2}
    assert features["train"].features["label"].names == features["test"].features["label"].names
    assert features["test"].features["label"].names == ["angry", "happy", "sad"]
    assert features["test"]["label"][:] == [1, None]
    assert processor_of(tmp_path) is not None


def test_a_split_without_rows(processor, tmp_path):
    dataset = DatasetDict(train=make(3), test=make(2, id=["a", "b"]).select([]))
    features = extract_features(dataset, processor, tmp_path)
    assert {name: len(part) for name, part in features.items()} == {"train": 3, "test": 0}
    assert features["test"].features == features["train"].features


def test_columns_may_have_other_names_and_audio_may_be_declared(processor, tmp_path):
    rows = on_disk(tmp_path, 2).cast_column("audio", Audio())
    names = {"audio": "speech", "text": "transcript", "id": "file", "label": "emotion", "speaker": "actor"}
    rows = rows.rename_columns(names)
    features = extract_features(
        rows,
        processor,
        tmp_path / "features",
        audio_column="speech",
        text_column="transcript",
        id_column="file",
        label_column="emotion",
        speaker_column="actor",
    )
    assert {"id", "h_a", "h_t", "text", "label", "speaker"} < set(features.column_names)


def test_a_bad_file_stops_the_run_by_name_and_loses_nothing(processor, tmp_path):
    rows = on_disk(tmp_path)
    (tmp_path / "u4.wav").write_text("no audio at all")
    with pytest.raises(AudioError, match=r"id 'u4' \(.*u4.wav\) can't be decoded"):
        extract_features(rows, processor, tmp_path / "features", shard_size=2)
    before = shards(tmp_path / "features")
    assert len(before) == 2
    with pytest.raises(ValueError, match="The extraction in .*features is not complete: give the command again"):
        open_dataset(tmp_path / "features")
    features = extract_features(rows, processor, tmp_path / "features", shard_size=2, skip_bad_files=True)
    assert remade(before, shards(tmp_path / "features")) == ["shard-00002.arrow"]
    assert list(features["id"]) == ["u0", "u1", "u2", "u3", "u5"]
    (skipped,) = json.loads((tmp_path / "features" / REPORT).read_text())["skipped"]
    assert skipped["id"] == "u4"
    assert "u4.wav" in skipped["error"]
    with pytest.raises(AudioError, match="u4.wav"):  # without the flag it still is an error
        extract_features(rows, processor, tmp_path / "features", shard_size=2)


def test_files_that_a_corpus_can_not_open_are_in_the_report(processor, tmp_path):
    for i in range(6):
        (tmp_path / "corpus" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "corpus" / "ab"[i % 2] / f"{i}.wav", waveform(i), 16000)
    whole = (tmp_path / "corpus/b/1.wav").read_bytes()
    (tmp_path / "corpus/b/1.wav").write_text("")
    (tmp_path / "corpus/a/2.wav").write_text("no audio at all")

    def extracted() -> tuple[list[str], dict[str, str]]:
        """The ids of the features, and the errors by the ids of what is left out."""
        with pytest.raises(BadFilesError) as caught:
            load_folder(tmp_path / "corpus")
        rows = caught.value.corpus["train"]
        features = extract_features(rows, processor, tmp_path / "features", shard_size=2, skip_bad_files=True)
        report = json.loads((tmp_path / "features" / REPORT).read_text())
        assert report["rows"] + len(report["skipped"]) == 6
        return features["id"][:], {row["id"]: row["error"] for row in report["skipped"]}

    ids, skipped = extracted()
    assert ids == ["a/0", "a/4", "b/3", "b/5"]
    assert list(skipped) == ["a/2", "b/1"]
    assert "is empty: the file has 0 bytes" in skipped["b/1"]
    before = shards(tmp_path / "features")
    (tmp_path / "corpus/b/1.wav").write_bytes(whole)
    ids, skipped = extracted()
    assert (ids, list(skipped)) == (["a/0", "a/4", "b/1", "b/3", "b/5"], ["a/2"])
    assert remade(before, shards(tmp_path / "features")) == ["shard-00001.arrow"]


def test_labels_that_are_strings_have_no_space_around_them(processor, tmp_path):
    with pytest.warns(UserWarning, match="The dataset has 1 'nan' in column 'label'"):
        features = extract_features(make(5, label=["sad ", " sad", "", "nan", None]), processor, tmp_path)
    assert features.features["label"].names == ["nan", "sad"]
    assert features["label"][:] == [1, 1, None, 0, None]


BAD_ROWS = {
    "no columns": (lambda: make(2).remove_columns(["audio", "text"]), {}, "neither audio nor text: it has id, label"),
    "no audio column": (lambda: make(2), {"audio_column": "wav"}, "audio_column is 'wav', but .* it has id, audio"),
    "no id column": (lambda: make(2), {"id_column": "file"}, "id_column is 'file', but"),
    "no label column": (lambda: make(2), {"label_column": "emotion"}, "label_column is 'emotion', but"),
    "no speaker column": (lambda: make(2), {"speaker_column": "actor"}, "speaker_column is 'actor', but"),
    "two id columns": (
        lambda: make(2),
        {"id_column": "speaker"},
        "id_column is 'speaker', but .* also has a column 'id'",
    ),
    "id twice": (lambda: make(2, id=["a", "a"]), {}, "id 'a' of column 'id' occurs twice .* that id_column names"),
    "labels in two cases": (lambda: make(3, label=["a", "A", "b"]), {}, r"only in case, 'A' \(1\), 'a' \(1\): .* hub"),
    "features already": (lambda: make(1, h_a=[1.0]), {}, "already has a column 'h_a'"),
    "nothing in a row": (lambda: make(3, text=["a", None, "b"]), {}, "id 'u1' has neither audio nor text"),
    "a blank in a row": (lambda: make(3, text=["a", " ", "b"]), {}, "id 'u1' has neither audio nor text"),
    "no rows": (lambda: make(3).select([]), {}, "The dataset has no rows"),
    "two kinds of labels": (
        lambda: DatasetDict(train=make(2).class_encode_column("label"), test=make(2, id=["v0", "v1"])),
        {},
        "a ClassLabel in some splits and values in others",
    ),
    "shard size": (lambda: make(1), {"shard_size": 0}, "shard_size is 0"),
}


@pytest.mark.parametrize(("rows", "arguments", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_rows(processor, tmp_path, rows, arguments, message):
    with pytest.raises(ValueError, match=message):
        extract_features(rows(), processor, tmp_path, **arguments)


def test_what_float16_cannot_hold_is_an_error():
    with pytest.raises(ValueError, match="h_a of id 'u' holds 70000"):
        stored(np.array([[1.0, 7e4]], dtype=np.float32), "h_a of id 'u'")


def test_a_shard_of_bad_files_alone_is_skipped(processor, tmp_path):
    rows = make(5, audio=[{"bytes": flac(i) if i < 4 else b"", "path": f"u{i}.flac"} for i in range(5)])
    features = extract_features(rows, processor, tmp_path, shard_size=4, skip_bad_files=True)
    assert features["id"][:] == ["u0", "u1", "u2", "u3"]
    assert [row["id"] for row in json.loads((tmp_path / REPORT).read_text())["skipped"]] == ["u4"]
