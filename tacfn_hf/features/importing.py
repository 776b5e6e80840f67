"""Features that exist already (arrays or files beside a table of utterances) as a `datasets.Dataset`."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from ..corpora.label_spelling import check_case, plain_label, warn_of_one_label, warn_of_words_for_nothing
from ..corpora.similar_paths import file_near
from ..corpora.tables import ENCODING, as_text, check_column, describe_counts, read_table
from .array_files import ARRAY_SUFFIXES, FolderOfArrays, TableArray, open_source
from .arrow_layout import feature_of, nested_array


BATCH_BYTES = 64 * 2**20  # features held in memory at a time


def import_features(
    table: str | os.PathLike,
    output_dir: str | os.PathLike,
    audio: str | os.PathLike | None = None,
    text: str | os.PathLike | None = None,
    *,
    audio_offsets: str | None = None,
    audio_lengths: str | None = None,
    text_offsets: str | None = None,
    text_lengths: str | None = None,
    label_column: str = "label",
    label_names: Sequence[str] | None = None,
    id_columns: Sequence[str] = ("id",),
    exclude: Sequence[str] = (),
    allow_missing: bool = False,
    drop_unlabelled: bool = False,
    fold_case: bool = False,
    encoding: str = ENCODING,
    separator: str | None = None,
) -> datasets.Dataset:
    """
    Brings features and their table together, and saves them to `output_dir` with `save_to_disk`.

    The dataset has `id` (string), `h_a` and `h_t` (lists [L, d] in float16 or float32, whichever the source
    has; float64 becomes float32; None where a modality is missing), `label` (`ClassLabel`), and every column
    of the table. A modality that is not given has no column. `dataset.info.description` says what was
    counted, what was left out, and why.

    Args:
        table: a .parquet, .csv, .tsv or .jsonl file with one row per utterance.
        output_dir: a new or an empty folder. It appears whole or not at all.
        audio: `FILE` or `FILE:KEY` of a .safetensors, .npy or .npz array whose rows are those of the table:
            [N, d], [N, L, d], or with offsets [T, d]; or `FOLDER` (or `FOLDER:KEY`) with a file of [d] or
            [L, d] for each utterance, named by its id; an id such as happy/u1 is a file in a folder happy.
        text: the same for text.
        audio_offsets: `FILE:KEY` of [N + 1] integers: utterance i is rows offsets[i] to offsets[i + 1] of
            [T, d].
        audio_lengths: `FILE:KEY` of [N] integers: the valid length of each utterance of [N, L, d].
        text_offsets: the same for text.
        text_lengths: the same for text.
        label_column: the column of class names (strings, integers, or a `ClassLabel`). White space around a name
            is no part of it, and an empty cell is no label.
        label_names: the classes in the order of their indices; without it the sorted values of the column.
        id_columns: the columns that make the id, joined with "_".
        exclude: conditions such as "dialogue_id=110,utterance_id=7". Rows that meet all the conditions of one
            string have no features, and leave the table before it is matched with the arrays.
        allow_missing: take an utterance without a file, or of length 0, as one whose modality is missing.
        drop_unlabelled: leave out rows whose label is null.
        fold_case: make labels and `label_names` lower case, but those of a `ClassLabel`. Without it, labels that
            differ only in case are an error, unless `label_names` has them.
        encoding: of a table in CSV, TSV or JSONL.
        separator: what is between the cells in CSV and TSV, one character. None: a comma in .csv, a tab in .tsv.

    Raises:
        ValueError: the inputs are wrong or contradict each other; the sentence names the file and the row,
            counted from 0.
        TypeError: an array or a column is not of the type that is needed.
        FileNotFoundError: a file is not there.
    """
    if audio is None and text is None:
        raise ValueError("Neither audio nor text is given; at least one of the two is needed.")
    output_dir = Path(output_dir)
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise ValueError(f"The output folder {output_dir} exists and is not empty; choose another folder.")

    all_rows = read_table(table, encoding, separator)
    check_columns(all_rows, table, id_columns, label_column)
    left_out: dict[str, int] = {}
    keep = np.ones(all_rows.num_rows, dtype=bool)
    for condition in exclude:
        matched = matches(all_rows, table, condition)
        left_out[f"excluded by {condition}"] = int((keep & matched).sum())
        keep &= ~matched
    rows, numbers = all_rows.filter(pa.array(keep)), np.flatnonzero(keep)
    ids = utterance_ids(rows, table, id_columns, numbers)
    names, labels = class_indices(rows, table, label_column, label_names, numbers, fold_case)

    sources = {}
    for column, spec, offsets, lengths in (
        ("h_a", audio, audio_offsets, audio_lengths),
        ("h_t", text, text_offsets, text_lengths),
    ):
        if spec is not None:
            sources[column] = open_source(spec, offsets, lengths, table, ids)
        elif offsets or lengths:
            raise ValueError(f"{offsets or lengths} is given without the array that its numbers are about.")

    unlabelled = labels.count(None)
    if unlabelled and not drop_unlabelled:
        raise ValueError(
            f"{unlabelled} of {len(labels)} rows of {table} have no label in column {label_column!r}; "
            "label them, or leave them out with drop_unlabelled."
        )
    left_out["without a label"] = unlabelled
    kept = [i for i, label in enumerate(labels) if label is not None]
    if not kept:
        raise ValueError(f"No row of {table} is left to import: of {all_rows.num_rows}, {describe_counts(left_out)}.")

    further = rows.select([name for name in rows.column_names if name not in ("id", "label")])
    features = datasets.Features(
        {"id": datasets.Value("string")}
        | {column: feature_of(source.dtype, source.size) for column, source in sources.items()}
        | {"label": datasets.ClassLabel(names=names)}
        | datasets.Features.from_arrow_schema(further.schema)
    )
    columns = pa.table(  # a table without columns has no rows to which one can be added
        {"id": pa.array([ids[i] for i in kept], pa.string()), "label": pa.array([labels[i] for i in kept], pa.int64())}
        | {name: further.column(name).take(kept) for name in further.column_names}
    )

    output_dir.parent.mkdir(parents=True, exist_ok=True)
    work_dir = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        arrow_file = work_dir / "rows.arrow"
        lengths = write_rows(arrow_file, features, sources, columns, kept, allow_missing)
        info = datasets.DatasetInfo(features=features)
        info.description = describe(columns.column("label").to_pylist(), names, left_out, sources, lengths)
        datasets.Dataset.from_file(str(arrow_file), info=info).save_to_disk(work_dir / "dataset")
        os.replace(work_dir / "dataset", output_dir)
    finally:
        shutil.rmtree(work_dir)
    return datasets.load_from_disk(output_dir)


def write_rows(
    path: Path,
    features: datasets.Features,
    sources: dict[str, TableArray | FolderOfArrays],
    columns: pa.Table,
    positions: list[int],
    allow_missing: bool,
) -> dict[str, list[int]]:
    """
    Writes an Arrow file of `columns` with their features. Features of about BATCH_BYTES are in memory at a time.

    Args:
        sources: the features, by their column.
        columns: `id`, `label` and all further columns.
        positions: the place in the sources of each row of `columns`.
        allow_missing: see `read_utterance`.

    Returns:
        The length of each utterance, by the column of features; 0 where the modality is missing.

    Raises:
        ValueError: an utterance without any features, and what `read_utterance` refuses.
    """
    ids = columns.column("id").to_pylist()
    lengths: dict[str, list[int]] = {column: [] for column in sources}
    batch: dict[str, list[np.ndarray | None]] = {column: [] for column in sources}
    start = batch_bytes = 0
    schema = features.arrow_schema
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for i, id_ in enumerate(tqdm(ids, desc="Importing features", unit="utterance")):
            for column, source in sources.items():
                values = read_utterance(source, positions[i], id_, allow_missing)
                batch[column].append(values)
                lengths[column].append(0 if values is None else len(values))
                batch_bytes += 0 if values is None else values.nbytes
            if not any(length[-1] for length in lengths.values()):
                raise ValueError(f"Utterance {id_!r} has no features at all, neither audio nor text; exclude its row.")
            if batch_bytes >= BATCH_BYTES or i + 1 == len(ids):
                block = columns.slice(start, i + 1 - start)
                for column, source in sources.items():
                    block = block.append_column(column, nested_array(batch[column], source.dtype, source.size))
                    batch[column] = []
                writer.write_table(block.select(schema.names).cast(schema))
                start, batch_bytes = i + 1, 0
    return lengths


def read_utterance(
    source: TableArray | FolderOfArrays, position: int, id_: str, allow_missing: bool
) -> np.ndarray | None:
    """
    The features `[L, d]` of one utterance in the stored dtype; None where they are missing.

    Raises:
        ValueError: features that are missing although `allow_missing` is False, or that are not finite.
    """
    values, where = source.read(position, id_)
    if values is None or len(values) == 0:
        if not allow_missing:
            if values is not None:
                raise ValueError(f"Utterance {id_!r} has length 0 in {where}; add it, or set allow_missing.")
            near = file_near(Path(where, id_), ARRAY_SUFFIXES)
            raise ValueError(
                f"Utterance {id_!r} has no file in {where}{f' (there is {near})' if near else ''}; "
                "add it, or set allow_missing."
            )
        return None
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and is refused below
        values = values.astype(source.dtype, copy=False)
    frames = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(frames):
        raise ValueError(
            f"The features of utterance {id_!r} in {where} are NaN or infinite in {source.dtype} "
            f"at row {frames[0]} of {len(values)}; only finite numbers can be imported."
        )
    return values


def describe(
    labels: list[int],
    names: list[str],
    left_out: dict[str, int],
    sources: dict[str, TableArray | FolderOfArrays],
    lengths: dict[str, list[int]],
) -> str:
    """What was imported and what was left out, as a small table in plain text."""
    counts = Counter(labels)
    lines = [("rows", str(len(labels))), ("left out", describe_counts(left_out))]
    lines.append(("labels", describe_counts({name: counts[i] for i, name in enumerate(names)})))
    for column, source in sources.items():
        present = [length for length in lengths[column] if length]
        mean = sum(present) / len(present) if present else 0
        text = f"[{mean:.1f} on average, {source.size}] {source.dtype}, {len(labels) - len(present)} missing"
        if source.unused:
            text += f", {source.unused} files of no row"
        lines.append((column, text))
    return "\n".join(f"{name:<10}{value}" for name, value in lines)


def check_columns(rows: pa.Table, table: str | os.PathLike, id_columns: Sequence[str], label_column: str) -> None:
    """Raises a ValueError where a named column is not there, or one is called like a column of the output."""
    if not id_columns:
        raise ValueError("id_columns is empty; at least one column must make the id.")
    for column in (*id_columns, label_column):
        check_column(rows, table, column)
    for column in rows.column_names:
        becomes = {
            "id": list(id_columns) == ["id"],
            "label": label_column == "label",
            "h_a": False,
            "h_t": False,
        }
        if not becomes.get(column, True):
            raise ValueError(
                f"The table {table} has a column {column!r}, which is the name of a column of the output; rename it."
            )


def matches(rows: pa.Table, table: str | os.PathLike, condition: str) -> np.ndarray:
    """
    Boolean `[N]`: the rows that meet every part of a condition such as "dialogue_id=110,utterance_id=7".

    Raises:
        ValueError: another form of condition, a column that is not there, or a condition that no row meets.
    """
    matched = np.ones(rows.num_rows, dtype=bool)
    for part in condition.split(","):
        column, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError(f"exclude got {condition!r}, where {part!r} is not of the form column=value.")
        check_column(rows, table, column)
        matched &= np.array([cell == value for cell in as_text(rows, table, column)], dtype=bool)
    if not matched.any():
        raise ValueError(f"exclude got {condition!r}, which no row of {table} meets.")
    return matched


def utterance_ids(
    rows: pa.Table, table: str | os.PathLike, id_columns: Sequence[str], numbers: np.ndarray
) -> list[str]:
    """
    The id of each row, its id columns joined with "_". `numbers [N]` are the rows' places in the table, for messages.

    Raises:
        ValueError: an empty cell, or an id that occurs twice.
    """
    cells = [as_text(rows, table, column) for column in id_columns]
    first: dict[str, int] = {}
    for number, parts in zip(numbers, zip(*cells, strict=True), strict=True):
        if None in parts:
            raise ValueError(
                f"Row {number} of {table} has nothing in column {id_columns[parts.index(None)]!r} of its id."
            )
        id_ = "_".join(parts)
        if id_ in first:
            raise ValueError(
                f"The id {id_!r} of row {number} of {table} is that of row {first[id_]} too; ids must be unique: "
                f"id_columns, which is {' '.join(id_columns)}, may name several columns that make one together."
            )
        first[id_] = number
    return list(first)


def class_indices(
    rows: pa.Table,
    table: str | os.PathLike,
    column: str,
    names: Sequence[str] | None,
    numbers: np.ndarray,
    fold_case: bool = False,
) -> tuple[list[str], list[int | None]]:
    """
    The class names, and the class index of each row (None where the label is null). `names` and `fold_case` are the
    options of `import_features`, `numbers [N]` the rows' places in the table, for messages.

    Raises:
        ValueError: a label that is not among `names`, a name that occurs twice, or labels that differ only in case.
    """
    values = as_text(rows, table, column)
    feature = datasets.Features.from_arrow_schema(rows.schema)[column]
    if isinstance(feature, datasets.ClassLabel):
        values = [None if value in (None, "-1") else feature.int2str(int(value)) for value in values]
        names = names or feature.names
    else:
        warn_of_words_for_nothing(table, {column: values})
        values = [None if value is None else plain_label(value, fold_case) or None for value in values]
        names = names and [plain_label(name, fold_case) for name in names]
    if names is None:
        counts = Counter(value for value in values if value is not None)
        check_case(counts, table)
        numeric = pa.types.is_integer(rows.schema.field(column).type)
        names = sorted(counts, key=int if numeric else None)
    if len(set(names)) < len(names):
        raise ValueError(f"label_names has a name twice: {' '.join(names)}.")
    index = {name: i for i, name in enumerate(names)}
    for number, value in zip(numbers, values, strict=True):
        if value is not None and value not in index:
            raise ValueError(
                f"Row {number} of {table} has {value!r} in column {column!r}, "
                f"which is not among the label names {' '.join(names)}."
            )
    warn_of_one_label(values, table)
    return list(names), [None if value is None else index[value] for value in values]
