"""One name for each emotion."""

from tacfn_hf.corpora.emotions import EMOTIONS, SYNONYMS, canonical_labels, canonical_names


def test_names_are_in_one_order():
    assert canonical_names(["sad", "neutral", "angry", "sad"]) == ["neutral", "angry", "sad"]


def test_labels_that_are_all_known_become_canonical():
    names = canonical_labels(["Sadness", "joy", "ANG", "happiness", "other"])
    assert names == {"ANG": "angry", "joy": "happy", "happiness": "happy", "Sadness": "sad", "other": "other"}
    assert list(names.values()) == ["angry", "happy", "happy", "sad", "other"]
    assert canonical_labels(["sadness", "3", "Joy"]) == {"sadness": "sadness", "3": "3", "Joy": "Joy"}
    assert list(canonical_labels(["b", "a"])) == ["b", "a"]


def test_synonyms_are_of_emotions_and_none_themselves():
    assert set(SYNONYMS.values()) <= set(EMOTIONS)
    assert not set(SYNONYMS) & set(EMOTIONS)
    assert all(word == word.lower() for word in SYNONYMS)
