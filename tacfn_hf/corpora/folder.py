"""The user's own corpus: a table beside audio files, or audio files in a folder for each label."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from datasets import DatasetDict, Features

from .annotators import most_voted
from .corpus_files import check_no_archive, check_root, inside, lookup
from .named_columns import check_columns, check_words, declared_names, further_name, name_labels, texts, utterances
from .schema import AUDIO_SUFFIXES, SPLITS, build_corpus
from .similar_paths import find_alike, one_form
from .table_targets import add_several, add_values, add_votes, split_names, votes_of
from .tables import ENCODING, TABLE_SUFFIXES, read_table


DEFAULTS = {"audio_column": "audio", "text_column": "text", "label_column": "label", "encoding": ENCODING}
WANTED = (
    f"a folder with a table ({', '.join(sorted(TABLE_SUFFIXES))}) beside audio files, or with a folder of audio files "
    "for each label"
)


def load_folder(
    root: str | os.PathLike,
    table: str | None = None,
    audio_column: str | None = "audio",
    text_column: str | None = "text",
    label_column: str = "label",
    speaker_column: str | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    split_column: str | None = None,
    vote_columns: str | None = None,
    labels_columns: str | None = None,
    label_separator: str | None = None,
    value_columns: str | None = None,
    audio_root: str | os.PathLike | None = None,
    encoding: str = ENCODING,
    separator: str | None = None,
    fold_case: bool = False,
    allow_missing: bool = False,
) -> DatasetDict:
    """
    A table with a row for each utterance, or folders of audio files that are called like their label:
    `root/<label>/*.wav` or `root/<split>/<label>/*.wav`.

    If all labels are known words for emotions, in whatever case, they get their canonical names (joy becomes happy).
    Else they stay as they are, in the order of their numbers or letters, in one form of Unicode and without white space
    around them; so do speakers and groups. `corpus_label` always has the labels as they are.

    An empty cell means no label, no text, no audio or no speaker. Words such as "nan" and "none" are read as words, and
    warned of. `group` is the group column, else the speaker column, else each utterance is a group of its own. Columns
    that no option names are kept; `duration` and `corpus_label` of the table become `source_duration` and
    `source_corpus_label`.

    Symbolic links in the root are followed. Names of files may be in another form of Unicode than on the disk.

    Args:
        root: the folder.
        table: a CSV, TSV, JSONL or Parquet file, relative to the root. None: the only one directly in the root, or the
            folders if there is none.
        audio_column: paths relative to the root, or absolute ones in it; or, in Parquet, a struct of `bytes` and
            `path`, whose bytes are held in memory (`load_hub` leaves them on disk). If there is no column "audio",
            "file_name" is taken. None or empty: the corpus has no audio.
        text_column: what is said. None or empty: the corpus has no text.
        label_column: strings, integers, or a `ClassLabel`, of which -1 is no label. Empty: no row has one.
        speaker_column: who speaks. None: not known.
        group_column: what must not be in two splits.
        id_column: values that differ from row to row. None: the paths of the audio without suffix.
        split_column: train, validation (or valid, val, dev) or test. None: all is "train".
        vote_columns: columns that are called like a class and say how many annotators chose it, with commas between
            them. They become `votes`. Where there is no column of labels, the label is the class with the most votes,
            and none where several have as many.
        labels_columns: where an utterance can have several labels: columns that are called like a label and have 0 or
            1, with commas between their names; or, with `label_separator`, one column whose cells have several labels.
            They become `labels`. An empty cell means that nobody has said which; a cell with the separator alone, none.
        label_separator: what is between the labels in a cell, such as ;.
        value_columns: columns of numbers, such as arousal,valence, with commas between them.
        audio_root: a folder outside of the root, to which the paths of the table are relative, or in which they are.
        encoding: of a table in CSV, TSV or JSONL.
        separator: what is between the cells in CSV and TSV, one character. None: a comma in .csv, a tab in .tsv.
        fold_case: make labels lower case, except those of a `ClassLabel`. Without it, labels that differ only in case
            are an error, unless all are known words for emotions.
        allow_missing: take utterances whose file is not there as utterances without audio.

    Raises:
        ValueError: several tables, a table in another encoding or with another separator, a column that is not there
            or has the name of another one of the schema, a path out of the root, missing files, an unknown split, a
            row without id or group, a group in two splits, labels that differ only in case.
        BadFilesError: files that can't be opened.
    """
    root = check_root("the corpus", root, WANTED)
    named = {
        "audio_column": audio_column,
        "text_column": text_column,
        "label_column": label_column,
        "speaker_column": speaker_column,
        "group_column": group_column,
        "id_column": id_column,
        "split_column": split_column,
    }
    path = find_table(root, table)
    if path is None:
        given = {
            **named,
            "vote_columns": vote_columns,
            "labels_columns": labels_columns,
            "value_columns": value_columns,
            "audio_root": audio_root,
            "encoding": encoding,
            "separator": separator,
        }
        for option, value in given.items():
            if value and value != DEFAULTS.get(option):
                raise ValueError(f"{option} is {str(value)!r}, but {root} has no table ({', '.join(TABLE_SUFFIXES)}).")
        rows, columns, left_out = rows_of_folders(root)
        names = name_labels(rows, None, str(root), fold_case)
    else:
        folder = root
        if audio_root:
            folder = check_root("the audio", audio_root, "the folder that the paths of the table start from")
        content = read_table(path, encoding, separator)
        voted, several, values = map(split_names, (vote_columns, labels_columns, value_columns))
        rows, columns, names = rows_of_table(root, folder, content, str(path), named, fold_case, voted, several)
        if several:
            columns["labels"] = add_several(rows, content, several, label_separator, str(path), fold_case)
        elif label_separator:
            raise ValueError(f"label_separator is {label_separator!r}: name the column as labels_columns.")
        columns |= add_values(rows, content, values, str(path))
        used = {row["audio"] for row in rows if isinstance(row["audio"], str)}
        unused = sum(str(file) not in used for file in files_in(folder) if file.suffix.lower() in AUDIO_SUFFIXES)
        left_out = {"audio files of no row": unused}
    return build_corpus(
        str(root),
        rows,
        names,
        columns,
        left_out=left_out,
        apart=["group"],
        allow_missing=allow_missing,
        options=[] if path is None else ["id_column", "audio_root"],
    )


def find_table(root: Path, table: str | None) -> Path | None:
    """The table that the option names, or else the only one in the root; None if there is none. Raises a ValueError."""
    there = sorted(file for file in root.iterdir() if file.suffix.lower() in TABLE_SUFFIXES)
    there = [file for file in there if file.is_file() and not file.name.startswith(".")]
    names = ", ".join(file.name for file in there)
    if table:
        path = Path(inside(root, table, "The option table"))
        if not path.is_file():
            raise ValueError(f"The table {path} does not exist; the tables in {root} are: {names or 'none'}.")
        return path
    if len(there) > 1:
        raise ValueError(f"{root} has several tables, {names}: say with table which one it is.")
    return there[0] if there else None


def files_in(root: Path) -> list[Path]:
    """All files below a folder but hidden ones, sorted. Links are followed, also to files that are not there."""

    def stop(error: OSError) -> None:
        raise ValueError(f"The folder {error.filename} can't be listed: {error.strerror}.") from error

    files = []
    for place, folders, names in os.walk(root, followlinks=True, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".") and not is_circle(Path(place, name))]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(files)


def is_circle(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and any(folder.samefile(above) for above in folder.parents)


def rows_of_folders(root: Path) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, int]]:
    """
    The rows of a corpus of folders, no further columns, and the number of files that are left out, by the reason.

    Raises:
        ValueError: there is no audio, or audio that has no label by its folder.
    """
    files = files_in(root)
    audio = [file for file in files if file.suffix.lower() in AUDIO_SUFFIXES]
    if not audio:
        for file in files:
            check_no_archive("the corpus", file)
        raise ValueError(f"{root} has neither a table nor audio files: it must be {WANTED}.")
    rows, depth = [], len(audio[0].relative_to(root).parts)
    for file in audio:
        *folders, _ = file.relative_to(root).parts
        if len(folders) not in (1, 2) or len(folders) + 1 != depth:
            raise ValueError(
                f"{file} has no label by its folder: all audio must be in {root}/<label>, or all in "
                f"{root}/<split>/<label>, or in a table."
            )
        id_ = file.relative_to(root).with_suffix("").as_posix()
        split = lookup(SPLITS, folders[0], str(file), "split") if len(folders) == 2 else "train"
        row = {"id": id_, "audio": str(file), "text": None, "label": folders[-1], "speaker": None, "group": id_}
        rows.append(row | {"split": split})
    silent = sorted({file.parent for file in files} - {file.parent for file in audio} - {root})
    if silent:
        some = ", ".join(str(folder.relative_to(root)) for folder in silent[:10])
        warnings.warn(
            f"{root} has {len(silent)} folders with files but no audio by their suffixes, which are no labels: {some}.",
            stacklevel=3,
        )
    if depth == 2 and all(row["label"] in SPLITS for row in rows):
        raise ValueError(f"{root} has audio in {', '.join(SPLITS)} but no table and no folders of labels in these.")
    return rows, {}, {"files that are no audio": len(files) - len(audio)}


def rows_of_table(
    root: Path,
    folder: Path,
    table: pa.Table,
    where: str,
    named: Mapping[str, str | None],
    fold_case: bool,
    voted: Sequence[str] = (),
    several: Sequence[str] = (),
) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """
    The rows of a table, the features of its further columns, and the class names.

    Args:
        root: of the corpus; paths may lead into it.
        folder: where the paths of the table start.
        table: its rows.
        where: what messages call the table.
        named: the column that each option names.
        fold_case: see `load_folder`.
        voted, several: the columns of votes, and of several labels.

    Raises:
        ValueError: see `load_folder`.
    """
    votes = votes_of(table, voted, where)
    if voted and named["label_column"] not in table.column_names:
        labels = [None if of_row is None else most_voted(of_row) for of_row in votes]
        named = {**named, "label_column": "label"}
        table = table.append_column("label", pa.array(labels, pa.string()))
    if named["audio_column"] == "audio" and "audio" not in table.column_names and "file_name" in table.column_names:
        named = {**named, "audio_column": "file_name"}  # as in the metadata of an audiofolder
    check_columns(table.column_names, named, where)
    audio = audio_cells(root, table, named["audio_column"], where)
    features = Features.from_arrow_schema(table.schema)
    rows = utterances(table, features, named, where, [id_of(cell) for cell in audio])
    listings: dict[str, dict[str, str]] = {}
    for row, cell in zip(rows, audio, strict=True):
        if isinstance(cell, str):
            cell = inside(
                folder,
                cell,
                f"The row with id {row['id']!r} of {where}",
                others=[root],
                otherwise="name the folder of audio that lies elsewhere as audio_root=DIR",
            )
            if not cell.isascii():
                cell = find_alike(cell, one_form, listings) or cell
        row["audio"] = cell
    if named["split_column"]:
        for row, split in zip(rows, texts(table, named["split_column"], where), strict=True):
            row["split"] = lookup(SPLITS, split or "", f"The row with id {row['id']!r} of {where}", "split")
    further = [column for column in table.column_names if column not in (*named.values(), *voted, *several)]
    for column in further:
        for row, value in zip(rows, table.column(column).to_pylist(), strict=True):
            row[further_name(column)] = value
    declared = declared_names(features, named["label_column"])
    check_words(rows, named, declared, where)
    names = name_labels(rows, declared, where, fold_case, voted) if named["label_column"] else []
    columns = {further_name(column): features[column] for column in further}
    if voted:
        columns["votes"] = add_votes(rows, votes, names, fold_case)
    return rows, columns, names


def audio_cells(root: Path, table: pa.Table, column: str | None, where: str) -> list[str | dict | None]:
    """The audio of each row of a table: a path, a dict of `bytes` and `path`, or None."""
    if not column:
        return [None] * table.num_rows
    type_ = table.schema.field(column).type
    if not pa.types.is_struct(type_) or {field.name for field in type_} != {"bytes", "path"}:
        return texts(table, column, where)
    cells = table.column(column).to_pylist()
    return [cell["path"] if cell is not None and cell["bytes"] is None else cell for cell in cells]


def id_of(audio: str | dict | None) -> str | None:
    """The path of the audio without its suffix, which serves as an id; None if there is no path."""
    path = audio["path"] if isinstance(audio, dict) else audio
    return str(PurePosixPath(path).with_suffix("")) if path else None
