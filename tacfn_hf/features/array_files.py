"""Arrays of features in files: .safetensors, .npy and .npz, one for all utterances or a file for each."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ..corpora.similar_paths import one_form
from ..corpora.tables import NO_PICKLE, PICKLE_SUFFIXES


ARRAY_SUFFIXES = {".safetensors", ".npy", ".npz"}
# The dtype of a stored feature by the dtype of its source, in NumPy's and in safetensors' names.
STORED_DTYPES = {"float16": "float16", "float32": "float32", "float64": "float32"} | {
    "F16": "float16",
    "F32": "float32",
    "F64": "float32",
}


@dataclass(frozen=True)
class Array:
    """
    An array in a file. It is read by slices where the format allows that.

    Attributes:
        name: what messages call it, `FILE` or `FILE:KEY`.
        values: it gives a NumPy array when it is sliced.
        shape: of the whole array.
        dtype: its name in NumPy or in safetensors.
    """

    name: str
    values: Any
    shape: tuple[int, ...]
    dtype: str

    @property
    def stored_dtype(self) -> str:
        """What the values are stored in: "float16" or "float32". A TypeError refuses other kinds of numbers."""
        if self.dtype not in STORED_DTYPES:
            raise TypeError(f"{self.name} holds {self.dtype}; features must be float16, float32 or float64.")
        return STORED_DTYPES[self.dtype]


def open_array(spec: str | os.PathLike) -> Array:
    """
    Opens `FILE` or `FILE:KEY`; without a key the file must hold one array.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: another kind of file, a pickle, a file that is not whole, or a key that it does not have.
    """
    path, key = split_spec(spec)
    if not path.is_file():
        raise FileNotFoundError(f"The array file {path} does not exist.")
    suffix = path.suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise ValueError(f"{path} is refused, {NO_PICKLE}.")
    if suffix not in ARRAY_SUFFIXES:
        raise ValueError(f"The array file {path} must be one of {', '.join(sorted(ARRAY_SUFFIXES))}.")
    try:
        if suffix == ".safetensors":
            file = safe_open(path, framework="numpy")
            values = file.get_slice(choose_key(path, key, list(file.keys())))
            shape, dtype = tuple(values.get_shape()), values.get_dtype()
        elif suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                values = file[choose_key(path, key, file.files)]
        else:
            if key is not None:
                raise WrongKeyError(f"{path} is one array without keys, but the key {key!r} was asked for.")
            values = np.load(path, mmap_mode="r", allow_pickle=False)
    except WrongKeyError:
        raise
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole .safetensors file: {error}.") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a whole {suffix} file of plain numbers ({str(error).rstrip('.')}); {NO_PICKLE}."
        ) from error
    if suffix != ".safetensors":
        shape, dtype = values.shape, values.dtype.name
    return Array(name=str(path) if key is None else f"{path}:{key}", values=values, shape=shape, dtype=dtype)


class WrongKeyError(ValueError):
    """The file has no array of this key."""


def split_spec(spec: str | os.PathLike) -> tuple[Path, str | None]:
    """`FILE:KEY` or `FILE` as path and key. A path that exists is taken as it is, colons included."""
    spec = os.fspath(spec)
    path, colon, key = spec.rpartition(":")
    if os.path.exists(spec) or not colon:
        return Path(spec), None
    return Path(path), key


def choose_key(path: Path, key: str | None, keys: list[str]) -> str:
    """The key of the array to read, of the `keys` that the file has; a WrongKeyError if it can't be known."""
    if key is None and len(keys) == 1:
        return keys[0]
    if key not in keys:
        problem = "needs a key" if key is None else f"has no array {key!r}"
        raise WrongKeyError(f"{path} {problem}; write {path}:KEY with one of {', '.join(sorted(keys))}.")
    return key


