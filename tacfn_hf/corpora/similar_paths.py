"""Finds files whose names differ a little from the name that was given: in case, form of Unicode, suffix or slashes."""

import os
import unicodedata
from collections.abc import Callable, Collection
from pathlib import Path


def one_form(name: str) -> str:
    """The name in Unicode's form NFC. An é may be one character, or an e and its accent: here it is one character."""
    return unicodedata.normalize("NFC", name)


def find_alike(path: str, key: Callable[[str], str], listings: dict[str, dict[str, str]]) -> str | None:
    """
    The path, with each part that does not exist replaced by one that exists and has the same key; None if there is no
    such path.

    Args:
        path: an absolute path.
        key: a function of names. Names with the same key count as alike.
        listings: a cache of the folders that were looked at. Start with {} and give it again.
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


def file_near(path: str | os.PathLike, suffixes: Collection[str]) -> str | None:
    """
    A file that exists in place of a missing one; None if there is none. The names may differ in case, in the form of
    Unicode, in white space around them, and in backslashes for slashes. The file's suffix may be any of `suffixes`
    (in lower case), also where the missing one has another or none.
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
