"""The schema that every corpus comes in: each promise, and each error."""

import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, List, Value
from layout import write_compressed, write_text, write_wav

from tacfn_hf.corpora.schema import BadFilesError, build_corpus
from tacfn_hf.model.audio_tacfn import load_audio


NAMES = ["angry", "sad"]


def row(id_: str, audio: str | None = None, **more) -> dict:
    common = {"text": "So it is.", "label": "sad", "corpus_label": "S", "speaker": "f1", "group": "1"}
    return {"id": id_, "audio": audio} | common | more


def build(rows, **more):
    return build_corpus("Toy", rows, NAMES, **more)


def test_rows_come_in_the_schema(tmp_path):
    path = str(write_wav(tmp_path / "a.wav", seconds=0.5))
    rows = [row("a", path, take=1), row("b", label=None, text=None, speaker=None, take=None)]
    corpus = build(rows, columns={"take": Value("int64")})
    assert list(corpus) == ["train"]
    assert corpus["train"].features == {
        "id": Value("string"),
        "audio": Audio(decode=False),
        "text": Value("string"),
        "label": ClassLabel(names=NAMES),
        "corpus_label": Value("string"),
        "speaker": Value("string"),
        "group": Value("string"),
        "duration": Value("float64"),
        "take": Value("int64"),
    }
    lacking = {"audio": None, "text": None, "label": None, "speaker": None, "duration": None, "take": None}
    assert corpus["train"][:] == {
        "id": ["a", "b"],
        "audio": [{"bytes": None, "path": path}, lacking["audio"]],
        "text": ["So it is.", None],
        "label": [1, None],
        "corpus_label": ["S", "S"],
        "speaker": ["f1", None],
        "group": ["1", "1"],
        "duration": [0.5, None],
        "take": [1, None],
    }
    assert "label" in rows[0]
    assert rows[0]["label"] == "sad"  # the reader's rows are left alone


def test_what_is_counted_is_in_the_description():
    rows = [row("a"), row("b", text=None), row("c", label=None)]
    corpus = build(rows, left_out={"songs": 3, "films": 0, "without agreement": 1})
    assert corpus["train"].info.description.splitlines() == [
        "left out       3 songs, 1 without agreement",
        "without audio  3",
        "without text   1",
        "without label  1",
    ]
    assert build([row("a")])["train"].info.description.startswith("left out       none")


def test_splits_keep_their_rows_in_order():
    rows = [row("a", split="test", group="1"), row("b", group="2"), row("c", split="test", group="1")]
    corpus = build(rows, apart=["group"])
    assert {name: split["id"][:] for name, split in corpus.items()} == {"test": ["a", "c"], "train": ["b"]}
    assert corpus["test"].info.description == corpus["train"].info.description


def test_labels_may_be_lists():
    rows = [row("a", label=["sad", "angry"]), row("b", label=[]), row("c", label=None)]
    corpus = build(rows, label_feature=List(ClassLabel(names=NAMES)))
    assert corpus["train"]["label"][:] == [[1, 0], [], None]


def test_embedded_audio_is_kept_as_it_is():
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(4000), 16000, format="FLAC")
    embedded = {"bytes": sound.getvalue(), "path": "not/there.flac"}
    address = {"bytes": None, "path": "hf://datasets/someone/something/a.wav"}
    corpus = build([row("a", embedded), row("b", address), row("c", {**address, "path": None}, duration=3.0)])["train"]
    assert corpus["audio"][:2] == [embedded, address]
    assert corpus["duration"][:] == [0.25, None, 3.0]


def test_a_duration_that_is_given_is_not_read(tmp_path):
    broken = str(write_text(tmp_path / "a.wav", "no audio"))
    assert build([row("a", broken, duration=2.5)])["train"]["duration"][:] == [2.5]


@pytest.mark.parametrize("embedded", [True, False])
def test_audio_that_is_none(tmp_path, embedded):
    path = str(write_text(tmp_path / "a.wav", "no audio"))
    audio = {"bytes": b"no audio", "path": path} if embedded else path
    with pytest.raises(
        BadFilesError, match=r"1 of 1 audio files of Toy .* id 'a' \(.*a.wav\) can't be decoded as audio"
    ):
        build([row("a", audio)])


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize(
    ("name", "muxer", "codec", "options"),
    [
        ("a.mp4", "mp4", "aac", {}),
        ("aac.wav", "adts", "aac", {}),
        ("a.mp3", "mp3", "libmp3lame", {"write_xing": "0"}),
        ("a.opus", "ogg", "libopus", {}),
    ],
)
def test_the_duration_is_that_of_what_is_decoded(tmp_path, name, muxer, codec, options, embedded):
    path = write_compressed(tmp_path / name, muxer, codec, **options)
    audio = {"bytes": path.read_bytes(), "path": name} if embedded else str(path)
    seconds = build([row("a", audio)])["train"]["duration"][0]
    assert seconds == pytest.approx(len(load_audio(path, 48000)) / 48000, abs=1e-4)
    assert 0.4 < seconds < 0.7


