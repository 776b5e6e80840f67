"""Arrays in files: each form is read as it is, and what is not right is named."""

import os
import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_files import IDS, assert_same, raw, table, utterances
from safetensors.numpy import save_file

from tacfn_hf.features.importing import import_features


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
