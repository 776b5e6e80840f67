"""Corpora by name, and their options from Python and from a command line."""

import pytest
from datasets import DatasetDict
from layout import write_text, write_wav

from tacfn_hf.corpora import CORPORA, corpus_options, load_corpus, parse_options


@pytest.fixture
def root(tmp_path):
    write_wav(tmp_path / "a.wav")
    write_text(tmp_path / "table.csv", "audio,words,label\na.wav,Oh.,sad\nb.wav,No.,angry\n")
    return tmp_path


def test_options_reach_the_reader(root):
    with pytest.warns(UserWarning, match="1 of 2 audio files"):
        corpus = load_corpus("folder", root, **parse_options("folder", ["text_column=words", "allow_missing=True"]))
    assert isinstance(corpus, DatasetDict)
    assert corpus["train"]["text"][:] == ["Oh.", "No."]


def test_options_of_a_corpus():
    options = corpus_options("folder")
    assert "root" not in options
    assert options["allow_missing"].default is False
    assert options["text_column"].default == "text"
    assert not corpus_options("ravdess")


@pytest.mark.parametrize("name", CORPORA)
def test_every_option_has_a_default_that_a_command_line_can_replace(name):
    for option, parameter in corpus_options(name).items():
        assert parameter.default is None or isinstance(parameter.default, str | bool), option


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_says_what_is_wrong_with_its_root(name, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        load_corpus(name, str(tmp_path / "nowhere"))


def test_assignments():
    assert parse_options("folder", []) == {}
    assert parse_options("folder", ["allow_missing=FALSE", "table=a=b.csv", "text_column=", "label_column=true"]) == {
        "allow_missing": False,
        "table": "a=b.csv",
        "text_column": "",
        "label_column": "true",
    }


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("allow_missing", "^The option 'allow_missing' is not of the form name=value.$"),
        ("allow_missing=yes", "^The option allow_missing is 'yes': it must be true or false.$"),
    ],
)
def test_assignments_that_are_none(assignment, message):
    with pytest.raises(ValueError, match=message):
        parse_options("folder", [assignment])


def test_names_and_options_that_are_not_known(tmp_path):
    for function in (corpus_options, lambda name: parse_options(name, []), lambda name: load_corpus(name, tmp_path)):
        with pytest.raises(ValueError, match="^There is no corpus 'nobody': the known ones are .*ravdess"):
            function("nobody")
    with pytest.raises(ValueError, match="^folder has no option 'fold': it has table, audio_column"):
        load_corpus("folder", tmp_path, **parse_options("folder", ["fold=1"]))
    with pytest.raises(ValueError, match="^ravdess has no option 'fold': it has none.$"):
        load_corpus("ravdess", tmp_path, fold="1")
