"""The shards of an extraction: it ends with the same files however often it is killed, and none is half written."""

import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
from datasets import Dataset, DatasetDict, concatenate_datasets
from recordings import ExtractingProcess, make, remade, shards
from upath import UPath

from tacfn_hf import TacfnProcessor
from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.features import extraction
from tacfn_hf.features.extraction import extract_features
from tacfn_hf.features.shards import write_shard


def test_asking_again_makes_nothing_anew(processor, tmp_path):
    first = extract_features(make(), processor, tmp_path, shard_size=4)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = extract_features(make(), processor, tmp_path, shard_size=4)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    assert again.to_dict() == first.to_dict()


def test_a_dataset_that_shrank_leaves_nothing_behind(processor, tmp_path):
    extract_features(make(10), processor, tmp_path, shard_size=2)
    assert len(extract_features(make(5), processor, tmp_path, shard_size=2)) == 5
    assert len(shards(tmp_path)) == 3


@pytest.fixture(scope="module")
def corpus(processor, tmp_path_factory) -> tuple[Path, Path]:
    """A folder with a dataset and a processor, and the features of an undisturbed run."""
    folder = tmp_path_factory.mktemp("corpus")
    make(60).save_to_disk(folder / "corpus")
    processor.save_pretrained(folder / "processor")
    assert ExtractingProcess(folder, folder / "whole").result()["complete"]
    return folder, folder / "whole"


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in shards(folder).items()}


def test_killed_at_any_moment_it_ends_with_the_same_rows(corpus, tmp_path):
    folder, whole = corpus
    expected = contents(whole)
    for after in (1, 4, 8):  # of 15 shards that are there when the process is killed
        extracting = ExtractingProcess(folder, tmp_path)
        while extracting.process.is_alive() and len(list(tmp_path.glob("shard-*.arrow"))) < after:
            time.sleep(0.001)
        before = shards(tmp_path)
        extracting.process.kill()
        extracting.process.join()
        assert extracting.process.exitcode == -9
        with pytest.raises(ValueError, match="is not complete"):
            open_dataset(tmp_path)
        left = shards(tmp_path)
        assert all(content == expected[name] for name, (_, content) in left.items())  # none half-written
        assert remade(before, left) in ([], *[[name] for name in left])
    assert ExtractingProcess(folder, tmp_path).result()["made"] == sorted(expected.keys() - left.keys())
    assert not remade(left, {name: after for name, after in shards(tmp_path).items() if name in left})
    assert contents(tmp_path) == expected
    assert open_dataset(tmp_path).to_dict() == open_dataset(whole).to_dict()
    assert not list(tmp_path.glob(".*"))


def test_two_processes_make_what_one_makes(corpus, tmp_path):
    folder, whole = corpus
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    both = [ExtractingProcess(folder, tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **place) for rank in range(2)]
    found = [extracting.result() for extracting in both]
    assert [result["made"] for result in found] == [sorted(contents(whole))[rank::2] for rank in range(2)]
    assert any(result["complete"] for result in found)
    assert contents(tmp_path) == contents(whole)
    assert open_dataset(tmp_path).to_dict() == open_dataset(whole).to_dict()


def test_the_last_of_several_processes_completes_all_splits(processor, tmp_path, monkeypatch):
    """Also where the first one was slow with one split and the second one with another."""
    dataset = DatasetDict(train=make(2), test=make(2, id=["a", "b"]))
    others = []

    def extract(rank: int) -> Dataset | DatasetDict | None:
        state = SimpleNamespace(num_processes=2, process_index=rank, is_main_process=rank == 0)
        monkeypatch.setattr(extraction, "PartialState", lambda: state)
        return extract_features(dataset, processor, tmp_path, shard_size=1)

    def slow(path: Path, *rest) -> None:
        if path.parent.name == "test" and not others:
            others.append("begun")
            others.append(extract(0))
        write_shard(path, *rest)

    monkeypatch.setattr(extraction, "write_shard", slow)
    assert set(extract(1)) == {"train", "test"}
    assert others == ["begun", None]
    assert {name: part["id"][:] for name, part in open_dataset(tmp_path).items()} == {
        "train": ["u0", "u1"],
        "test": ["a", "b"],
    }


def test_a_full_disk_loses_nothing(corpus, tmp_path):
    folder, whole = corpus
    sizes = {name: len(content) for name, content in contents(whole).items()}
    assert sizes["shard-00001.arrow"] > sizes["shard-00000.arrow"]  # so that a limit lies between the two
    limit = (sizes["shard-00000.arrow"] + sizes["shard-00001.arrow"]) // 2
    processor = TacfnProcessor.from_pretrained(folder / "processor")
    processor.save_pretrained(tmp_path / "processor")  # larger than the limit
    assert "shard-00001.arrow can't be written" in ExtractingProcess(folder, tmp_path, limit).result()["error"]
    assert list(shards(tmp_path)) == ["shard-00000.arrow"]
    assert not list(tmp_path.glob(".*"))
    resumed = ExtractingProcess(folder, tmp_path).result()
    assert resumed["made"] == sorted(sizes)[1:]
    assert contents(tmp_path) == contents(whole)


