"""Segments from files of each kind, and sentences for those that can't be read."""

import json
from pathlib import Path

import pytest
from layout import write_table, write_text

from tacfn_hf.recordings.segment_files import read_segments


SRT = """1
00:00:01,500 --> 00:00:02,000
<i>Hello</i>
there!

2
01:00:00,000 --> 01:00:01,250
{\\an8}Bye &amp; thanks.
"""
VTT = """WEBVTT

NOTE a comment

intro
00:01.500 --> 00:02.000 align:start
<v Mary Ann>Hello <00:01.700>there!</v>

01:00:00.000 --> 01:00:01.250
Bye &amp; thanks.
"""
RTTM = """;; a comment
SPEAKER call 1 1.50 0.50 <NA> <NA> A <NA> <NA>
SPEAKER call 1 3600.0 1.25 <NA> <NA> B <NA> <NA>
"""
TIMES = [(1.5, 2.0), (3600.0, 3601.25)]
TEXTS = ["Hello there!", "Bye & thanks."]


def whisper(path: Path) -> None:
    segments = [
        {"id": i, "start": a, "end": b, "text": f" {text}"} for i, ((a, b), text) in enumerate(zip(TIMES, TEXTS))
    ]
    path.write_text(json.dumps({"text": "...", "segments": segments, "language": "en"}))


def whisperx(path: Path) -> None:
    segments = [
        {"start": a, "end": b, "text": text, "speaker": speaker, "words": []}
        for (a, b), text, speaker in zip(TIMES, TEXTS, "AB")
    ]
    path.write_text(json.dumps({"segments": segments, "word_segments": []}))


def table(path: Path) -> None:
    rows = [(str(a), str(b), text, speaker) for (a, b), text, speaker in zip(TIMES, TEXTS, "AB")]
    write_table(path, ("start", "end", "text", "speaker"), rows)


KINDS = {
    "a.srt": (lambda path: write_text(path, SRT), TEXTS, [None, None]),
    "a.vtt": (lambda path: write_text(path, VTT), TEXTS, ["Mary Ann", None]),
    "a.rttm": (lambda path: write_text(path, RTTM), [None, None], ["A", "B"]),
    "whisper.json": (whisper, TEXTS, [None, None]),
    "whisperx.json": (whisperx, TEXTS, ["A", "B"]),
    "a.csv": (table, TEXTS, ["A", "B"]),
    "a.parquet": (table, TEXTS, ["A", "B"]),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_segments_of_each_kind(name, tmp_path):
    write, texts, speakers = KINDS[name]
    write(tmp_path / name)
    segments = read_segments(tmp_path / name)
    assert [(segment["start"], segment["end"]) for segment in segments] == TIMES
    assert [segment.get("text") for segment in segments] == texts
    assert [segment.get("speaker") for segment in segments] == speakers


def test_another_encoding_is_named_and_taken(tmp_path):
    text = SRT.replace("Hello", "Olé")
    (tmp_path / "a.srt").write_bytes(text.encode("cp1252"))
    with pytest.raises(UnicodeError, match="cp1252"):
        read_segments(tmp_path / "a.srt")
    assert read_segments(tmp_path / "a.srt", "cp1252")[0]["text"] == "Olé there!"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.srt", SRT.replace("00:00:02,000", "00:00:01,500"), "Segment 0 is from 1.5 to 1.5 s: it must start at 0"),
        ("a.srt", "Hello\n", "a.srt has no segment"),
        ("a.rttm", RTTM.replace("call 1 3600", "other 1 3600"), "is of several recordings, call, other: give a file"),
        ("a.rttm", "SPEAKER call 1 soon 0.5\n", "line 1, is 'SPEAKER call 1 soon 0.5': it must be SPEAKER file"),
        ("a.csv", "begin,end\n1,2\n", "has no column 'start'; it has begin, end"),
        ("a.csv", "start,end\nsoon,2\n", "Row 0 of .*: start, end and channel must be numbers"),
        ("a.json", '{"text": "hi"}', "must have a list of segments, as whisper and whisperX write it"),
        ("a.ass", "x", "must be one of .json, .rttm, .srt, .vtt"),
    ],
)
def test_what_is_refused(name, content, sentence, tmp_path):
    write_text(tmp_path / name, content)
    with pytest.raises(ValueError, match=sentence):
        read_segments(tmp_path / name)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(ValueError, match="are missing: there is no such file"):
        read_segments(tmp_path / "a.srt")


def test_nothing_of_a_subtitle_file_is_lost(tmp_path):
    """Without milliseconds, without empty lines between cues, with empty lines in a text, with signs in it."""
    lines = ["1", "00:00:01 --> 00:00:02", "if a < b", "", "and c > d", "2", "00:00:03,5 --> 00:00:04,000", "bye"]
    write_text(tmp_path / "a.srt", "\n".join(lines))
    assert read_segments(tmp_path / "a.srt") == [
        {"start": 1.0, "end": 2.0, "text": "if a < b and c > d"},
        {"start": 3.5, "end": 4.0, "text": "bye"},
    ]
    note = "WEBVTT\n\nNOTE\n00:01.000 --> 00:02.000\nnot a cue\n\n00:03.000 --> 00:04.000\n<v A>one <v B>two\n"
    write_text(tmp_path / "a.vtt", note)
    assert read_segments(tmp_path / "a.vtt") == [{"start": 3.0, "end": 4.0, "text": "one two"}]
    write_text(tmp_path / "a.srt", "1\n00:00:01 --> 2 s\nHello\n")
    with pytest.raises(ValueError, match="line 2, is '00:00:01 --> 2 s': times must be such as 00:01:02,500"):
        read_segments(tmp_path / "a.srt")


def test_channels_of_rttm(tmp_path):
    write_text(tmp_path / "a.rttm", RTTM.replace("call 1 3600", "call 2 3600"))
    assert [segment["channel"] for segment in read_segments(tmp_path / "a.rttm")] == [0, 1]


def test_channels_are_numbers(tmp_path):
    write_table(tmp_path / "a.csv", ("start", "end", "channel"), [("0", "1", "1")])
    assert read_segments(tmp_path / "a.csv") == [{"start": 0.0, "end": 1.0, "channel": 1}]
