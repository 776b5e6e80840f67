"""Files that are there under nearly the name that was given."""

import os
import unicodedata
from collections.abc import Callable, Collection
from pathlib import Path


def find_alike(path: str, key: Callable[[str], str], listings: dict[str, dict[str, str]]) -> str | None:
    """
    The path with each part that is not there replaced by one that is and has the same key; None where there is none.

    Args:
        path: an absolute path.
        key: what names that are alike have in common.
        listings: the names in the folders that were looked at, by their keys; it grows, and may be given again.
    """
    place, *parts = Path(path).parts
    for part in parts:
        if not os.path.exists(os.path.join(place, part)):
            if place not in listings:
                names = sorted(os.listdir(place)) if os.path.isdir(place) else []
                listings[place] = {key(name): name for name in names}
            part = listings[place].get(key(part))
            if part is None:
                return None
        place = os.path.join(place, part)
    return place


def one_form(name: str) -> str:
    """The name in one of the forms that Unicode has for it: an é is one character, or an e and its accent."""
    return unicodedata.normalize("NFC", name)


def file_near(path: str | os.PathLike, suffixes: Collection[str]) -> str | None:
    """
    A file that is there in place of one that is missing: called so but for case, Unicode's form, white space around it,
    backslashes for slashes, or another suffix of `suffixes` (in lower case) or one too few.
    """

    def key(name: str) -> str:
        return one_form(name).casefold().strip()

    path = os.path.abspath(os.fspath(path).replace("\\", "/"))
    found = find_alike(path, key, {})
    if found is not None:
        return found if os.path.isfile(found) else None
    folder = find_alike(os.path.dirname(path), key, {})
    if folder is None or not os.path.isdir(folder):
        return None
    stems = {key(os.path.basename(path)), key(os.path.splitext(os.path.basename(path))[0])}
    for name in sorted(os.listdir(folder)):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes and key(stem) in stems:
            return os.path.join(folder, name)
    return None
