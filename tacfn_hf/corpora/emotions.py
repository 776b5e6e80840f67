"""The names of emotions: one name for each in all corpora, and its synonyms."""

from collections.abc import Iterable, Sequence


# One name for one emotion in all corpora. A corpus' classes are indexed in this order.
EMOTIONS = (
    "neutral",
    "angry",
    "happy",
    "sad",
    "fearful",
    "disgusted",
    "surprised",
    "calm",
    "excited",
    "frustrated",
    "bored",
    "contempt",
    "other",
)
# What other corpora call them, in lower case; the words of three letters are those of IEMOCAP.
SYNONYMS = {
    "neu": "neutral",
    "neutrality": "neutral",
    "no emotion": "neutral",
    "ang": "angry",
    "anger": "angry",
    "hap": "happy",
    "happiness": "happy",
    "joy": "happy",
    "joyful": "happy",
    "sadness": "sad",
    "fea": "fearful",
    "fear": "fearful",
    "dis": "disgusted",
    "disgust": "disgusted",
    "sur": "surprised",
    "surprise": "surprised",
    "calmness": "calm",
    "exc": "excited",
    "excitement": "excited",
    "fru": "frustrated",
    "frustration": "frustrated",
    "boredom": "bored",
    "oth": "other",
    "others": "other",
}


def canonical_names(names: Sequence[str]) -> list[str]:
    """Names of emotions in the order of EMOTIONS."""
    return sorted(set(names), key=EMOTIONS.index)


def canonical_labels(labels: Iterable[str]) -> dict[str, str]:
    """
    A class name for each label of a corpus, in the order of the classes.

    If every label is a name in EMOTIONS or a synonym, in whatever case, the class names are those of EMOTIONS. Else the
    labels stay as they are, in the order given.
    """
    labels = list(labels)
    if not all(map(is_emotion, labels)):
        return {label: label for label in labels}
    names = {label: SYNONYMS.get(label.lower(), label.lower()) for label in labels}
    return dict(sorted(names.items(), key=lambda item: EMOTIONS.index(item[1])))


def is_emotion(label: str) -> bool:
    """Whether a label is a name in EMOTIONS or a synonym, in whatever case."""
    return SYNONYMS.get(label.lower(), label.lower()) in EMOTIONS
