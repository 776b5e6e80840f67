"""The counts of a corpus, and what is printed of them."""

import re

import pytest
from datasets import ClassLabel, List
from layout import write_text, write_wav

from tacfn_hf.corpora.folder import load_folder
from tacfn_hf.corpora.inspection import format_report, inspect_corpus
from tacfn_hf.corpora.schema import build_corpus


TABLE = """audio,text,label,actor,scene,part
wav/a.wav,Oh.,joy,f1,1,train
wav/b.wav,,joy,f1,1,train
wav/c.wav,No.,anger,f2,1,train
wav/d.wav,No.,,f3,2,dev
wav/e.wav,So.,anger,,2,dev
"""


def test_what_is_there_is_counted(tmp_path):
    for name in "abcd":  # e is missing
        write_wav(tmp_path / "wav" / f"{name}.wav", seconds=9)
    write_text(tmp_path / "table.csv", TABLE)
    options = {"speaker_column": "actor", "group_column": "scene", "split_column": "part"}
    with pytest.warns(UserWarning, match="1 of 5 audio files"):
        report = inspect_corpus(load_folder(tmp_path, **options, allow_missing=True))
    assert report == {
        "splits": {
            "train": {
                "utterances": 3,
                "hours": pytest.approx(27 / 3600),
                "unknown_durations": 0,
                "labels": {"angry": 1, "happy": 2},
                "speakers": {"f1": 2, "f2": 1},
                "groups": {"1": 3},
                "without_audio": [],
                "without_text": ["wav/b"],
            },
            "validation": {
                "utterances": 2,
                "hours": pytest.approx(9 / 3600),
                "unknown_durations": 0,
                "labels": {"angry": 1, "happy": 0, "(no label)": 1},
                "speakers": {"(not known)": 1, "f3": 1},
                "groups": {"2": 2},
                "without_audio": ["wav/e"],
                "without_text": [],
            },
        },
        "description": "left out       none\nwithout audio  1\nwithout text   1\nwithout label  1",
    }
    lines = [re.split(r"\s{2,}", line) for line in format_report(report).splitlines()]
    for line in (
        ["", "train", "validation", "all"],
        ["utterances", "3", "2", "5"],
        ["hours", "0.01", "0.00", "0.01"],
        ["unknown length", "0", "0", "0"],
        ["speakers", "2", "1", "3"],
        ["groups", "1", "1", "2"],
        ["without audio", "0", "1", "1"],
        ["without text", "1", "0", "1"],
        ["angry", "1", "1", "2"],
        ["(no label)", "0", "1", "1"],
        ["speaker (train)", "1", "1.5", "2"],
        ["group (validation)", "2", "2", "2"],
        ["f1", "2", "0", "2"],
        ["(not known)", "0", "1", "1"],
        ["without audio: wav/e"],
        ["without text: wav/b"],
        ["left out", "none"],
    ):
        assert line in lines, line


def rows(number: int, **more) -> list[dict]:
    common = {"text": None, "audio": None, "label": "sad", "corpus_label": "s", "speaker": None}
    return [common | {"id": f"u{i}", "group": f"g{i}"} | more for i in range(number)]


def test_lists_stay_short():
    corpus = build_corpus("Toy", [row | {"speaker": row["group"]} for row in rows(31)], ["sad"])
    printed = format_report(inspect_corpus(corpus))
    assert "without text: u0, u1, u2, u3, u4 and 26 more" in printed
    assert "speaker (train)    1" in printed
    assert "g3 " not in printed
    corpus = build_corpus("Toy", [row | {"speaker": row["group"]} for row in rows(30)], ["sad"])
    assert "g3 " in format_report(inspect_corpus(corpus))


def test_speakers_that_are_not_known_are_no_speaker():
    printed = format_report(inspect_corpus(build_corpus("Toy", rows(2), ["sad"])))
    assert re.search("^speakers +0$", printed, re.MULTILINE)
    assert "speaker (" not in printed
    assert "(not known)" not in printed


def test_each_of_several_labels_counts():
    labels = [["sad", "angry"], ["sad"], [], None]
    data = [row | {"label": label} for row, label in zip(rows(4), labels)]
    feature = List(ClassLabel(names=["angry", "sad", "happy"]))
    corpus = build_corpus("Toy", data, ["angry", "sad", "happy"], label_feature=feature)
    counts = inspect_corpus(corpus)["splits"]["train"]["labels"]
    assert counts == {"angry": 1, "sad": 2, "happy": 0, "(no label)": 2}
    assert list(counts) == ["angry", "sad", "happy", "(no label)"]


def test_embedded_audio_is_audio():
    audio = [
        {"bytes": b"...", "path": None},
        {"bytes": None, "path": "hf://a.wav"},
        {"bytes": None, "path": None},
        None,
    ]
    data = [row | {"audio": cell, "duration": 1.0} for row, cell in zip(rows(4), audio)]
    assert inspect_corpus(build_corpus("Toy", data, ["sad"]))["splits"]["train"]["without_audio"] == ["u2", "u3"]
