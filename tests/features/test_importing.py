"""Features that exist already are brought together with their table of utterances."""

import os
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets, load_dataset, load_from_disk
from feature_files import IDS, LABELS, LENGTHS, NAMES, assert_same, raw, table, utterances
from safetensors.numpy import load_file, save_file

from tacfn_hf.features.importing import import_features


@pytest.mark.parametrize("text", ["f.safetensors:text", "text.npy", "f.npz:text"])
def test_packed_and_utterance_level(folder, arrays, text):
    dataset = import_features(
        "t.parquet", "out", audio="f.safetensors:audio", audio_offsets="f.safetensors:offsets", text=text
    )
    assert_same(raw(dataset, "h_a"), utterances(arrays))
    assert_same(raw(dataset, "h_t"), list(arrays["text"][:, None]))
    assert dataset["id"][:] == IDS
    assert dataset["session"][:] == [1, 1, 2, 2, 3]
    assert dataset.features["label"] == ClassLabel(names=["angry", "happy", "sad"])
    assert dataset.features["label"].int2str(dataset["label"][:]) == LABELS
    assert dataset.column_names == ["id", "h_a", "h_t", "label", "session"]
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("padded", ["f.safetensors:padded", "padded.npy", "f.npz:padded"])
def test_padded(folder, arrays, padded):
    single = arrays["padded"].astype("float32")
    dataset = import_features("t.parquet", "all", text=padded, label_names=NAMES)
    assert_same(raw(dataset, "h_t"), list(single))
    assert "h_a" not in dataset.column_names
    assert dataset["label"][:] == [2, 0, 2, 1, 0]
    dataset = import_features("t.parquet", "valid", text=padded, text_lengths="f.npz:lengths")
    assert_same(raw(dataset, "h_t"), [value[:n] for value, n in zip(single, LENGTHS, strict=True)])


def test_folder_with_missing_files(folder, arrays):
    os.remove("files/u5.npy")
    save_file({"x": arrays["audio"][3]}, "files/u1.safetensors")  # [d], the same numbers
    os.remove("files/u1.npy")
    np.save("files/stranger.npy", arrays["audio"])
    with pytest.raises(ValueError, match="'u5' has no file in files; add it, or set allow_missing"):
        import_features("t.parquet", "out", audio="files", text="text.npy")
    assert not os.path.exists("out")
    assert not list(folder.glob(".out*"))
    dataset = import_features("t.parquet", "out", audio="files", text="text.npy", allow_missing=True)
    expected = utterances(arrays)
    expected[2] = None
    assert_same(raw(dataset, "h_a"), expected)
    assert "1 missing, 1 files of no row" in dataset.info.description
    with pytest.raises(ValueError, match="'u5' has no features at all"):
        import_features("t.parquet", "none", audio="files", allow_missing=True)


def test_ids_with_folders_in_them(folder, arrays):
    """As the corpus of a folder for each label makes them."""
    os.makedirs("deep/happy")
    rows = pa.table({"id": [f"happy/{id_}" for id_ in IDS], "label": LABELS})
    pa.parquet.write_table(rows, "deep.parquet")
    for id_ in IDS:
        os.rename(f"files/{id_}.npy", f"deep/happy/{id_}.npy")
    assert_same(raw(import_features("deep.parquet", "out", audio="deep"), "h_a"), utterances(arrays))


def test_datasets_operations_keep_features_and_nulls(folder, arrays):
    os.remove("files/u5.npy")
    dataset = import_features("t.parquet", "out", audio="files", text="text.npy", allow_missing=True)
    expected = utterances(arrays)
    expected[2] = None
    assert_same(raw(dataset.select([4, 2, 0]), "h_a"), [expected[4], None, expected[0]])
    assert_same(raw(dataset.filter(lambda row: row["session"] == 2), "h_a"), [None, expected[3]])
    assert_same(raw(concatenate_datasets([dataset, dataset]), "h_a"), expected * 2)
    dataset.to_parquet("out.parquet")
    parquet = load_dataset("parquet", data_files="out.parquet", split="train", cache_dir="cache")
    assert parquet.features == dataset.features
    assert_same(raw(parquet, "h_a"), expected)
    arrays_only = dataset.with_format("numpy")[:]["h_a"]
    assert arrays_only[2] is None
    assert np.array_equal(arrays_only[4], expected[4])


