"""`annotate`, its files, folders that go on, and the commands."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
from layout import write_table, write_text
from safetensors.torch import load_file, save_file
from transformers import pipeline

from tacfn_hf.cli.main import main
from tacfn_hf.recordings import folders
from tacfn_hf.recordings.segment_files import read_segments
from tacfn_hf.recordings.timeline import annotate
from tacfn_hf.recordings.timeline_files import write_timeline


def test_each_found_segment_is_answered_as_the_same_clip_alone(recognizer, spoken):
    path, times = spoken
    table = annotate(recognizer, path)
    samples, rate = soundfile.read(path, dtype="float32")
    assert len(table) == len(times)
    assert table["text"].isna().all()
    for _, row in table.iterrows():
        clip = samples[round(row["start"] * rate) : round(row["end"] * rate)]
        alone = recognizer({"audio": clip, "sampling_rate": rate})
        assert row["label"] == alone["scores"][0]["label"]
        assert row["score"] == pytest.approx(alone["scores"][0]["score"], abs=1e-5)
        assert row["beta"] == 1.0


def test_given_segments_keep_their_words_and_speakers_and_come_in_time(recognizer, spoken):
    segments = [{"start": 2.0, "end": 3.0, "text": "Hello there!", "speaker": "B"}, {"start": 0.5, "end": 1.5}]
    table = annotate(recognizer, spoken[0], segments)
    assert table["start"].tolist() == [0.5, 2.0]
    assert "channel" not in table
    assert table["speaker"].tolist() == [None, "B"]
    assert table["beta"][0] == 1.0 > table["beta"][1]


@pytest.mark.parametrize("options", [{}, {"window_seconds": 2.0}])
def test_each_channel_is_a_speaker(recognizer, spoken, tmp_path, options):
    """Two of them, of whom the second one comes later: as two recordings."""
    voice, rate = soundfile.read(spoken[0], dtype="float32")
    late = np.concatenate([np.zeros(rate // 2, np.float32), voice[: -rate // 2]])
    soundfile.write(tmp_path / "two.flac", np.stack([voice, late], axis=1), rate)
    table = annotate(recognizer, tmp_path / "two.flac", split_channels=True, **options)
    assert table["start"].is_monotonic_increasing
    write_timeline(table, tmp_path / "two.srt")
    cues = read_segments(tmp_path / "two.srt")
    assert [of["text"].split("] ")[1] for of in cues] == [f"{speaker}:" for speaker in table["speaker"]]
    for channel, sound in enumerate((voice, late)):
        soundfile.write(tmp_path / "one.flac", sound, rate)
        alone = annotate(recognizer, tmp_path / "one.flac", **options)
        own = table[table["speaker"] == f"channel {channel}"].reset_index(drop=True)
        assert (own["channel"] == channel).all()
        pd.testing.assert_frame_equal(
            own.drop(columns=["channel", "speaker"]), alone.drop(columns="speaker"), atol=1e-5
        )
    with pytest.raises(ValueError, match="has one channel: split_channels is for recordings with a speaker on each"):
        annotate(recognizer, spoken[0], split_channels=True)


def test_windows_and_a_recording_without_speech(recognizer, spoken, tmp_path):
    assert len(annotate(recognizer, spoken[0], window_seconds=2.0, hop_seconds=1.0)) > 5
    soundfile.write(tmp_path / "silence.wav", np.zeros(32000), 16000)
    empty = annotate(recognizer, tmp_path / "silence.wav")
    assert len(empty) == 0
    for suffix in ("csv", "jsonl", "parquet", "srt", "png", "html"):
        write_timeline(empty, tmp_path / f"empty.{suffix}", tmp_path / "silence.wav")
        assert (tmp_path / f"empty.{suffix}").exists()


def test_a_page_that_can_not_be_written_costs_no_table(model_folder, spoken, tmp_path, capsys):
    voice, rate = soundfile.read(spoken[0], dtype="float32")
    soundfile.write(tmp_path / "a.wav", np.stack([voice, -voice], axis=1), rate)
    outputs = [str(tmp_path / f"a.{suffix}") for suffix in ("html", "csv")]
    options = ["--model", str(model_folder), "--use_cpu", "--split_channels", "true", "--output", *outputs]
    with pytest.raises(SystemExit):
        main(["annotate", str(tmp_path / "a.wav"), *options])
    assert "channels that cancel each other" in capsys.readouterr().err
    assert len(pd.read_csv(outputs[1])) == 6


def test_arguments_that_exclude_each_other(recognizer, spoken):
    with pytest.raises(ValueError, match="segments and window_seconds are both given"):
        annotate(recognizer, spoken[0], [{"start": 0, "end": 1}], window_seconds=2)
    with pytest.raises(ValueError, match="segments and split_channels are both given"):
        annotate(recognizer, spoken[0], [{"start": 0, "end": 1}], split_channels=True)
    with pytest.raises(ValueError, match="hop_seconds is given without window_seconds"):
        annotate(recognizer, spoken[0], hop_seconds=2)


def test_files_of_a_timeline(recognizer, spoken, tmp_path):
    segments = [{"start": 0.5, "end": 1.5, "text": "Hello there!", "speaker": "B"}, {"start": 2.0, "end": 3.25}]
    table = annotate(recognizer, spoken[0], segments)
    for suffix in ("csv", "jsonl", "parquet", "srt", "png"):
        write_timeline(table, tmp_path / f"timeline.{suffix}")
    for read, suffix in ((pd.read_csv, "csv"), (pd.read_parquet, "parquet")):
        again = read(tmp_path / f"timeline.{suffix}")
        assert again["label"].tolist() == table["label"].tolist()
        assert np.allclose(again["beta"], table["beta"])
    lines = [json.loads(line) for line in (tmp_path / "timeline.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == ["Hello there!", None]
    for name in ("timeline.srt", "timeline.csv"):  # what was written can be given again
        again = read_segments(tmp_path / name)
        assert [(of["start"], of["end"]) for of in again] == [(0.5, 1.5), (2.0, 3.25)]
    assert (
        f"[{table['label'][0]} {table['score'][0]:.0%}] B: Hello there!"
        in read_segments(tmp_path / "timeline.srt")[0]["text"]
    )
    with pytest.raises(ValueError, match="must be one of .csv, .jsonl, .parquet, .srt, .png"):
        write_timeline(table, tmp_path / "timeline.txt")


@pytest.fixture
def many(spoken, tmp_path):
    folder = tmp_path / "many"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.wav", "deep/b.wav"):
        shutil.copy(spoken[0], folder / name)
    (folder / "broken.mp3").write_bytes(b"not audio")
    return folder


def test_a_folder_goes_on_where_it_was_interrupted(recognizer, many, tmp_path, monkeypatch):
    made, real = [], folders.annotate

    def interrupted(pipeline, file, **options):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(file.name)
        return real(pipeline, file, **options)

    monkeypatch.setattr(folders, "annotate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folders.annotate_folder(recognizer, many, tmp_path / "out", window_seconds=3.0)
    made.append("")  # from here on all are made
    report = folders.annotate_folder(recognizer, many, tmp_path / "out", window_seconds=3.0)
    assert made == ["a.wav", "", "broken.mp3", "b.wav"]  # nothing twice
    by_name = report.set_index("recording")
    assert by_name["segments"].to_dict()["a"] == by_name["segments"].to_dict()["deep/b"] > 0
    assert "can't be decoded" in by_name["error"]["broken"]
    assert {path.name for path in (tmp_path / "out").rglob("*.*")} == {
        "annotation.json", "a.csv", "a.srt", "a.png", "b.csv", "b.srt", "b.png",
    }  # fmt: skip
    (many / "a.mp3").write_bytes(b"not audio")
    with pytest.raises(ValueError, match="several audio files of the name .*a: their timelines would be one"):
        folders.annotate_folder(recognizer, many, tmp_path / "out", window_seconds=3.0)
    with pytest.raises(ValueError, match="holds timelines with window_seconds 3.0, not 2.0: choose another output_dir"):
        folders.annotate_folder(recognizer, many, tmp_path / "out", window_seconds=2.0)


def test_a_folder_is_not_answered_with_what_was_made_of_something_else(model_folder, many, tmp_path, caplog):
    """Another recording or another model under the same name; and files that are not the command's stay."""
    (many / "broken.mp3").unlink()
    model, out = shutil.copytree(model_folder, tmp_path / "model"), tmp_path / "out"

    def annotated() -> pd.DataFrame:
        recognizer = pipeline("multimodal-emotion-recognition", model=str(model), device="cpu")
        report = folders.annotate_folder(recognizer, many, out, window_seconds=3.0)
        return report.set_index("recording")

    (out / "deep").mkdir(parents=True)
    (out / "deep" / "b.srt").write_text("by hand")
    assert "b.srt is there already, and was not made by this command" in annotated()["error"]["deep/b"]
    assert (out / "deep" / "b.srt").read_text() == "by hand"
    before = (out / "a.csv").read_bytes()
    shutil.move(out / "deep" / "b.srt", tmp_path)
    soundfile.write(many / "a.wav", 0.1 * np.random.default_rng(0).normal(size=16000), 16000)
    assert annotated()["segments"]["a"] == 1
    assert "The recording a or its segments have changed: its timeline is made anew" in caplog.text
    assert (out / "a.csv").read_bytes() != before
    (many / "a.wav").write_bytes(b"not audio")
    assert "can't be decoded" in annotated()["error"]["a"]
    assert not list(out.glob("a.*"))
    for folder in (model / "audio_encoder", model):
        tensors = load_file(folder / "model.safetensors")
        save_file({name: 2 * value for name, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match=r"out holds timelines with model .*, not .*: choose another output_dir"):
            annotated()


def test_a_folder_of_recordings_with_a_folder_of_segments(model_folder, many, tmp_path, capsys):
    segments, out = tmp_path / "segments", tmp_path / "out"
    write_text(segments / "deep" / "b.SRT", "1\n00:00:00,500 --> 00:00:01,500\nHello there!\n")
    arguments = ["annotate", str(many), "--model", str(model_folder), "--use_cpu", "--output_dir", str(out)]

    def annotated() -> str:
        with pytest.raises(SystemExit):
            main([*arguments, "--segments", str(segments)])
        return capsys.readouterr().out

    said = annotated()
    assert f"a: {segments} has no a.srt, .csv or the like with the segments of a: it must have one" in said
    assert pd.read_csv(out / "deep" / "b.csv")["text"].tolist() == ["Hello there!"]
    write_table(segments / "deep" / "b.csv", ("start", "end"), [("0", "1")])
    assert f"{segments / 'deep'} has b.SRT and b.csv with the segments of deep/b" in annotated()
    (segments / "deep" / "b.SRT").unlink()
    write_text(segments / "a.srt", "1\n00:00:00,500 --> 00:00:99,500\nHello there!\n")
    assert "a: Segment 0 is 99 s long" in annotated()
    assert pd.read_csv(out / "deep" / "b.csv")["end"].tolist() == [1.0]  # of the segments of now
    for given, sentence in ((segments / "a.srt", "give segments as a folder too"), (out, "out has the segments")):
        with pytest.raises(SystemExit):
            main([*arguments, "--segments", str(given)])
        assert sentence in capsys.readouterr().err


def test_the_command(model_folder, spoken, many, tmp_path, capsys):
    write_text(tmp_path / "a.srt", "1\n00:00:00,500 --> 00:00:01,500\nHello there!\n")
    common = ["--model", str(model_folder), "--use_cpu"]
    outputs = [str(tmp_path / "out" / f"t.{suffix}") for suffix in ("csv", "png")]
    main(["annotate", str(spoken[0]), *common, "--segments", str(tmp_path / "a.srt"), "--output", *outputs])
    assert "00:00:00.5 - 00:00:01.5" in (said := capsys.readouterr().out)
    assert "Hello there!" in said
    assert pd.read_csv(outputs[0])["text"].tolist() == ["Hello there!"]
    with pytest.raises(SystemExit):  # since one of them is broken
        main(["annotate", str(many), *common, "--output_dir", str(tmp_path / "timelines")])
    said = capsys.readouterr()
    assert "deep/b: 3 segments" in said.out
    assert "1 of 3 recordings have no timeline" in said.err
    for arguments, sentence in (
        ([str(many), *common], "is a folder: give output_dir, where its timelines go"),
        ([str(spoken[0]), *common, "--output", "a.doc"], "The output a.doc must be one of .csv"),
        ([str(spoken[0]), *common, "--segments", "none.srt"], "The segments none.srt are missing"),
        ([str(spoken[0]), *common, "--max_seconds", "0"], "max_seconds is 0: it must be from 0.25 to 60"),
        ([str(spoken[0]), *common, "--language", "en"], "language is given without transcribe"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["annotate", *arguments])
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