def read_integers(spec: str | os.PathLike, count: int, what: str) -> np.ndarray:
    """
    An array of whole numbers as int64 `[count]`; `what` says what the count is, for the message.

    Raises:
        TypeError: other numbers, or another number of dimensions.
        ValueError: another count.
    """
    array = open_array(spec)
    values = np.asarray(array.values[:]) if len(array.shape) == 1 else np.empty(0)
    if values.dtype.kind not in "iu" or len(array.shape) != 1:
        raise TypeError(f"{array.name} must be whole numbers [{count}], but is {array.dtype} {list(array.shape)}.")
    if len(values) != count:
        raise ValueError(f"{array.name} has {len(values)} numbers, but there must be {count}: {what}.")
    return values.astype(np.int64)


@dataclass(frozen=True)
class TableArray:
    """
    The features of all utterances in one array, in the order of the table.

    Attributes:
        array: `[N, d]`, or `[N, L, d]` with `lengths`, or `[T, d]` with `offsets`.
        offsets: int64 `[N + 1]`, utterance i is rows offsets[i] to offsets[i + 1].
        lengths: int64 `[N]`, the valid length of each utterance.
        unused: always 0, since every part of the array belongs to a row.
    """

    array: Array
    offsets: np.ndarray | None = None
    lengths: np.ndarray | None = None
    unused: int = 0

    @property
    def size(self) -> int:
        """The size d of one feature vector."""
        return self.array.shape[-1]

    @property
    def dtype(self) -> str:
        """What the features are stored in."""
        return self.array.stored_dtype

    def read(self, position: int, id_: str) -> tuple[np.ndarray, str]:
        """The features `[L, d]` of the utterance at that position, and the array's name for a message."""
        values = self.array.values
        if self.offsets is not None:
            values = values[int(self.offsets[position]) : int(self.offsets[position + 1])]
        elif len(self.array.shape) == 2:
            values = values[position : position + 1]
        else:
            length = self.array.shape[1] if self.lengths is None else int(self.lengths[position])
            values = values[position : position + 1, :length][0]
        return values, self.array.name


@dataclass(frozen=True)
class FolderOfArrays:
    """
    The features of each utterance in a file of its own, `[d]` or `[L, d]`, named by its id.

    Attributes:
        folder: it holds the files.
        key: that of the array in each file; None where a file holds one.
        files: by the ids of their utterances.
        first: the name of the array that set `dtype` and `size`.
        dtype: what the features are stored in.
        size: that of one feature vector.
        unused: the number of files that belong to no row.
    """

    folder: Path
    key: str | None
    files: dict[str, Path]
    first: str
    dtype: str
    size: int
    unused: int

    def read(self, position: int, id_: str) -> tuple[np.ndarray | None, str]:
        """The features `[L, d]` of an utterance, None without a file; and the file's or folder's name for a message."""
        if id_ not in self.files:
            return None, str(self.folder)
        array = open_utterance(self.files[id_], self.key)
        if (array.shape[-1], array.stored_dtype) != (self.size, self.dtype):
            raise ValueError(
                f"{array.name} has features of size {array.shape[-1]} in {array.stored_dtype}, "
                f"but {self.first} of size {self.size} in {self.dtype}; all must be alike."
            )
        values = np.asarray(array.values[:])
        return (values[None] if values.ndim == 1 else values), array.name


