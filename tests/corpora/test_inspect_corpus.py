"""The counts of a corpus, and the command that prints them."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import ClassLabel, List
from layout import write_text, write_wav

from tacfn_hf.corpora.inspection import format_report, inspect_corpus
from tacfn_hf.corpora.schema import BadFilesError, build_corpus


ROOT = Path(__file__).parents[2]
TABLE = """audio,text,label,actor,scene,part
wav/a.wav,Oh.,joy,f1,1,train
wav/b.wav,,joy,f1,1,train
wav/c.wav,No.,anger,f2,1,train
wav/d.wav,No.,,f3,2,dev
wav/e.wav,So.,anger,,2,dev
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for name in "abcd":  # e is missing
        write_wav(folder / "wav" / f"{name}.wav", seconds=9)
    write_text(folder / "table.csv", TABLE)
    return folder


def test_the_command_counts_what_is_there(root, tmp_path):
    options = ["speaker_column=actor", "group_column=scene", "split_column=part"]
    done = subprocess.run(
        [sys.executable, "scripts/inspect_corpus.py", "folder", root, *options, "--json", tmp_path / "report.json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    warning = f"1 of 5 audio files of {root} are missing: {root / 'wav' / 'e.wav'}."
    description = "left out       none\nwithout audio  1\nwithout text   1\nwithout label  1"
    assert report == {
        "corpus": "folder",
        "root": str(root),
        "options": {
            "speaker_column": "actor",
            "group_column": "scene",
            "split_column": "part",
            "allow_missing": True,
            "skip_bad_files": True,
        },
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
        "description": description,
        "warnings": [warning],
    }
    lines = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines()]
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
        [f"Warning: {warning}"],
    ):
        assert line in lines, line
    assert description in done.stdout


def test_files_that_can_not_be_opened_are_counted_and_named(tmp_path, monkeypatch, capsys):
    for i in range(3):
        write_wav(tmp_path / "sad" / f"{i}.wav")
        write_text(tmp_path / "angry" / f"{i}.wav", "no audio" * i)
    write_wav(tmp_path / "angry" / "3.wav")
    main = runpy.run_path(str(ROOT / "scripts" / "inspect_corpus.py"))["main"]
    main(["folder", str(tmp_path), "--json", str(tmp_path / "report.json")])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["splits"]["train"]["labels"] == {"angry": 1, "sad": 3}
    assert "3 whose audio can't be opened (angry/0, angry/1, angry/2)" in report["description"]
    (warning,) = report["warnings"]
    assert warning.startswith(f"3 of 7 audio files of {tmp_path} can't be opened, and their rows are left out: ")
    assert all(f"{i}.wav" in warning for i in range(3))
    assert "is empty" in warning
    assert warning in capsys.readouterr().out
    with pytest.raises(BadFilesError, match="^3 of 7 "):
        main(["folder", str(tmp_path), "skip_bad_files=false"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody", "{root}"], "There is no corpus 'nobody'"),
        (["folder", "{root}", "fold"], "The option 'fold' is not of the form name=value."),
        (["folder", "{root}", "allow_missing=false"], "1 of 5 audio files of {root} are missing"),
        (["folder", "{root}", "--json", "{root}/nowhere/report.json"], "No such file or directory"),
    ],
)
def test_errors_are_one_sentence(root, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr("sys.argv", ["inspect_corpus.py", *(argument.format(root=root) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "scripts" / "inspect_corpus.py"), run_name="__main__")
    assert caught.value.code == 2
    (printed,) = capsys.readouterr().err.splitlines()[-1:]
    assert printed.startswith("inspect_corpus.py: error: ")
    assert message.format(root=root) in printed


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
