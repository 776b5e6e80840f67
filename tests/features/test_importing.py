import os
import pickle
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets, load_dataset, load_from_disk
from safetensors.numpy import load_file, save_file

from tacfn_hf.features.importing import import_features


LENGTHS = [3, 1, 4, 2, 5]
IDS = ["u3", "u1", "u5", "u2", "u4"]
LABELS = ["sad", "happy", "sad", "angry", "happy"]
NAMES = ["happy", "angry", "sad"]


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "audio": generator.normal(size=(sum(LENGTHS), 4)).astype("float32"),
        "offsets": np.cumsum([0, *LENGTHS]),
        "text": generator.normal(size=(5, 6)).astype("float16"),
        "padded": generator.normal(size=(5, 7, 3)).astype("float64"),
        "lengths": np.array(LENGTHS, dtype="int32"),
    }


@pytest.fixture
def folder(tmp_path, arrays, monkeypatch) -> Path:
    """The working folder of a test, with a table and its features in several forms."""
    monkeypatch.chdir(tmp_path)
    save_file(arrays, "f.safetensors")
    pq.write_table(table(), "t.parquet")
    for name in ("audio", "text", "padded"):
        np.save(f"{name}.npy", arrays[name])
    np.savez("f.npz", **arrays)
    os.mkdir("files")
    for id_, values in zip(IDS, utterances(arrays), strict=True):
        np.save(f"files/{id_}.npy", values)
    return tmp_path


def table(**columns) -> pa.Table:
    return pa.table({"id": IDS, "label": LABELS, "session": [1, 1, 2, 2, 3]} | columns)


def utterances(arrays) -> list[np.ndarray]:
    return np.split(arrays["audio"], np.cumsum(LENGTHS)[:-1])


def raw(dataset, column: str) -> list[np.ndarray | None]:
    """The stored features, in the stored dtype."""
    dtype = dataset.features[column].feature.feature.dtype
    return [None if value is None else np.array(value, dtype) for value in dataset[column]]


def assert_same(values, expected) -> None:
    assert len(values) == len(expected)
    for value, wanted in zip(values, expected, strict=True):
        if wanted is None:
            assert value is None
        else:
            assert value.dtype == wanted.dtype
            assert value.shape == wanted.shape
            assert value.tobytes() == wanted.tobytes()


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


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


