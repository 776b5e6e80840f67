"""What annotators of a corpus said: the number of votes for each class."""

from collections.abc import Iterable, Mapping

from datasets import Features, Value


def vote_feature(label_names: Iterable[str]) -> Features:
    """The feature of the column `votes`: a number for each class, by its name."""
    return Features({name: Value("int64") for name in label_names})


def vote_count(cell: str, where: str, column: str) -> int:
    """The number of votes in a cell of a table; a ValueError refuses another one."""
    if not cell.isdecimal():
        raise ValueError(f"{where} has {cell!r} in column {column}: votes are whole numbers.")
    return int(cell)


def most_voted(votes: Mapping[str, int]) -> str | None:
    """The class with the most votes; None where several have as many."""
    most = max(votes.values())
    found = [name for name, count in votes.items() if count == most]
    return found[0] if len(found) == 1 else None
