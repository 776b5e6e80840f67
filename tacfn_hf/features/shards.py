"""The shards of an extraction: each is written whole or not at all, and knows what it was made of."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..corpora.dataset_opening import REPORT, SHARDS, shard_paths
from ..writing import AnyPath, read_json, replacing, write_json


FIRST_BYTES = 2**16  # read of a shard on object storage, in which the schema lies
ABOUT = b"extraction"  # the entry of a shard's schema that says what it was made of


def write_shard(path: AnyPath, table: pa.Table, about: dict[str, Any]) -> None:
    """
    Writes an Arrow file that `Dataset.from_file` opens; `about` is kept in its schema, where `read_about` finds it.

    Raises:
        OSError: the file can't be written; what was in its place before is still there.
    """
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), ABOUT: json.dumps(about).encode()})
    try:
        if isinstance(path, Path):
            with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as file:
                write_table(file, table)
        else:  # object storage takes a file whole
            buffer = pa.BufferOutputStream()
            write_table(buffer, table)
            path.write_bytes(memoryview(buffer.getvalue()))
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} can't be written ({error.strerror}): the shards before it are kept; make room, and give the same "
            "command again",
        ) from error


def write_table(file: Any, table: pa.Table) -> None:
    """Writes a table in Arrow's stream format."""
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def read_about(path: AnyPath) -> dict[str, Any] | None:
    """The `about` of a shard; None if the shard is not there. Its rows are not read."""
    if not path.is_file():
        return None
    with pa.memory_map(str(path)) if isinstance(path, Path) else path.open("rb", block_size=FIRST_BYTES) as file:
        return json.loads(pa.ipc.open_stream(file).schema.metadata[ABOUT])


def complete_folder(folder: AnyPath, report: dict[str, Any]) -> None:
    """
    Makes a folder one that `open_dataset` opens, by its report. Shards that do not belong to it are removed.

    Args:
        folder: it holds all its shards, or all its splits.
        report: with the number of `shards`, or with the names of the `splits`, each a folder that is complete.
    """
    path = folder / REPORT
    if not path.is_file() or read_json(path) != report:
        write_json(path, report)
    wanted = {path.name for path in shard_paths(folder, report.get("shards", 0))}
    for path in [*folder.glob(SHARDS), *folder.glob(f".{SHARDS}.*.tmp")]:
        if path.name not in wanted:
            path.unlink(missing_ok=True)
