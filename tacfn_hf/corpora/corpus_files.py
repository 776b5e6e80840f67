"""The files of a corpus: finding and reading them, with errors that say what is wanted."""

import codecs
import os
import re
import tarfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar


ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
T = TypeVar("T")


def check_root(corpus: str, root: str | os.PathLike, wanted: str) -> Path:
    """
    The folder of a corpus as an absolute path.

    Raises:
        ValueError: it is not there, or it is a file or an archive; `wanted` says in words what the folder should be.
    """
    root = Path(os.path.abspath(root))
    if not root.exists():
        raise ValueError(f"The root of {corpus} does not exist: {root}; it must be {wanted}.")
    if root.is_file():
        check_no_archive(corpus, root)
        raise ValueError(f"The root of {corpus} is a file: {root}; it must be {wanted}.")
    return root


def need(corpus: str, root: Path, names: Sequence[str], wanted: str) -> Path:
    """
    The first that exists of several files or folders. `names` are relative to the root; releases of a corpus differ in
    them.

    Raises:
        ValueError: none of them exists, or it is still packed in an archive.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    check_unpacked(corpus, root, names)
    raise ValueError(
        f"{root} is not the root of {corpus}: there is no {' or '.join(names)} in it, but {content_of(root)}; the root "
        f"must be {wanted}."
    )


def content_of(root: Path) -> str:
    """The first names in a folder, as a list in words for a message."""
    names = sorted(path.name for path in root.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"


def check_unpacked(corpus: str, root: Path, names: Sequence[str] = ()) -> None:
    """Raises a ValueError where a folder has archives and no folders, or an archive named like one of `names`."""
    paths = sorted(root.iterdir())
    has_folders = any(path.is_dir() for path in paths)
    folders = [part for name in names for part in name.split("/") if "." not in part]
    for path in paths:
        stem = path.name.split(".")[0]
        if not has_folders or any(stem and folder.startswith(stem) for folder in folders):
            check_no_archive(corpus, path)


def check_no_archive(corpus: str, path: Path) -> None:
    """Raises a ValueError where the path is an archive; it says whether the archive is whole, and what to do."""
    if not path.is_file() or not path.name.lower().endswith(ARCHIVES):
        return
    readable = True  # Python can't read .7z and .rar
    if path.suffix.lower() == ".zip":
        readable = zipfile.is_zipfile(path)
    elif path.suffix.lower() not in (".7z", ".rar"):
        try:
            readable = tarfile.is_tarfile(path)
        except EOFError:  # compressed, and cut off
            readable = False
    if readable:
        raise ValueError(f"{corpus} is still packed in {path}: unpack it, and give the folder.")
    raise ValueError(f"{corpus} is packed in {path}, which can't be read as an archive: fetch it again.")


def inside(
    root: Path, path: str, where: str, others: Sequence[Path] = (), otherwise: str = "files must be in it"
) -> str:
    """
    The absolute path of a file that a table names relative to the root. Symbolic links in the root are followed.

    Raises:
        ValueError: the path leads out of the root, and into none of the `others`. In the message `where` is the row
            that named the path, and `otherwise` what to do.
    """
    full = os.path.abspath(os.path.join(root, path))
    for folder in map(str, (root, *others)):
        # One of the two may be given by way of a link, and the other not.
        for place, above in ((full, folder), (os.path.realpath(full), os.path.realpath(folder))):
            if os.path.commonpath([place, above]) == above:
                return full
    raise ValueError(f"{where} names {path!r}, which lies outside of {root}: {otherwise}.")


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """
    A text file, without a byte order mark and with "\\n" at the ends of its lines.

    Raises:
        ValueError: the file is not there, or Python does not know the encoding.
        UnicodeError: the file is in another encoding; the message says which one it looks like.
    """
    try:
        data = path.read_bytes()
        text = data.decode(encoding)
    except FileNotFoundError as error:
        raise ValueError(f"The file {path} is missing.") from error
    except LookupError as error:
        raise ValueError(f"encoding is {encoding!r}: it must be one that Python knows, such as cp1252.") from error
    except UnicodeDecodeError as error:
        likely = likely_encoding(data)
        near = data[max(0, error.start - 10) : error.start + 10].decode("cp1252", "replace")
        reads = f", in which this place reads {near!r}" if likely == "cp1252" else ""
        found = f"The file {path} is not in {encoding} at byte {error.start}"
        raise UnicodeError(f"{found}: it looks like {likely}{reads}.") from error
    if text.count("\0") > len(text) / 4:
        raise UnicodeError(f"The file {path} is not in {encoding}: it looks like {likely_encoding(data)}.")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def likely_encoding(data: bytes) -> str:
    """Which encoding the content of a text file looks like, of those that are common."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if data.count(0) > len(data) / 4:  # every other byte of plain letters
        return "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"  # or latin-1, which it contains
    return "utf-8"


def lookup(table: Mapping[str, T], value: str, where: str, what: str) -> T:
    """
    What a code of the corpus stands for.

    Raises:
        ValueError: a code that is not in the table; `where` says which row or file had it, `what` what it is.
    """
    if value not in table:
        raise ValueError(f"{where} has the {what} {value!r}: the known ones are {', '.join(table)}.")
    return table[value]


def choice(corpus: str, name: str, value: str, choices: Sequence[str]) -> str:
    """The value of an option; a ValueError lists the valid ones if it is none of them."""
    if value not in choices:
        raise ValueError(f"{name} of {corpus} is {value!r}: it must be one of {', '.join(choices)}.")
    return value


def audio_files(corpus: str, root: str | os.PathLike, pattern: str, wanted: str) -> list[Path]:
    """
    The audio files of a corpus that match a pattern, sorted. Hidden files, which other systems add (`._name`), are not
    among them.

    Raises:
        ValueError: no file matches; or see `check_root`.
    """
    root = check_root(corpus, root, wanted)
    paths = sorted(path for path in root.glob(pattern) if not path.name.startswith("."))
    if not paths:
        check_unpacked(corpus, root)
        raise ValueError(
            f"{root} is not the root of {corpus}: it has {content_of(root)}, and no audio where it belongs; the "
            f"root must be {wanted}."
        )
    return paths


def parts_of_name(corpus: str, pattern: str, path: Path) -> dict[str, str]:
    """The parts of a file's name, by the named groups of the pattern; a ValueError if the name does not match."""
    match = re.fullmatch(pattern, path.stem)
    if match is None:
        example = re.sub(r"\(\?P<(\w+)>[^()]*\)", r"<\1>", pattern)
        raise ValueError(f"{path} has no name of {corpus}: its files are called {example}.")
    return match.groupdict()


def read_transcripts(corpus: str, root: Path, folders: Sequence[str]) -> dict[str, str]:
    """The texts in the first of `folders` that exists, by the names of their files; {} and a warning if none exists."""
    for folder in folders:
        if (root / folder).is_dir():
            paths = [path for path in (root / folder).rglob("*.txt") if not path.name.startswith(".")]
            return {path.stem: read_text(path).strip() for path in paths}
    warnings.warn(f"{corpus} has no folder {' or '.join(folders)} in {root}: every text is None.", stacklevel=3)
    return {}
