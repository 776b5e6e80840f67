"""Folders on object storage and other file systems that fsspec knows: read as copies on the disk, and written."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
from fsspec.callbacks import TqdmCallback
from fsspec.core import url_to_fs
from upath import UPath

from ..writing import AnyPath


def local_copy(path_or_url: str | os.PathLike) -> str:
    """
    A path as it is; of a URL, such as `s3://bucket/features` or `hf://datasets/user/features`, the path of a copy.

    The copy is made once for each state of the files, and lies in the cache of `datasets`. What is mapped into memory
    has to be on a disk.

    Raises:
        ValueError: nothing is there, or it can't be read.
    """
    path_or_url = os.fspath(path_or_url)
    if "://" not in path_or_url:
        return path_or_url
    try:
        files, root = url_to_fs(path_or_url)
        found = files.find(root, detail=True)
        if not found:
            raise ValueError(f"Nothing is at {path_or_url}.")
        states = [
            (name, info["size"], *(str(info.get(key)) for key in ("ETag", "etag", "mtime", "created", "last_commit")))
            for name, info in sorted(found.items())
        ]
        state = hashlib.sha256(json.dumps([files.to_json(), states], sort_keys=True).encode()).hexdigest()
        name = root.rstrip("/").rsplit("/", 1)[-1]
        target = Path(datasets.config.HF_DATASETS_CACHE, "tacfn_hf", state, name)
        if not target.exists():
            target.parent.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent.parent) as made:
                bar = TqdmCallback(tqdm_kwargs={"desc": f"Copying {path_or_url}", "unit": "file"})
                copy = Path(made, "copy")
                copy.mkdir()
                files.get(root, str(copy / name), recursive=True, callback=bar)
                target.parent.mkdir(exist_ok=True)
                os.replace(copy / name, target)
    except (OSError, ImportError) as error:  # ImportError: the package of this file system is not installed
        raise ValueError(f"{path_or_url} can't be read: {error}") from error
    return str(target)


def output_folder(path_or_url: str | os.PathLike) -> AnyPath:
    """
    A folder to write into, as a path: on the disk, or of a URL, where it is made if it is not there.

    Raises:
        ValueError: a URL whose file system is not known, or can't be reached.
    """
    path_or_url = os.fspath(path_or_url)
    if "://" not in path_or_url:
        return Path(path_or_url)
    try:
        folder = UPath(path_or_url, use_listings_cache=False)  # other machines write there, too
        folder.mkdir(parents=True, exist_ok=True)
    except Exception as error:  # each file system has its own way to fail
        reason = str(error) or f"{type(error).__name__}, its file system may only be read"
        raise ValueError(f"{path_or_url} can't be written: {reason}.") from error
    return folder


@contextmanager
def filled_folder(folder: AnyPath) -> Iterator[Path]:
    """Gives a folder on the disk to fill: `folder` itself, or one whose files are copied to it after the block."""
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
        for path in sorted(Path(made).rglob("*")):
            if path.is_file():
                target = folder / path.relative_to(made).as_posix()
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
