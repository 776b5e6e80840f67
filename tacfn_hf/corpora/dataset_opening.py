"""Opens a dataset: features of an extraction, a folder of `save_to_disk`, Parquet, or an id on the Hub."""

import os
from collections.abc import Iterator
from glob import escape, iglob
from pathlib import Path

from datasets import Dataset, DatasetDict, concatenate_datasets, load_dataset, load_from_disk
from upath import UPath

from ..writing import AnyPath, read_json
from .remote_folders import local_copy


# The folder of an extraction holds shards, and a report that is written last: without it the folder is not complete.
REPORT = "extraction.json"
SHARDS = "shard-*.arrow"
TABLES = "A table beside audio files is read by `tacfn extract --corpus folder`."


def open_dataset(path_or_id: str | os.PathLike) -> Dataset | DatasetDict:
    """
    Opens features, or the audio and text that they are made from.

    Args:
        path_or_id: a folder of an extraction or of `save_to_disk`, Parquet (a file, a pattern, a folder), or a dataset
            on the Hub; or a URL of fsspec, of which a copy is made, see `local_copy`.

    Returns:
        A `Dataset`, or a `DatasetDict` where the source has several splits.

    Raises:
        ValueError: nothing there that can be read, or an extraction that is not complete.
    """
    path_or_id = local_copy(path_or_id)
    if os.path.isdir(path_or_id):
        if is_saved_dataset(path_or_id):
            return load_from_disk(path_or_id)
        if os.path.isfile(os.path.join(path_or_id, REPORT)):
            return open_extraction(Path(path_or_id))
        if has_file(path_or_id, SHARDS):
            raise ValueError(
                f"The extraction in {path_or_id} is not complete: give the command again that made it, and it goes on."
            )
        if not has_file(path_or_id, "*.parquet"):
            raise ValueError(
                f"The folder {path_or_id} holds neither features of an extraction nor a dataset of save_to_disk nor a "
                f".parquet file. {TABLES}"
            )
        loaded = load_dataset("parquet", data_dir=path_or_id)
    elif path_or_id.endswith(".parquet"):
        if not any(iglob(path_or_id, recursive=True)):
            raise ValueError(f"No file matches the dataset {path_or_id}.")
        loaded = load_dataset("parquet", data_files=path_or_id)
    elif os.path.exists(path_or_id):
        raise ValueError(f"The dataset {path_or_id} is a file that is not .parquet: give a folder or Parquet. {TABLES}")
    else:
        try:
            loaded = load_dataset(path_or_id)
        except Exception as error:  # each way to fail has a class of its own there
            raise ValueError(
                f"The dataset {path_or_id} is no folder or file here, and loading it from the Hub failed: {error}"
            ) from error
    return unparted(loaded)


def is_saved_dataset(folder: str | AnyPath) -> bool:
    """Whether a folder holds what `save_to_disk` writes."""
    return any((UPath(folder) / name).is_file() for name in ("dataset_dict.json", "state.json"))


def has_file(folder: str, pattern: str) -> bool:
    """Whether a file matches the pattern in a folder, or in a folder within."""
    return any(iglob(os.path.join(escape(folder), "**", pattern), recursive=True))


def shard_paths(folder: AnyPath, number: int) -> Iterator[AnyPath]:
    """The shards of an extraction, in order."""
    return (folder / SHARDS.replace("*", f"{i:05d}") for i in range(number))


def open_extraction(folder: Path) -> Dataset | DatasetDict:
    """
    Opens the folder of an extraction that is complete. The shards stay on the disk, where they are mapped into memory.

    Raises:
        ValueError: a shard is missing.
    """
    report = read_json(folder / REPORT)
    if "splits" in report:
        return DatasetDict({name: open_extraction(folder / name) for name in report["splits"]})
    paths = list(shard_paths(folder, report["shards"]))
    for path in paths:
        if not path.is_file():
            raise ValueError(f"The shard {path} is missing: copy the whole folder, or give the extraction again.")
    return concatenate_datasets([Dataset.from_file(str(path)) for path in paths])


def unparted(dataset: DatasetDict) -> Dataset | DatasetDict:
    """A `Dataset` where "train" is the only split. This is how `datasets` says that there is no partition."""
    return dataset["train"] if list(dataset) == ["train"] else dataset


def named_parts(dataset: Dataset | DatasetDict) -> dict[str, Dataset]:
    """The splits of `dataset` by their names; a plain `Dataset` is all "train"."""
    return dict(dataset) if isinstance(dataset, DatasetDict) else {"train": dataset}
