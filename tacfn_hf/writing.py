"""Files that are written whole or not at all, JSON, and what a full disk is reported as."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from upath import UPath


DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
LITTLE_SPACE = 2**20  # bytes
AnyPath = Path | UPath  # on a disk, or on a file system that fsspec knows


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    Gives a temporary file beside `path` to write. After the block it is flushed to the disk and takes the place of
    `path`; after an error it is removed, and `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: AnyPath, content: dict[str, Any]) -> None:
    """
    Writes a JSON file, whole or not at all. NaN becomes null, since JSON has no NaN.

    Raises:
        ValueError: a number is infinite.
    """
    text = json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n"
    if isinstance(path, Path):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    else:  # object storage takes a file whole
        path.write_text(text, encoding="utf-8")


def without_nan(value: Any) -> Any:
    """The same with None for NaN, in dicts and lists too."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def read_json(path: AnyPath) -> dict[str, Any]:
    """The content of a JSON file; a ValueError names a file that is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error


@contextmanager
def writing_into(folder: str | os.PathLike) -> Iterator[None]:
    """
    Turns an error of the block into an OSError that names the folder, if a full disk caused it. The errors that
    libraries raise then are of several classes, name no folder, and often not even the reason.
    """
    folder = Path(folder)
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        full = any(os.strerror(code) in str(error) for code in DISK_IS_FULL)
        if isinstance(error, RuntimeError):
            there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            full = shutil.disk_usage(there).free < LITTLE_SPACE
        if not full or "can't be written" in str(error):  # an extraction has said so already
            raise
        raise OSError(errno.ENOSPC, f"{folder} can't be written, no space is left: make room and try again.") from error
