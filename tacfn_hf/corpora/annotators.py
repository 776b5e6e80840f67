"""What annotators of a corpus said: the number of votes for each class."""

import warnings
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from datasets import Features, Value


def vote_feature(label_names: Iterable[str]) -> Features:
    """The feature of the column `votes`: a number for each class, by its name."""
    return Features({name: Value("int64") for name in label_names})


def vote_count(cell: str, where: str, column: str) -> int:
    """The number of votes in a cell of a table; a ValueError refuses another one."""
    if not cell.isdecimal():
        raise ValueError(f"{where} has {cell!r} in column {column}: votes are whole numbers.")
    return int(cell)


def count_votes(words: Iterable[str], classes: Mapping[str, str | None], names: Sequence[str]) -> dict[str, int] | None:
    """
    The number of raters for each of `names`; None where no word is for one of these.

    Args:
        words: the word of each rater.
        classes: the class of each word that is known.
    """
    said = [classes.get(word) for word in words]
    votes = {name: said.count(name) for name in names}
    return votes if any(votes.values()) else None


def warn_of_words(corpus: str, words: Iterable[Iterable[str]], known: Container[str]) -> None:
    """Warns of the words of raters, of each utterance, that are not among those that are known."""
    unknown = Counter(word for of_one in words for word in of_one if word not in known)
    if unknown:
        warnings.warn(
            f"{corpus}: words of raters that are not known do not count as votes: {dict(unknown)}.", stacklevel=3
        )


def most_voted(votes: Mapping[str, int]) -> str | None:
    """The class with the most votes; None where several have as many."""
    most = max(votes.values())
    found = [name for name, count in votes.items() if count == most]
    return found[0] if len(found) == 1 else None
