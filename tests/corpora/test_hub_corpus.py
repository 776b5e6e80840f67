"""Datasets that `datasets` opens, as corpora: from Parquet files, and from what save_to_disk wrote."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import Audio, ClassLabel, DatasetDict, Features, Value, load_from_disk
from layout import write_wav

from tacfn_hf.corpora.hub import load_hub
from tacfn_hf.corpora.schema import SCHEMA, BadFilesError, as_dataset


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


KINDS = {
    "audio": Audio(sampling_rate=16000),
    "text": Value("string"),
    "label": ClassLabel(names=["sadness", "joy", "anger"]),
    "who": Value("int64"),
    "scene": Value("string"),
    "answer": Audio(),
}


def embedded(path: Path, seconds: float = 0.25) -> dict:
    return {"bytes": write_wav(path, seconds).read_bytes(), "path": path.name}


def make_rows(folder: Path, split: str, **more) -> list[dict]:
    common = {"text": "Oh, no!", "label": 0, "who": 7, "scene": split, "answer": None} | more
    first = {"audio": embedded(folder / split / "a.wav"), "answer": embedded(folder / split / "b.wav")}
    return [common | first, common | {"audio": None, "text": "", "label": -1}]


def make(folder: Path, kinds=KINDS, **more) -> DatasetDict:
    """A dataset with two splits, of which only one has a common name."""
    features = Features(kinds)
    parts = {name: make_rows(folder, name, **more) for name in ("train", "test_other")}
    return DatasetDict({name: as_dataset(rows, features, "Of the source.") for name, rows in parts.items()})


def save(dataset: DatasetDict, root: Path, kind: str) -> Path:
    if kind == "disk":
        dataset.save_to_disk(root)
    else:
        root.mkdir()
        for name, part in dataset.items():
            part.to_parquet(root / f"{name}-00000-of-00001.parquet")
    return root


@pytest.fixture
def root(tmp_path):
    return save(make(tmp_path), tmp_path / "saved", "disk")


def saved_rows(tmp_path: Path, table: dict) -> Path:
    pa.parquet.write_table(pa.table(table), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


@pytest.mark.parametrize("kind", ["disk", "parquet"])
def test_a_dataset_comes_in_the_schema(tmp_path, kind):
    names = {"disk": {"train", "test_other"}, "parquet": {"train", "test"}}[kind]
    root = save(make(tmp_path), tmp_path / "saved", kind)
    corpus = load_hub(root, speaker_column="who", group_column="scene")
    assert set(corpus) == names  # datasets takes the name of a Parquet file for a split
    first = corpus["train"]
    assert first.features == {
        **SCHEMA,
        "label": ClassLabel(names=["angry", "happy", "sad"]),
        "answer": Audio(decode=False),
    }
    assert first.column_names == [*SCHEMA, "answer"]
    assert first[:] == {
        "id": ["train-0", "train-1"],
        "audio": [embedded(tmp_path / "a.wav"), None],
        "text": ["Oh, no!", None],
        "label": [2, None],
        "corpus_label": ["sadness", None],
        "speaker": ["7", "7"],
        "group": ["train", "train"],
        "duration": [0.25, None],
        "answer": [embedded(tmp_path / "b.wav"), None],
    }
    description = "left out       none\nwithout audio  2\nwithout text   2\nwithout label  2"
    assert [part.info.description for part in corpus.values()] == [description] * 2


def test_embedded_audio_stays_on_disk(root):
    files = load_hub(root)["train"].cache_files
    assert [Path(file["filename"]).parent for file in files] == [root / "train"]


def test_the_corpus_can_be_saved(root, tmp_path):
    corpus = load_hub(root)["train"]
    corpus.save_to_disk(tmp_path / "again")
    again = load_from_disk(tmp_path / "again")
    assert again.features == corpus.features
    assert again[:] == corpus[:]


def test_ids_and_groups(root):
    corpus = load_hub(root)
    assert corpus["test_other"]["id"][:] == corpus["test_other"]["group"][:] == ["test_other-0", "test_other-1"]
    assert corpus["train"].column_names == [*SCHEMA, "who", "scene", "answer"]
    with pytest.raises(ValueError, match="The id 'train' occurs twice .* a column that id_column names"):
        load_hub(root, id_column="scene")
    with pytest.raises(ValueError, match="has the group '7' in train and in test_other.$"):
        load_hub(root, speaker_column="who")


def test_paths_in_place_of_bytes(tmp_path):
    here, address = str(write_wav(tmp_path / "a.wav", 0.5)), "https://example.org/b.wav"
    table = {"text": ["Oh."] * 4, "label": ["b", "a", "b", "a"]}
    paths = {"audio": [here, address, None, ""]}
    structs = {"audio": [{"bytes": None, "path": path or None} for path in paths["audio"]]}
    for audio in (paths, structs):
        corpus = load_hub(saved_rows(tmp_path, {**table, **audio}))["train"]
        assert [cell and cell["path"] for cell in corpus["audio"]] == [here, address, None, None]
        assert corpus["duration"][:] == [0.5, None, None, None]
        assert corpus.features["audio"] == Audio(decode=False)
        assert "without audio  2" in corpus.info.description
    assert corpus.features["label"].names == ["a", "b"]


@pytest.mark.parametrize("audio", ["nowhere.wav", {"bytes": None, "path": "nowhere.wav"}])
def test_a_path_that_is_not_there(tmp_path, audio):
    path = saved_rows(tmp_path, {"audio": [audio], "text": ["Oh."], "label": ["sad"]})
    with pytest.raises(
        BadFilesError, match=r"The audio of id 'train-0' \(nowhere.wav\) is not a file: there is nothing"
    ):
        load_hub(path)


def test_many_rows(tmp_path):
    rows = 2001
    cells = [None] * (rows - 1) + [embedded(tmp_path / "a.wav")]
    table = {"audio": cells, "text": [str(i) for i in range(rows)], "label": ["sad"] * rows}
    corpus = load_hub(saved_rows(tmp_path, table))["train"]
    assert corpus["id"][:] == [f"train-{i}" for i in range(rows)]
    assert corpus["duration"][:] == [None] * (rows - 1) + [0.25]


def test_bytes_that_are_no_audio(tmp_path):
    cells = [{"bytes": b"no audio", "path": None}]
    path = saved_rows(tmp_path, {"audio": cells, "text": ["Oh."], "label": ["sad"]})
    with pytest.raises(BadFilesError, match=r"The audio of id 'train-0' \(its bytes\) can't be decoded as audio"):
        load_hub(path)


def test_columns_of_other_names(tmp_path):
    table = {"clip": [embedded(tmp_path / "a.wav")], "words": ["Oh."], "mood": ["sad"], "key": [1], "audio_rate": [16]}
    path = saved_rows(tmp_path, table)
    options = {"audio_column": "clip", "text_column": "words", "label_column": "mood", "id_column": "key"}
    corpus = load_hub(path, **options)["train"]
    assert corpus.column_names == [*SCHEMA, "audio_rate"]
    assert corpus[0]["id"] == "1"
    assert corpus[0]["audio"] == table["clip"][0]
    assert corpus[0]["text"] == "Oh."
    assert load_hub(path, **{**options, "audio_column": ""})["train"]["audio"][:] == [None]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"text": ["Oh."], "label": ["sad"]},
            r" \(train\) has no column 'audio'; it has text, label: say which is the au",
        ),
        (
            {"audio": ["x.wav"], "text": ["Oh."], "label": ["sad"], "id": ["a"]},
            "a column 'id', .* say id_column=id, or rename it.$",
        ),
        ({"audio": [[0.5]], "text": ["Oh."], "label": ["sad"]}, "Column 'audio' of .* must hold strings or integers"),
        ({"audio": [{"array": [0.5]}], "text": ["Oh."], "label": ["sad"]}, "Column 'audio' of .* must hold strings"),
        (
            {"audio": [None], "text": ["Oh."], "label": [0.5]},
            r"Column 'label' of .* \(train\) must hold strings or int",
        ),
        ({"audio": [None], "text": ["Oh."], "label": [None]}, "has no label in any row.$"),
    ],
)
def test_datasets_that_can_not_be(tmp_path, table, message):
    with pytest.raises(ValueError, match=message):
        load_hub(saved_rows(tmp_path, table))


def test_labels_that_are_not_declared_are_as_in_a_folder(tmp_path):
    table = {"text": ["Oh."] * 4, "label": ["Merry ", "MERRY", "grim", "NaN"]}
    path = saved_rows(tmp_path, table)
    with pytest.raises(ValueError, match=r"differ only in case, 'MERRY' \(1\), 'Merry' \(1\): .* say fold_case"):
        load_hub(path, audio_column="")
    with pytest.warns(UserWarning, match="1 'NaN' in column 'label'. They are read as words"):
        corpus = load_hub(path, audio_column="", fold_case=True)["train"]
    assert corpus.features["label"].names == ["grim", "merry", "nan"]
    assert corpus["corpus_label"][:] == table["label"]


def test_splits_with_other_classes(tmp_path):
    dataset = make(tmp_path)
    other = ClassLabel(names=["joy", "sadness", "anger"])
    dataset["test_other"] = make(tmp_path, {**KINDS, "label": other})["test_other"]
    save(dataset, tmp_path / "saved", "disk")
    with pytest.raises(
        ValueError, match=r"The class names of 'label' in .* \(test_other\) are not those of the other s"
    ):
        load_hub(tmp_path / "saved")


def test_a_single_dataset_is_all_train(tmp_path):
    make(tmp_path)["test_other"].save_to_disk(tmp_path / "one")
    assert load_hub(tmp_path / "one")["train"]["id"][:] == ["train-0", "train-1"]


def test_a_duration_of_the_dataset_is_kept_beside_that_of_the_audio(tmp_path):
    corpus = load_hub(
        save(make(tmp_path, KINDS | {"duration": Value("string")}, duration="long"), tmp_path / "d", "disk")
    )
    assert corpus["train"]["source_duration"][:] == ["long"] * 2
    assert corpus["train"]["duration"][:] == [0.25, None]