@pytest.mark.parametrize("splits", [True, False])
def test_on_another_file_system_it_is_the_same_through_an_interruption(processor, tmp_path, monkeypatch, splits):
    rows = DatasetDict(train=make(5), test=make(3, id=list("abc"))) if splits else make(5)
    expected = extract_features(rows, processor, tmp_path, shard_size=2)
    url, written = "memory://bucket/features", []

    def write(path: UPath, *rest) -> None:
        written.append(path.name)
        if len(written) == 2:
            raise OSError("no connection")
        write_shard(path, *rest)

    monkeypatch.setattr(extraction, "write_shard", write)
    files = fsspec.filesystem("memory")
    try:
        with pytest.raises(OSError, match="no connection"):
            extract_features(rows, processor, url, shard_size=2)
        with pytest.raises(ValueError, match="is not complete"):
            open_dataset(url)
        assert extract_features(rows, processor, url, shard_size=2) is None
        assert written.count("shard-00001.arrow") == (3 if splits else 2)
        assert written.count("shard-00000.arrow") == (2 if splits else 1)  # none was made twice
        copied = {path: files.cat(path) for path in files.find("/bucket/features")}
        local = {f"/bucket/features/{p.relative_to(tmp_path)}": p for p in tmp_path.rglob("*") if p.is_file()}
        assert copied.keys() == local.keys()
        for name, path in local.items():
            assert copied[name] == path.read_bytes() or path.name == "tokenizer.json"  # as it was last used
        again = open_dataset(url)
        for name, part in expected.items() if splits else [("", expected)]:
            assert (again[name] if splits else again).to_dict() == part.to_dict()
        written.clear()
        extract_features(rows, processor, url, shard_size=2)
        assert not written
        extract_features(make(2), processor, url, shard_size=2)
        assert open_dataset(url)["id"][:] == ["u0", "u1"]
        assert not files.exists("/bucket/features/shard-00001.arrow")
    finally:
        files.rm("/bucket", recursive=True)
    for url in ("nosuch://bucket", "https://localhost:1/bucket"):
        with pytest.raises(ValueError, match=f"{url} can't be written: .*file ?system"):
            extract_features(rows, processor, url)


def test_threads_that_decode_change_nothing(corpus, processor, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "decoding_threads", lambda processor: 4)
    extract_features(make(60), processor, tmp_path, shard_size=4)
    assert contents(tmp_path) == contents(corpus[1])


@pytest.mark.parametrize("first", ["with splits", "without"])
def test_a_folder_of_another_kind_of_dataset_is_made_anew(processor, tmp_path, first):
    """`load_from_disk` would open what the earlier run has left."""
    plain = make(3)
    parts = DatasetDict(train=make(2, id=["v0", "v1"]), test=make(2, id=["w0", "w1"]))
    order = [parts, plain] if first == "with splits" else [plain, parts]
    for dataset in order:
        found = extract_features(dataset, processor, tmp_path)
        again = open_dataset(tmp_path)
        if isinstance(dataset, DatasetDict):
            assert {name: part["id"][:] for name, part in found.items()} == {
                "train": ["v0", "v1"],
                "test": ["w0", "w1"],
            }
            assert set(again) == {"train", "test"}
        else:
            assert found["id"][:] == again["id"][:] == ["u0", "u1", "u2"]


def test_a_run_that_changes_a_complete_folder_makes_it_incomplete_first(processor, tmp_path, monkeypatch):
    dataset = DatasetDict(train=make(4), test=make(4, id=list("abcd")))
    extract_features(dataset, processor, tmp_path, shard_size=2)
    changed = DatasetDict(train=dataset["train"], test=make(4, id=list("abcd"), text=["Oh."] * 4))
    opened = []

    def interrupted(path: Path, *rest) -> None:
        opened.append(path.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(extraction, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_features(changed, processor, tmp_path, shard_size=2)
    assert opened == ["shard-00000.arrow"]
    for folder in (tmp_path, tmp_path / "test"):
        with pytest.raises(ValueError, match="is not complete"):
            open_dataset(folder)
    assert open_dataset(tmp_path / "train")["id"][:] == ["u0", "u1", "u2", "u3"]


def test_another_processor_is_saved_in_an_incomplete_folder(encoders, processor, tmp_path, monkeypatch):
    extract_features(make(2), processor, tmp_path)
    monkeypatch.setattr(TacfnProcessor, "save_pretrained", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract_features(make(2), TacfnProcessor.from_encoders(*encoders, text_layer=1), tmp_path)
    with pytest.raises(ValueError, match="is not complete"):
        open_dataset(tmp_path)


def test_a_shard_that_is_missing_is_named(processor, tmp_path):
    extract_features(make(4), processor, tmp_path, shard_size=2)
    (tmp_path / "shard-00001.arrow").unlink()
    with pytest.raises(ValueError, match="The shard .*shard-00001.arrow is missing"):
        open_dataset(tmp_path)
    assert len(extract_features(make(4), processor, tmp_path, shard_size=2)) == 4


def test_a_copy_elsewhere_is_the_same(processor, tmp_path):
    features = extract_features(make(5), processor, tmp_path / "features", shard_size=2)
    shutil.move(tmp_path / "features", tmp_path / "moved")
    assert open_dataset(tmp_path / "moved").to_dict() == features.to_dict()


def test_rows_can_be_filtered_joined_and_saved(processor, tmp_path):
    features = extract_features(make(5), processor, tmp_path / "features", shard_size=2)
    some = features.filter(lambda row: row["speaker"] != "s0")
    joined = concatenate_datasets([features, some])
    assert joined["id"][:] == ["u0", "u1", "u2", "u3", "u4", "u1", "u2", "u3"]
    joined.save_to_disk(tmp_path / "saved")
    again = open_dataset(tmp_path / "saved")
    assert again.features == features.features
    assert again.to_dict() == joined.to_dict()


@pytest.mark.parametrize("splits", [True, False])
def test_another_dataset_in_the_output_folder_is_left_alone(processor, tmp_path, splits):
    dataset = DatasetDict(train=make(2)) if splits else make(2)
    dataset.save_to_disk(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ValueError, match="The output folder .* holds a dataset of save_to_disk: choose another"):
        extract_features(make(2), processor, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
