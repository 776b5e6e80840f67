"""Opens what `datasets` holds: a folder of `save_to_disk`, Parquet, an id on the Hub."""

import glob
import os

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk


BESIDE_AUDIO = "A table beside audio files is read by extract_features.py --corpus folder."


def open_dataset(path_or_id: str) -> Dataset | DatasetDict:
    """
    Features, or the audio and text that they are made from: a folder of `save_to_disk`, Parquet (a file, a pattern, a
    folder), or a dataset on the Hub.

    Returns:
        A `Dataset`, or a `DatasetDict` where the source has several splits.

    Raises:
        ValueError: nothing there that can be read.
    """
    if os.path.isdir(path_or_id):
        if any(os.path.isfile(os.path.join(path_or_id, name)) for name in ("dataset_dict.json", "state.json")):
            return load_from_disk(path_or_id)
        if not glob.glob(os.path.join(glob.escape(path_or_id), "**", "*.parquet"), recursive=True):
            raise ValueError(
                f"The folder {path_or_id} holds neither a dataset of save_to_disk nor a .parquet file. {BESIDE_AUDIO}"
            )
        loaded = load_dataset("parquet", data_dir=path_or_id)
    elif path_or_id.endswith(".parquet"):
        if not glob.glob(path_or_id, recursive=True):
            raise ValueError(f"No file matches the dataset {path_or_id}.")
        loaded = load_dataset("parquet", data_files=path_or_id)
    elif os.path.exists(path_or_id):
        raise ValueError(
            f"The dataset {path_or_id} is a file that is not .parquet: give a folder or Parquet. {BESIDE_AUDIO}"
        )
    else:
        try:
            loaded = load_dataset(path_or_id)
        except Exception as error:  # each way to fail has a class of its own there
            raise ValueError(
                f"The dataset {path_or_id} is no folder or file here, and loading it from the Hub failed: {error}"
            ) from error
    return unparted(loaded)


def unparted(dataset: DatasetDict) -> Dataset | DatasetDict:
    """A `Dataset` where everything is "train", which is how `datasets` says that there is no partition."""
    return dataset["train"] if list(dataset) == ["train"] else dataset


def named_parts(dataset: Dataset | DatasetDict) -> dict[str, Dataset]:
    """The parts of `dataset` by their names in it; a plain `Dataset` is all "train"."""
    return dict(dataset) if isinstance(dataset, DatasetDict) else {"train": dataset}
