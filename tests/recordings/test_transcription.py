"""Transcripts: of any speech recognition model, resumed after an interruption; with real Whisper weights also right."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from safetensors.torch import load_file, save_file

from tacfn_hf.cli.main import main
from tacfn_hf.corpora import load_corpus
from tacfn_hf.model.decoding_tacfn import AudioError
from tacfn_hf.recordings.folders import transcribe_rows
from tacfn_hf.recordings.timeline import annotate
from tacfn_hf.recordings.transcription import Transcriber, divided_by


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder, generator = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for i in range(5):
        soundfile.write(folder / f"{i}.wav", 0.1 * generator.normal(size=8000 + 2000 * i), (8000, 16000)[i % 2])
    return folder


def test_an_interrupted_table_goes_on_and_is_the_same(letters, clips, tmp_path, monkeypatch):
    rows = [{"id": path.name, "sound": str(path), "label": "sad\u2028"} for path in sorted(clips.glob("*.wav"))]
    rows.append({"id": "silent", "sound": None, "label": None})
    transcriber = Transcriber(letters, device="cpu", batch_size=2)
    whole = transcribe_rows(transcriber, rows, len(rows), tmp_path / "whole.csv")
    assert whole["text"].notna().sum() == 5
    real, heard = Transcriber.by_pipeline, []

    def interrupted(self, samples):
        if len(heard) == 2:
            raise KeyboardInterrupt
        heard.append(len(samples))
        yield from real(self, samples)

    with monkeypatch.context() as patch:
        patch.setattr(Transcriber, "by_pipeline", interrupted)
        with pytest.raises(KeyboardInterrupt):
            transcribe_rows(transcriber, rows, len(rows), tmp_path / "again.csv")
    part = tmp_path / "again.csv.part.jsonl"
    part.write_text(part.read_text() + '{"id": "4.wav", "te')  # and within a line
    heard.clear()
    again = transcribe_rows(transcriber, rows, len(rows), tmp_path / "again.csv")
    pd.testing.assert_frame_equal(again, whole)
    assert whole["id"].tolist() == [row["id"] for row in rows]
    assert sum(heard) == 0
    assert not part.exists()
    part.write_text(json.dumps({"model": "another", "language": None, "source": ""}) + "\n")
    with pytest.raises(ValueError, match="was made with .*another.*: choose another output, or remove it"):
        transcribe_rows(transcriber, rows, len(rows), tmp_path / "again.csv")


def test_a_transcript_is_that_of_the_clip_alone(letters, clips, tmp_path):
    """Also of a model that takes no attention mask, and hears the padding of a batch."""
    rows = [{"id": path.name, "sound": str(path)} for path in sorted(clips.glob("*.wav"))]
    tables = [
        transcribe_rows(Transcriber(letters, device="cpu", batch_size=size), rows, len(rows), tmp_path / f"{size}.csv")
        for size in (1, 5)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_what_was_kept_of_other_sound_or_of_another_model_is_not_taken(letters, clips, tmp_path, caplog):
    model, folder = shutil.copytree(letters, tmp_path / "model"), shutil.copytree(clips, tmp_path / "clips")
    rows = [{"id": path.name, "sound": str(path), "label": "sad"} for path in sorted(folder.glob("*.wav"))]

    def transcribed(rows, name="t.csv") -> pd.DataFrame:
        return transcribe_rows(Transcriber(model, device="cpu", batch_size=1), rows, len(rows), tmp_path / name)

    def interrupted():
        yield from rows[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcribe_rows(Transcriber(model, device="cpu", batch_size=1), interrupted(), 5, tmp_path / "t.csv")
    part = (tmp_path / "t.csv.part.jsonl").read_text()
    shutil.copy(folder / "4.wav", folder / "0.wav")
    rows = [{**row, "label": "angry"} for row in rows]
    table = transcribed(rows)
    assert "The audio of id '0.wav' is not what it was before: it is heard anew." in caplog.text
    pd.testing.assert_frame_equal(table, transcribed(rows, "whole.csv"))
    (tmp_path / "t.csv.part.jsonl").write_text(part)
    tensors = load_file(model / "model.safetensors")
    save_file({name: 2 * value for name, value in tensors.items()}, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="was made with model .*, not .*: choose another output, or remove it"):
        transcribed(rows)


def test_audio_that_can_not_be_used_is_an_error_or_left_without_text(letters, clips, tmp_path, caplog):
    (tmp_path / "bad.wav").write_bytes(b"not audio")
    rows = [{"id": name, "sound": str(place / name)} for name, place in (("bad.wav", tmp_path), ("0.wav", clips))]
    transcriber = Transcriber(letters, device="cpu")
    with pytest.raises(AudioError, match="'bad.wav'"):
        transcribe_rows(transcriber, rows, 2, tmp_path / "t.csv")
    table = transcribe_rows(transcriber, rows, 2, tmp_path / "t.csv", skip_bad_files=True)
    assert table["text"].notna().tolist() == [False, True]


def test_what_is_long_is_written_down_in_parts(letters, tmp_path):
    generator = np.random.default_rng(0)
    samples, path = 0.1 * generator.normal(size=50 * 8000), tmp_path / "long.wav"
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    transcriber = Transcriber(letters, device="cpu")
    (whole,) = transcriber.of_segments(path, [{"start": 0, "end": 50}], "it")
    halves = transcriber.of_segments(path, [{"start": 0, "end": 25}, {"start": 25, "end": 50}], "it")
    assert (whole["start"], whole["end"]) == (0, 50)
    assert whole["text"] == " ".join(half["text"] for half in halves)
    soundfile.write(tmp_path / "half.wav", samples[: 25 * 8000], 8000, subtype="FLOAT")
    sounds = {
        "file": str(path),
        "half": str(tmp_path / "half.wav"),
        "bytes": {"bytes": path.read_bytes(), "path": None},
    }
    rows = [{"id": name, "sound": sound} for name, sound in sounds.items()]
    table = transcribe_rows(transcriber, rows, len(rows), tmp_path / "t.csv")
    assert table["id"].tolist() == ["file", "half", "bytes"]
    assert table["text"].tolist() == [whole["text"], halves[0]["text"], whole["text"]]
    samples[-4000] = np.nan
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match="the audio of id 'file', from 25 s on, has 1 NaN or infinite samples"):
        transcribe_rows(transcriber, rows, len(rows), tmp_path / "again.csv")


def test_the_table_is_a_corpus(letters, clips, capsys):
    table = clips / "transcripts.csv"
    main(["transcribe", str(clips), "--model", str(letters), "--output", str(table), "--use_cpu"])
    assert "5 rows, 5 with words" in capsys.readouterr().out
    corpus = load_corpus("folder", clips, label_column="", id_column="id")["train"]
    assert corpus["id"][:] == [f"{i}.wav" for i in range(5)]
    assert all(Path(audio["path"]).is_file() for audio in corpus["audio"][:])
    assert all(corpus["text"][:])
    written = table.read_text()
    with pytest.raises(SystemExit):
        main(["transcribe", str(clips), "--model", str(letters), "--output", str(table), "--use_cpu"])
    assert "is there already: choose another output, or remove it" in capsys.readouterr().err
    assert table.read_text() == written
    table.unlink()


def test_bad_files_of_a_corpus_are_left_without_text(letters, clips, tmp_path, capsys):
    shutil.copytree(clips, tmp_path / "clips/sad")
    (tmp_path / "clips/sad/bad.wav").write_bytes(b"not audio")
    command = ["transcribe", str(tmp_path / "clips"), "--corpus", "folder", "--model", str(letters)]
    command += ["--output", str(tmp_path / "t.csv"), "--use_cpu"]
    with pytest.raises(SystemExit):
        main(command)
    assert "bad.wav" in capsys.readouterr().err
    main([*command, "--skip_bad_files", "true"])
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["text"].isna().tolist() == [name.endswith("bad.wav") for name in table["audio"]]
    assert table["text"].notna().sum() == 5


def test_words_are_added_where_segments_have_none(letters, recognizer, spoken):
    segments = [{"start": 0.5, "end": 1.5, "text": "Hello there!"}, {"start": 2.0, "end": 3.0}]
    table = annotate(recognizer, spoken[0], segments, transcriber=Transcriber(letters, device="cpu"))
    assert table["text"][0] == "Hello there!"
    assert table["text"][1]


def test_what_is_refused(letters, clips, tmp_path, capsys):
    with pytest.raises(ValueError, match="language is 'de', but the model .* does not take one"):
        Transcriber(letters, "de", device="cpu")
    with pytest.raises(ValueError, match="is no folder here, and the Hub gave none"):
        Transcriber(tmp_path / "none", device="cpu")
    for arguments, sentence in (
        ([str(clips), "--output", "a.txt"], "output is a.txt: it must be one of .csv, .jsonl, .parquet"),
        ([str(tmp_path / "deep"), "--output", "a.csv", "--corpus_options", "a=b"], "corpus_options is given without"),
    ):
        with pytest.raises(SystemExit):
            main(["transcribe", *arguments, "--model", str(letters), "--use_cpu"])
        assert sentence in capsys.readouterr().err


def test_sentences_of_a_segment():
    chunks = [
        {"text": " One.", "timestamp": (0.0, 1.5)},
        {"text": " Two.", "timestamp": (1.5, 1.6)},  # too short to be a clip
        {"text": " Three.", "timestamp": (2.0, None)},
        {"text": " Four.", "timestamp": (9.0, None)},  # behind the end
    ]
    answer = {"text": "One. Two. Three.", "language": "en", "confidence": 0.9, "chunks": chunks}
    parts = divided_by({"start": 10.0, "end": 13.0}, answer)
    assert [(part["start"], part["end"], part["text"]) for part in parts] == [
        (10.0, 11.6, "One. Two."),
        (12.0, 13.0, "Three."),
        (12.75, 13.0, "Four."),
    ]
    assert divided_by({"start": 1.0, "end": 2.0}, {**answer, "chunks": chunks[:1]})[0]["text"] == "One. Two. Three."


@pytest.mark.slow
def test_whisper_writes_down_what_is_said():
    """With real weights, in the folder TACFN_WHISPER, and clips of RAVDESS, in TACFN_DATA."""
    if not {"TACFN_WHISPER", "TACFN_DATA"} <= set(os.environ):
        pytest.skip("TACFN_WHISPER names no folder with Whisper base, or TACFN_DATA none with clips")
    table = pd.read_parquet(Path(os.environ["TACFN_DATA"]) / "ravdess_speech.parquet").iloc[[0, 400, 800, 1200]]
    clips = [soundfile.read(io.BytesIO(audio["bytes"]), dtype="float32") for audio in table["audio"]]
    transcriber = Transcriber(os.environ["TACFN_WHISPER"], device="cpu")
    for timestamps in (False, True):
        answers = list(transcriber.of_clips(clips, timestamps))
        for answer, text in zip(answers, table["text"]):
            assert answer["text"].rstrip(".!").lower() == text.rstrip(".").lower()
            assert answer["language"] == "en"
            assert answer["confidence"] > 0.7
            assert bool(answer["chunks"]) == timestamps
