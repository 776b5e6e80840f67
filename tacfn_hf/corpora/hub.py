"""Any dataset that `datasets` opens, from the Hub or the disk, as a corpus."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Audio, Dataset, DatasetDict, concatenate_datasets
from tqdm.auto import tqdm

from ..model.decoding_tacfn import AudioError
from .dataset_opening import named_parts, open_dataset
from .named_columns import check_columns, check_words, declared_names, further_name, name_labels, texts, utterances
from .schema import SCHEMA, BadFilesError, build_corpus, duration_of


def load_hub(
    root: str | os.PathLike,
    audio_column: str | None = "audio",
    text_column: str | None = "text",
    label_column: str = "label",
    speaker_column: str | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    fold_case: bool = False,
) -> DatasetDict:
    """
    The splits of a dataset in the schema, under the names that they have.

    Labels, groups, empty cells and further columns are as in `load_folder`. Audio that the dataset embeds stays on the
    disk. `duration` is null where the dataset has an address of the audio, and neither its bytes nor a path.

    Args:
        root: a dataset id on the Hub, a folder of `save_to_disk`, or Parquet: a file, a pattern, a folder.
        audio_column: an `Audio`, paths, or structs of `bytes` and `path`. None or empty: the corpus has no audio.
        text_column, label_column, speaker_column, group_column: see `load_folder`.
        id_column: values that differ from row to row. None: `<split>-<row number>`, counted from 0, such as train-0.
        fold_case: see `load_folder`.

    Raises:
        ValueError: nothing there that can be opened, a column that is not there or has the name of another one of the
            schema, class names that differ between splits or in nothing but case, a row without id or group, a group
            in two splits.
        BadFilesError: files that are missing or can't be opened.
    """
    root = os.fspath(root)
    named = {
        "audio_column": audio_column,
        "text_column": text_column,
        "label_column": label_column,
        "speaker_column": speaker_column,
        "group_column": group_column,
        "id_column": id_column,
    }
    parts = {name: undecoded(part, audio_column) for name, part in named_parts(open_dataset(root)).items()}
    rows, declared, errors = [], {}, {}
    for name, part in parts.items():
        where = f"{root} ({name})"
        check_columns(part.column_names, named, where)
        small = {column for option, column in named.items() if column and option != "audio_column"}
        table = part.select_columns(sorted(small)).with_format("arrow")[:]
        part_rows = utterances(table, part.features, named, where, [f"{name}-{i}" for i in range(len(part))])
        sounds = audio_of(part, audio_column, part_rows, where, errors)
        bar = tqdm(part_rows, desc=f"Opening {where}", unit="utterance")
        for row, (audio, duration) in zip(bar, sounds, strict=True):
            rows.append(row | {"split": name, "audio": audio, "duration": duration})
        declared[name] = declared_names(part.features, label_column)
        if declared[name] != next(iter(declared.values())):
            raise ValueError(f"The class names of {label_column!r} in {where} are not those of the other splits.")
    class_names = next(iter(declared.values()))
    check_words(rows, named, class_names, root)
    names = name_labels(rows, class_names, root, fold_case) if label_column else []

    def completed(corpus: DatasetDict) -> DatasetDict:
        return DatasetDict({name: with_columns_of(parts[name], part, named) for name, part in corpus.items()})

    try:
        return completed(
            build_corpus(root, rows, names, apart=["group"], allow_missing=None, errors=errors, options=["id_column"])
        )
    except BadFilesError as error:
        error.corpus = completed(error.corpus)
        raise


def undecoded(part: Dataset, audio_column: str | None) -> Dataset:
    """The dataset with `Audio(decode=False)` for each column of audio, unless it holds paths."""
    for column, feature in part.features.items():
        embeds = column == audio_column and isinstance(feature, dict) and set(feature) == {"bytes", "path"}
        if embeds or isinstance(feature, Audio):
            part = part.cast_column(column, Audio(decode=False))
    return part


def audio_of(
    part: Dataset, column: str | None, rows: Sequence[dict[str, Any]], where: str, errors: dict[str, str]
) -> Iterator[tuple[str | dict[str, None] | None, float | None]]:
    """
    The audio of each row as `build_corpus` takes it, but without the bytes, and its seconds. `errors` gets a sentence
    for each id whose bytes can't be opened.
    """
    if not column:
        yield from [(None, None)] * len(rows)
        return
    ids = iter(row["id"] for row in rows)
    for batch in part.select_columns(column).with_format("arrow").iter(1000):
        if isinstance(part.features[column], Audio):
            # A buffer is a view of the mapped file: only the pages of the header are read.
            cells = [
                (cell["bytes"].as_buffer(), cell["path"].as_py()) if cell.is_valid else (None, None)
                for cell in batch.column(column)
            ]
        else:
            cells = [(None, path) for path in texts(batch, column, where)]
        for (data, path), id_ in zip(cells, ids):  # in this order: ids go on with the next batch
            if data is not None:
                duration = None
                try:
                    duration = duration_of({"bytes": data, "path": path}, id_)
                except AudioError as error:
                    errors[id_] = str(error)
                yield {"bytes": None, "path": path}, duration
            elif path is None:
                yield None, None
            elif "://" in path:
                yield {"bytes": None, "path": path}, None
            else:
                yield path, None


def with_columns_of(source: Dataset, part: Dataset, named: dict[str, str | None]) -> Dataset:
    """The split `part` of the schema with the embedded audio and the further columns of its `source`."""
    further = [column for column in source.column_names if column not in named.values()]
    columns, audio_column = list(further), named["audio_column"]
    if audio_column and isinstance(source.features[audio_column], Audio):
        if audio_column != "audio":
            source = source.rename_column(audio_column, "audio")
        part = part.remove_columns("audio")
        columns.append("audio")
    if not columns:
        return part
    kept = source.select_columns(columns)
    kept = kept.rename_columns({column: further_name(column) for column in further})
    order = [*SCHEMA, *map(further_name, further)]
    joined = concatenate_datasets([part, kept], axis=1).select_columns(order)
    joined.info.description = part.info.description  # without that of the source
    return joined