def test_batches_are_written_in_order(folder, arrays, monkeypatch):
    monkeypatch.setattr("tacfn_hf.features.importing.BATCH_BYTES", 100)
    dataset = import_features("t.parquet", "out", audio="files", text="text.npy")
    assert_same(raw(dataset, "h_a"), utterances(arrays))
    assert_same(raw(load_from_disk("out"), "h_t"), list(arrays["text"][:, None]))
    assert dataset["id"][:] == IDS
    assert dataset["session"][:] == [1, 1, 2, 2, 3]


def test_exclude_and_unlabelled(folder, arrays):
    rows = {"d": [0, 0, 1, 1, 1, 2], "u": [0, 1, 0, 1, 2, 0], "emotion": ["a", "b", "a", None, "b", "a"]}
    pq.write_table(pa.table(rows), "six.parquet")
    dataset = import_features(
        "six.parquet",
        "out",
        text="text.npy",
        label_column="emotion",
        id_columns=["d", "u"],
        exclude=["d=0,u=1"],
        drop_unlabelled=True,
    )
    assert dataset["id"][:] == ["0_0", "1_0", "1_2", "2_0"]
    assert dataset["emotion"][:] == ["a", "a", "b", "a"]
    assert_same(raw(dataset, "h_t"), [arrays["text"][i : i + 1] for i in (0, 1, 3, 4)])
    assert "1 excluded by d=0,u=1, 1 without a label" in dataset.info.description
    assert "3 a, 1 b" in dataset.info.description


def test_empty_csv_cells_are_null(folder):
    Path("t.csv").write_text("id,label,words\nu1,sad,\nu2,,yes\n")
    np.save("two.npy", np.ones((2, 3), "float32"))
    with pytest.raises(ValueError, match="1 of 2 rows of t.csv have no label"):
        import_features("t.csv", "out", text="two.npy")
    assert import_features("t.csv", "out", text="two.npy", drop_unlabelled=True)["words"][:] == [None]


def test_a_table_of_ids_and_labels_alone(folder, arrays):
    pq.write_table(table().select(["id", "label"]), "t.parquet")
    dataset = import_features("t.parquet", "out", text="text.npy")
    assert dataset.column_names == ["id", "h_t", "label"]
    assert_same(raw(dataset, "h_t"), list(arrays["text"][:, None]))


def test_integer_labels_sort_as_numbers(folder):
    pq.write_table(table(label=[10, 9, 2, 10, 9]), "t.parquet")
    dataset = import_features("t.parquet", "out", text="text.npy")
    assert dataset.features["label"].names == ["2", "9", "10"]
    assert dataset["label"][:] == [2, 1, 0, 2, 1]


def test_white_space_around_labels_is_no_part_of_them(folder):
    pq.write_table(table(label=["sad ", "happy", " sad", "\tangry", "happy"]), "t.parquet")
    dataset = import_features("t.parquet", "out", text="text.npy")
    assert dataset.features["label"].names == ["angry", "happy", "sad"]
    assert dataset["label"][:] == [2, 1, 2, 0, 1]
    assert import_features("t.parquet", "named", text="text.npy", label_names=NAMES)["label"][:] == [2, 0, 2, 1, 0]
    pq.write_table(table(label=["sad", " ", "sad", None, "happy"]), "t.parquet")
    assert import_features("t.parquet", "some", text="text.npy", drop_unlabelled=True)["id"][:] == ["u3", "u5", "u4"]


