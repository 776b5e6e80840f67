"""Files that appear whole or not at all."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write, which takes its place when it is whole and on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error


DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


LITTLE_SPACE = 2**20  # bytes


@contextmanager
def writing_into(folder: str | os.PathLike) -> Iterator[None]:
    """
    An error in the block that a full disk is behind becomes an OSError that names the folder. What libraries raise then
    is of several kinds and names none, and torch's does not even say what is wrong.
    """
    folder = Path(folder)
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        full = any(os.strerror(code) in str(error) for code in DISK_IS_FULL)
        if isinstance(error, RuntimeError):
            there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            full = shutil.disk_usage(there).free < LITTLE_SPACE
        if not full or "can't be written" in str(error):  # extraction says so of a shard, and what to do then
            raise
        raise OSError(errno.ENOSPC, f"{folder} can't be written, no space is left: make room and try again.") from error