def open_source(
    spec: str | os.PathLike,
    offsets: str | None,
    lengths: str | None,
    table: str | os.PathLike,
    ids: list[str],
) -> TableArray | FolderOfArrays:
    """
    Opens the features of one modality, and checks their shape against the rows of the table.

    Args:
        spec: `FILE`, `FILE:KEY`, `FOLDER` or `FOLDER:KEY`.
        offsets, lengths: `FILE:KEY` of whole numbers, see `import_features`.
        table: what messages call the table.
        ids: those of the rows, in order.

    Raises:
        FileNotFoundError, ValueError, TypeError: see `import_features`.
    """
    path, key = split_spec(spec)
    if offsets and lengths:
        raise ValueError(
            f"{spec} is given both offsets and lengths; a packed array has the one, a padded array the other."
        )
    if path.is_dir():
        if offsets or lengths:
            raise ValueError(
                f"{path} is a folder with a file for each utterance, and takes neither offsets nor lengths."
            )
        return open_folder(path, key, ids)

    array = open_array(spec)
    wanted, ndim = "[N, d] or [N, L, d]", (2, 3)
    if offsets:
        wanted, ndim = "[T, d] with offsets", (2,)
    elif lengths:
        wanted, ndim = "[N, L, d] with lengths", (3,)
    if len(array.shape) not in ndim or array.shape[-1] == 0:
        raise ValueError(f"{array.name} has shape {list(array.shape)}, but must be {wanted}.")
    rows = f"{table} has {len(ids)} rows without the excluded ones"
    if offsets:
        values = read_integers(offsets, len(ids) + 1, f"{rows}, and offsets are one more")
        if values[0] != 0 or values[-1] != array.shape[0]:
            raise ValueError(
                f"{offsets} goes from {values[0]} to {values[-1]}, but must go from 0 to {array.shape[0]}, "
                f"the number of rows of {array.name}."
            )
        falls = np.flatnonzero(np.diff(values) < 0)
        if len(falls):
            i = falls[0]
            raise ValueError(
                f"{offsets} falls from {values[i]} to {values[i + 1]} at {i + 1}; offsets must never fall."
            )
        source = TableArray(array, offsets=values)
    else:
        if array.shape[0] != len(ids):
            raise ValueError(f"{array.name} has {array.shape[0]} rows, but {rows}.")
        values = read_integers(lengths, len(ids), rows) if lengths else None
        if lengths:
            outside = np.flatnonzero((values < 0) | (values > array.shape[1]))
            if len(outside):
                raise ValueError(
                    f"{lengths} is {values[outside[0]]} for utterance {ids[outside[0]]!r}, "
                    f"but {array.name} holds lengths of 0 to {array.shape[1]}."
                )
        source = TableArray(array, lengths=values)
    return source


def open_folder(folder: Path, key: str | None, ids: list[str]) -> FolderOfArrays:
    """
    Finds the file of each id in a folder, or below it where ids have "/" in them. Names and ids may be in different
    forms of Unicode.

    Raises:
        ValueError: no file has the name of an id, two have that of one, or a file of an id is a pickle.
    """
    wanted = set(ids)
    forms = {one_form(id_): id_ for id_ in ids}
    files: dict[str, Path] = {}
    unused = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        suffix = path.suffix.lower()
        name = path.relative_to(folder).with_suffix("").as_posix()
        id_ = name if name in wanted else forms.get(one_form(name))
        if id_ is None:
            unused += suffix in ARRAY_SUFFIXES
        elif suffix in PICKLE_SUFFIXES:
            raise ValueError(f"{path} is refused, {NO_PICKLE}.")
        elif suffix in ARRAY_SUFFIXES:
            if id_ in files:
                raise ValueError(f"Utterance {id_!r} has two files, {files[id_]} and {path}; keep one.")
            files[id_] = path
    if not files:
        raise ValueError(
            f"The folder {folder} has no file named by an id, such as {ids[0] + '.npy' if ids else 'ID.npy'}."
        )
    first = next(path for id_ in ids if (path := files.get(id_)))
    array = open_utterance(first, key)
    return FolderOfArrays(
        folder, key, files, first=array.name, dtype=array.stored_dtype, size=array.shape[-1], unused=unused
    )


def open_utterance(path: Path, key: str | None) -> Array:
    """The array of one utterance; a ValueError if it is not `[d]` or `[L, d]`."""
    array = open_array(path if key is None else f"{path}:{key}")
    if len(array.shape) not in (1, 2) or array.shape[-1] == 0:
        raise ValueError(f"{array.name} has shape {list(array.shape)}, but must be [d] or [L, d].")
    return array
