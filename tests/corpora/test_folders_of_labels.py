"""The user's own corpus without a table: audio files in a folder for each label."""

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.folder import load_folder


def test_folders_of_labels(tmp_path):
    for name in ("anger/1.wav", "anger/2.FLAC", "Sad/1.wav"):
        write_wav(tmp_path / name)
    for name in ("anger/1.txt", "readme.md", ".git/config.wav", "Sad/._1.wav"):
        write_text(tmp_path / name, "no audio")
    corpus = load_folder(tmp_path)["train"]
    assert corpus[0] == {
        "id": "Sad/1",
        "audio": {"bytes": None, "path": str(tmp_path / "Sad" / "1.wav")},
        "text": None,
        "label": 1,
        "corpus_label": "Sad",
        "speaker": None,
        "group": "Sad/1",
        "duration": 0.1,
    }
    assert corpus["id"][:] == ["Sad/1", "anger/1", "anger/2"]
    assert corpus.features["label"].names == ["angry", "sad"]
    assert "2 files that are no audio" in corpus.info.description


def test_folders_of_splits(tmp_path):
    for name in ("train/joy/1.wav", "val/joy/1.wav", "test/uncertain/1.wav"):
        write_wav(tmp_path / name)
    corpus = load_folder(tmp_path)
    assert {name: split["id"][:] for name, split in corpus.items()} == {
        "test": ["test/uncertain/1"],
        "train": ["train/joy/1"],
        "validation": ["val/joy/1"],
    }
    assert corpus["train"].features["label"].names == ["joy", "uncertain"]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "has neither a table nor audio files: it must be a folder with a table"),
        (["sad/1.txt"], {}, "has neither a table nor audio files"),
        (["1.wav"], {}, "1.wav has no label by its folder: all audio must be in .*/<label>, or all in"),
        (["sad/1.wav", "train/sad/1.wav"], {}, "train/sad/1.wav has no label by its folder"),
        (["train/a/sad/1.wav"], {}, "1.wav has no label by its folder"),
        (
            ["train/sad/1.wav", "held_out/sad/1.wav"],
            {},
            "held_out/sad/1.wav has the split 'held_out': the known ones are tr",
        ),
        (["train/1.wav", "test/1.wav"], {}, "no table and no folders of labels in these"),
        (
            ["sad/1.wav", "sad/1.flac"],
            {},
            "The id 'sad/1' occurs twice in .*: every utterance needs an id of its own.$",
        ),
        (["sad/1.wav"], {"speaker_column": "who"}, r"speaker_column is 'who', but .* has no table \(.*.csv"),
        (["sad/1.wav"], {"text_column": "words"}, "text_column is 'words', but .* has no table"),
        (["sad/1.wav"], {"audio_root": "/tmp"}, "audio_root is '/tmp', but .* has no table"),
        (["sad/1.wav"], {"encoding": "latin-1"}, "encoding is 'latin-1', but .* has no table"),
    ],
)
def test_folders_that_can_not_be(tmp_path, names, options, message):
    for name in names:
        write_wav(tmp_path / name) if not name.endswith("txt") else write_text(tmp_path / name, "")
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path, **options)


def test_a_label_whose_folder_has_no_audio_is_named(tmp_path):
    for label in ("happy", "angry", "sad"):
        write_wav(tmp_path / label / "a.wav", seconds=0.25)
    (tmp_path / "sad" / "a.wav").rename(tmp_path / "sad" / "a.xyz")
    with pytest.warns(UserWarning, match="has 1 folders with files but no audio by their suffixes, .* labels: sad"):
        corpus = load_folder(tmp_path)["train"]
    assert corpus.features["label"].names == ["angry", "happy"]