def bad_files(folder: Path) -> dict[str, str]:
    """Files of several kinds that can't be opened, and what is to be said of each."""
    whole = write_wav(folder / "whole.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    write_text(folder / "empty.wav", "")
    write_text(folder / "text.flac", "no audio")
    write_text(folder / "pointer.mp3", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    return {
        "cut.wav": "is cut off",
        "empty.wav": "is empty: the file has 0 bytes",
        "text.flac": "can't be decoded",
        "pointer.mp3": "Git LFS pointer",
    }


def test_all_bad_files_are_named_at_once_each_with_its_reason(tmp_path):
    reasons = bad_files(tmp_path)
    rows = [row(name, str(tmp_path / name)) for name in ("whole.wav", *reasons)]
    with pytest.raises(BadFilesError, match="^4 of 5 audio files of Toy can't be opened") as caught:
        build([*rows, row("silent")])
    assert "\n" not in str(caught.value)
    for name, reason in reasons.items():
        assert re.search(rf"The audio of id '{name}' \([^)]*{name}\) [^;]*{reason}", str(caught.value))
        assert reason in caught.value.errors[name]
    assert caught.value.errors.keys() == reasons.keys()


def test_of_many_bad_files_some_are_named_and_all_are_counted(tmp_path):
    rows = [row(f"u{i}", str(write_text(tmp_path / f"{i}.wav", ""))) for i in range(12)]
    with pytest.raises(BadFilesError, match="^12 of 12 .*; and 2 more.$") as caught:
        build(rows)
    assert str(caught.value).count("is empty") == 10
    assert len(caught.value.errors) == 12


def test_a_missing_file_is_a_bad_one_where_no_option_says_otherwise(tmp_path):
    with pytest.raises(BadFilesError, match="^1 of 1 .* is not a file: there is nothing there.$"):
        build([row("a", str(tmp_path / "a.wav"))], allow_missing=None)


def test_missing_audio(tmp_path):
    rows = [row(f"{i}", str(tmp_path / f"{i}.wav")) for i in range(5)]
    write_wav(tmp_path / "1.wav")
    with pytest.raises(
        ValueError, match="^4 of 5 audio files of Toy are missing, the first is .*0.wav: .* say allow_missing=true"
    ):
        build(rows)
    with pytest.warns(UserWarning, match=r"^4 of 5 audio files of Toy are missing: .*0.wav, .*2.wav, .*3.wav, ...\.$"):
        corpus = build(rows, allow_missing=True)["train"]
    assert [audio is None for audio in corpus["audio"]] == [True, False, True, True, True]
    assert [seconds is None for seconds in corpus["duration"]] == [True, False, True, True, True]
    assert "without audio  4" in corpus.info.description
    with pytest.warns(UserWarning, match=r"^1 of 2 .* missing: .*0.wav\.$"):
        build(rows[:2], allow_missing=True)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(ValueError, match="1 of 1 audio files"):
        build([row("a", str(tmp_path / "folder.wav"))])


def test_where_all_audio_is_missing_the_root_is_wrong(tmp_path):
    rows = [row(f"{i}", str(tmp_path / "wav" / f"{i}.wav")) for i in range(3)]
    with pytest.raises(ValueError, match="^3 of 3 .*0.wav: check the root.$"):
        build([*rows, row("without")])
    with pytest.raises(ValueError, match="^3 of 3 .*0.wav: check the root, or say audio_root where the audio lies els"):
        build(rows, options=["audio_root"])


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize(
    "written", ["wav\\a.wav", "WAV/a.wav", "wav/A.WAV", "wav/a", "wav/a.mp3", "Wav\\A", "wav/A.flac"]
)
def test_a_missing_file_has_one_near(tmp_path, written, others):
    near = write_wav(tmp_path / "wav" / "a.wav")
    write_text(tmp_path / "wav" / "a.txt", "no audio")
    write_wav(tmp_path / "other.wav")
    rows = [row("a", f"{tmp_path}/{written}"), *[row("other", str(tmp_path / "other.wav"))][:others]]
    with pytest.raises(ValueError, match=rf"a.* \(there is {near}\): ") as caught:
        build(rows)
    assert ("allow_missing" in str(caught.value)) == bool(others)
    with pytest.warns(UserWarning, match=rf" \(there is {near}\)"):
        build(rows, allow_missing=True)


def test_clips_that_are_known_to_be_missing(tmp_path):
    rows = [row("a", str(tmp_path / "a.wav")), row("b", str(write_wav(tmp_path / "b.wav")))]
    with pytest.warns(UserWarning, match=r"^Toy: taken as utterances without audio, as known: a \(cut short\)\.$"):
        corpus = build(rows, known_missing={"a": "cut short"})["train"]
    assert corpus["audio"][0] is None
    assert corpus["duration"][1] == 0.1
    assert "without audio  1" in corpus.info.description


def test_counts_that_are_not_the_published_ones_warn():
    published = {"utterances": (1, 2), "speakers": (1, 1)}
    with pytest.warns(UserWarning, match="Toy") as caught:
        build([row("a")], published=published)
    assert [str(warning.message) for warning in caught] == ["Toy, utterances: 1 were found, 2 are published."]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build([row("a")], published={"utterances": (1, 1)})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "^Toy has no utterance: 7 songs left out.$"),
        ([row("a"), row("a")], "^The id 'a' occurs twice in Toy: every utterance needs an id of its own.$"),
        (
            [row("a", label="merry")],
            "^The label of id 'a' in Toy is 'merry': the labels that are known are angry, sad.$",
        ),
        ([row("a", label=["sad", "merry"])], "is 'merry'"),
        ([row("a"), row("b", split="test", speaker="f2")], "^Toy has the group '1' in train and in test.$"),
        ([row("a"), row("b", split="test", group="2")], "^Toy has the speaker 'f1' in train and in test.$"),
    ],
)
def test_rows_that_can_not_be(rows, message):
    with pytest.raises(ValueError, match=message):
        build(rows, left_out={"songs": 7})


def test_only_what_is_said_is_kept_apart():
    rows = [row("a"), row("b", split="test", group="2"), row("c", split="dev", group="3", speaker=None)]
    assert set(build(rows, apart=["group"])) == {"train", "test", "dev"}
    rows = [row("a", speaker=None), row("b", split="test", group="2", speaker=None)]
    assert set(build(rows)) == {"train", "test"}  # unknown speakers are not one speaker
