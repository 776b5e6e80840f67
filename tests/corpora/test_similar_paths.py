"""Files that are there under nearly the name that was given."""

import unicodedata

import pytest

from tacfn_hf.corpora.similar_paths import file_near, find_alike, one_form


def test_a_path_that_is_there_is_itself(tmp_path):
    for form in ("NFC", "NFD"):  # also where another one is alike
        (tmp_path / unicodedata.normalize(form, "é")).mkdir()
        (tmp_path / unicodedata.normalize(form, "é") / "a.wav").touch()
    for form in ("NFC", "NFD"):
        path = f"{tmp_path}/{unicodedata.normalize(form, 'é')}/a.wav"
        assert find_alike(path, one_form, {}) == path


@pytest.mark.parametrize(
    ("there", "wanted", "near"),
    [
        ("Wav/Zoë.wav", "wav/ZOË.wav", True),
        ("Wav/Zoe\u0308.wav", "wav\\zo\u00eb", True),
        ("wav/a.wav", "wav/a.wav ", True),
        ("take.1.wav", "take.1", True),
        ("take.1.wav", "take.2", False),
        ("take.wav", "take.1", True),  # one more part after a dot is taken for a suffix
        ("a.txt", "a.wav", False),  # no audio
        ("b.wav", "a.wav", False),
        ("x/a.wav", "y/a.wav", False),
        ("a.wav/b.wav", "A.wav", False),  # a folder
    ],
)
def test_what_is_near(tmp_path, there, wanted, near):
    path = tmp_path / there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert file_near(f"{tmp_path}/{wanted}", {".wav", ".flac"}) == (str(path) if near else None)