PACKED = {"audio": "f.safetensors:audio", "audio_offsets": "f.safetensors:bad"}
PADDED = {"text": "padded.npy", "text_lengths": "f.safetensors:bad"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"audio": None}, "Neither audio nor text"),
        ({"audio": "f.safetensors:audio"}, r"f.safetensors:audio has 15 rows, but t.parquet has 5 rows"),
        (
            {"audio": "f.safetensors:nothing"},
            "no array 'nothing'.* audio, bad, lengths, nan, offsets, padded, text",
        ),
        ({"audio": "f.safetensors"}, "needs a key"),
        ({"audio": "f.npz:nothing"}, "no array 'nothing'.* audio, lengths"),
        ({"audio": "text.npy:key"}, "without keys"),
        ({"audio": "absent.npy"}, "absent.npy does not exist"),
        ({"audio": "f.safetensors:lengths"}, r"shape \[5\], but must be \[N, d\]"),
        ({"audio": "integers.npy"}, "integers.npy holds int64; features must be float16"),
        ({"audio": "f.safetensors:nan"}, "utterance 'u5' in f.safetensors:nan .* at row 0 of 1"),
        ({"audio": "huge.npy"}, "utterance 'u3' in huge.npy are NaN or infinite in float32"),
        ({"audio": "model.pt"}, "model.pt is refused, pickles .* run code.* with numpy.save to .npy files"),
        ({"audio": "object.npy"}, "object.npy is not a whole .npy file of plain numbers"),
        ({"audio": "object.npz:x"}, "object.npz is not a whole .npz file of plain numbers"),
        ({"audio": "pickle.npy"}, "pickle.npy is not a whole .npy file of plain numbers"),
        ({"audio": "torn.safetensors"}, "torn.safetensors is not a whole .safetensors file"),
        ({"audio": "t.parquet"}, "must be one of .npy, .npz, .safetensors"),
        (
            {"audio": "f.safetensors:audio", "audio_offsets": "f.safetensors:lengths"},
            "has 5 numbers, but .* 6",
        ),
        (
            {"audio": "f.safetensors:audio", "audio_offsets": "f.safetensors:text"},
            r"must be whole numbers \[6\]",
        ),
        ({"audio": "padded.npy", "audio_offsets": "f.safetensors:offsets"}, r"must be \[T, d\] with offsets"),
        (
            {"audio": "text.npy", "audio_lengths": "f.safetensors:lengths"},
            r"must be \[N, L, d\] with lengths",
        ),
        ({"audio": "text.npy", "audio_lengths": "a", "audio_offsets": "b"}, "both offsets and lengths"),
        ({"audio": "files", "audio_lengths": "f.safetensors:lengths"}, "neither offsets nor lengths"),
        ({"text_lengths": "f.safetensors:lengths"}, "without the array"),
        (PACKED | {"bad": [0, 3, 2, 8, 10, 15]}, "falls from 3 to 2 at 2"),
        (PACKED | {"bad": [1, 3, 4, 8, 10, 15]}, "from 1 to 15, but must go from 0 to 15"),
        (PACKED | {"bad": [0, 3, 4, 8, 10, 14]}, "from 0 to 14, but must go from 0 to 15"),
        (PACKED | {"bad": [0, 3, 3, 8, 10, 15]}, "'u1' has length 0"),
        (PADDED | {"bad": [3, 8, 4, 2, 5]}, "is 8 for utterance 'u1', .* 0 to 7"),
        (PADDED | {"bad": [3, -1, 4, 2, 5]}, "is -1 for utterance 'u1'"),
        ({"label_column": "mood"}, "no column 'mood'; it has id, label, session"),
        ({"id_columns": ["name"]}, "no column 'name'"),
        ({"id_columns": []}, "id_columns is empty"),
        ({"id_columns": ["session"]}, "column 'id', which is the name of a column of the output"),
        ({"label_column": "id"}, "column 'label', which is the name of a column of the output"),
        ({"columns": {"h_a": IDS}}, "column 'h_a', which is the name of a column of the output"),
        ({"columns": {"id": ["u1", "u2", "u3", "u1", "u4"]}}, "id 'u1' of row 3 .* row 0 .* id_columns, which is id,"),
        ({"columns": {"id": ["u1", None, "u3", "u4", "u5"]}}, "Row 1 .* nothing in column 'id'"),
        ({"columns": {"id": [0.5, 1, 2, 3, 4]}}, "Column 'id' .* strings or integers, but holds double"),
        ({"columns": {"label": ["a", None, "b", None, "a"]}}, "2 of 5 rows of t.parquet have no label"),
        ({"columns": {"label": pa.nulls(5)}, "drop_unlabelled": True}, "No row .* of 5, 5 without a label"),
        ({"label_names": ["happy", "sad"]}, "Row 3 .* 'angry' in column 'label'.* happy sad"),
        ({"label_names": ["happy", "sad", "sad"]}, "a name twice"),
        ({"exclude": ["session=9"]}, "'session=9', which no row of t.parquet meets"),
        ({"exclude": ["session"]}, "not of the form column=value"),
        ({"exclude": ["round=1"]}, "no column 'round'"),
        ({"table": "t.pkl"}, "t.pkl can't be the table, pickles"),
        (
            {"columns": {"label": ["sad", "Sad", "SAD", "sad", "x"]}},
            r"only in case, 'SAD' \(1\), 'Sad' \(1\), 'sad' \(2\): write them alike, or say fold_case",
        ),
        ({"columns": {"label": [" "] * 5}}, "5 of 5 rows of t.parquet have no label"),
        ({"label_names": ["happy", "angry", "SAD"]}, "Row 0 .* 'sad' in column 'label'.* happy angry SAD"),
        ({"output_dir": "files"}, "files exists and is not empty; choose another"),
    ],
)
def test_bad_input(folder, arrays, arguments, message):
    nan = arrays["text"].copy()
    nan[2, 1] = np.nan
    bad = np.array(arguments.get("bad", [0]), dtype="int64")
    save_file(arrays | {"nan": nan, "bad": bad}, "f.safetensors")
    pq.write_table(table(**arguments.get("columns", {})), "t.parquet")
    np.save("integers.npy", np.ones((5, 3), "int64"))
    np.save("huge.npy", np.full((5, 3), 1e300))
    np.save("object.npy", np.array([[Trap()]]), allow_pickle=True)
    np.savez("object.npz", x=np.array([[Trap()]]), allow_pickle=True)
    for name in ("model.pt", "pickle.npy", "t.pkl"):
        Path(name).write_bytes(pickle.dumps(Trap()))
    Path("torn.safetensors").write_bytes(b"torn")
    before = sorted(folder.iterdir())

    arguments = {"table": "t.parquet", "output_dir": "out", "audio": "text.npy"} | arguments
    arguments = {name: value for name, value in arguments.items() if name not in ("bad", "columns")}
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message) as caught:
        import_features(**arguments)
    assert "\n" not in str(caught.value)
    assert sorted(folder.iterdir()) == before  # nothing was unpickled, nothing half-written


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 5), "float32"), r"u1.npy has features of size 5 in float32, but .*u3.npy of size 4"),
        (
            np.ones((2, 4), "float16"),
            r"u1.npy has features of size 4 in float16, but .*u3.npy of size 4 in float32",
        ),
        (np.ones((1, 2, 4), "float32"), r"u1.npy has shape \[1, 2, 4\], but must be \[d\] or \[L, d\]"),
        (np.full((2, 4), np.inf, "float32"), r"utterance 'u1' in files/u1.npy are NaN or infinite"),
        (np.ones((0, 4), "float32"), r"'u1' has length 0 in files/u1.npy"),
    ],
)
def test_bad_utterance_file(folder, values, message):
    np.save("files/u1.npy", values)
    with pytest.raises(ValueError, match=message):
        import_features("t.parquet", "out", audio="files")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_either_memory_order_give_their_numbers(folder, arrays, suffix, order, packed):
    values = np.asarray(arrays["audio" if packed else "padded"].astype("float32"), order=order)
    np.save("x.npy", values)
    np.savez("x.npz", x=values)
    offsets = {"audio_offsets": "f.safetensors:offsets"} if packed else {}
    dataset = import_features("t.parquet", "out", audio=f"x.{suffix}", **offsets)
    assert_same(raw(dataset, "h_a"), utterances(arrays) if packed else list(arrays["padded"].astype("float32")))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_utterances_in_fortran_order_give_their_numbers(folder, arrays, suffix):
    for id_, values in zip(IDS, utterances(arrays), strict=True):
        os.remove(f"files/{id_}.npy")
        (np.save if suffix == "npy" else np.savez)(f"files/{id_}.{suffix}", np.asfortranarray(values))
    assert_same(raw(import_features("t.parquet", "out", audio="files"), "h_a"), utterances(arrays))


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


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_files_in_another_form_of_unicode_than_their_ids(folder, arrays, form):
    ids = [unicodedata.normalize(form, f"{id_}é") for id_ in IDS]
    for id_ in IDS:
        os.rename(
            f"files/{id_}.npy", "files/" + unicodedata.normalize({"NFC": "NFD", "NFD": "NFC"}[form], f"{id_}é.npy")
        )
    pq.write_table(table(id=ids), "t.parquet")
    dataset = import_features("t.parquet", "out", audio="files")
    assert dataset["id"][:] == ids
    assert_same(raw(dataset, "h_a"), utterances(arrays))


def test_a_file_that_is_missing_has_one_near(folder):
    os.rename("files/u5.npy", "files/U5.NPY")
    with pytest.raises(ValueError, match=r"'u5' has no file in files \(there is .*files/U5.NPY\); add it"):
        import_features("t.parquet", "out", audio="files")


def test_folder_refuses_pickles_and_doubles(folder, arrays):
    np.savez("files/u1.npz", arrays["audio"])
    with pytest.raises(ValueError, match="'u1' has two files"):
        import_features("t.parquet", "out", audio="files")
    Path("files/u1.pt").touch()
    os.remove("files/u1.npz")
    with pytest.raises(ValueError, match="u1.pt is refused"):
        import_features("t.parquet", "out", audio="files")


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