@pytest.mark.parametrize("names", [None, ["happy", "angry", "sad"], ["Happy", "ANGRY", "sad"]])
def test_labels_can_be_folded(folder, names):
    pq.write_table(table(label=["SAD", "happy", "sad ", "Angry", "HAPPY"]), "t.parquet")
    dataset = import_features("t.parquet", "out", text="text.npy", label_names=names, fold_case=True)
    assert [dataset.features["label"].names[i] for i in dataset["label"]] == ["sad", "happy", "sad", "angry", "happy"]


def test_names_that_are_declared_are_as_they_are(folder):
    names = ["sad", "Sad", " none"]
    features = Features({"id": Value("string"), "label": ClassLabel(names=names)})
    Dataset.from_dict({"id": IDS, "label": [0, 1, 2, 0, 1]}, features).to_parquet("t.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = import_features("t.parquet", "out", text="text.npy", fold_case=True)
    assert dataset.features["label"].names == names
    pq.write_table(table(label=["sad", "Sad", "Sad", "sad", "Sad"]), "t.parquet")
    dataset = import_features("t.parquet", "given", text="text.npy", label_names=["sad", "Sad"])
    assert dataset["label"][:] == [0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["NaN", "sad", "none ", "NaN", "happy"],
            "t.parquet has 2 'NaN' in column 'label', 1 'none' in column 'label'. They are read as words",
        ),
        (["sad", "sad ", None, "sad", ""], "t.parquet has only one label, 'sad': a classifier needs two or more"),
    ],
)
def test_labels_that_are_probably_wrong_are_named(folder, labels, message):
    pq.write_table(table(label=labels), "t.parquet")
    with pytest.warns(UserWarning, match=f"^{message}"):
        import_features("t.parquet", "out", text="text.npy", drop_unlabelled=True)


def test_encoding_and_separator_are_those_of_the_table(folder):
    np.save("two.npy", np.ones((2, 3), "float32"))
    Path("t.csv").write_text("id;label;mot\nu1;sad;été\nu2;happy;ça\n", encoding="latin-1")
    dataset = import_features("t.csv", "out", text="two.npy", encoding="latin-1", separator=";")
    assert dataset["mot"][:] == ["été", "ça"]


@pytest.fixture
def data() -> Path:
    if "TACFN_DATA" not in os.environ:
        pytest.skip("TACFN_DATA names no folder with the corpora's features")
    return Path(os.environ["TACFN_DATA"])


def test_iemocap(data, tmp_path):
    features = data / "iemocap_features.safetensors"
    dataset = import_features(
        data / "iemocap_utterances.parquet",
        tmp_path / "out",
        audio=f"{features}:audio",
        text=f"{features}:text",
        text_offsets=f"{features}:text_offsets",
        label_column="label4",
        label_names=["neutral", "happy", "angry", "sad"],
        drop_unlabelled=True,
    )
    rows = pq.read_table(data / "iemocap_utterances.parquet").to_pylist()
    arrays = load_file(features)
    labelled = [i for i, row in enumerate(rows) if row["label4"] is not None]
    assert len(dataset) == len(labelled) == 4290
    assert dataset["id"][:] == [rows[i]["id"] for i in labelled]
    picked = [0, 1, 2000, 4289]
    places = [labelled[i] for i in picked]
    assert_same(raw(dataset.select(picked), "h_a"), [arrays["audio"][i : i + 1] for i in places])
    offsets = arrays["text_offsets"]
    assert_same(raw(dataset.select(picked), "h_t"), [arrays["text"][offsets[i] : offsets[i + 1]] for i in places])


def test_meld(data, tmp_path):
    features = data / "meld_dev_features.safetensors"
    dataset = import_features(
        data / "meld" / "dev.parquet",
        tmp_path / "out",
        audio=f"{features}:audio",
        text=f"{features}:text",
        label_column="emotion",
        label_names=["neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust"],
        id_columns=["dialogue_id", "utterance_id"],
        exclude=["dialogue_id=110,utterance_id=7"],
    )
    arrays = load_file(features)
    assert dataset["label"][:] == arrays["labels"].tolist()
    assert_same(raw(dataset.select([0, 1107]), "h_t"), [arrays["text"][:1], arrays["text"][1107:]])
