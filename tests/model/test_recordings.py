"""Clips of long recordings: cut in pieces as from the whole, in any order, and sentences for those that can't be."""

import weakref

import numpy as np
import pytest
import soundfile
from tiny import config_for
from transformers import pipeline

from tacfn_hf import TacfnForSequenceClassification
from tacfn_hf.model import recordings_tacfn
from tacfn_hf.model.audio_tacfn import load_audio
from tacfn_hf.model.decoding_tacfn import AudioError
from tacfn_hf.model.recordings_tacfn import cut_clips, recording_blocks


RATE = 44100
SEGMENTS = [
    {"start": 1.0, "end": 2.5},
    {"start": 0.2, "end": 2.7},  # around the first one
    {"start": 3.4, "end": 4.2},  # over the end of the recording, by rounding
    {"start": 0.0, "end": 0.3},
    {"start": 1.25, "end": 1.75, "channel": 1},
]


@pytest.fixture
def recording(tmp_path):
    """Four seconds of two channels."""
    samples = 0.1 * np.random.default_rng(0).normal(size=(4 * RATE, 2))
    soundfile.write(tmp_path / "recording.wav", samples, RATE, subtype="PCM_16")
    return tmp_path / "recording.wav"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(recordings_tacfn, "BLOCK_SECONDS", 1)


def by_hand(samples: np.ndarray, segment: dict) -> np.ndarray:
    clip = samples[round(segment["start"] * RATE) : round(segment["end"] * RATE)]
    return clip[:, segment["channel"]] if "channel" in segment else clip.mean(axis=1)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_clips_are_those_of_the_whole_recording(recording, suffix):
    samples, _ = soundfile.read(recording, dtype="float32")
    if suffix != "wav":
        path = recording.with_suffix(f".{suffix}")
        soundfile.write(path, samples, RATE)
        recording = path
        samples = np.concatenate([block for block, _ in recording_blocks(recording)])
        assert np.array_equal(samples.mean(axis=1), load_audio(recording, RATE))
    seen = []
    for index, clip, rate in cut_clips(recording_blocks(recording), SEGMENTS):
        seen.append(index)
        assert rate == RATE
        assert np.array_equal(clip, by_hand(samples, SEGMENTS[index]))
    assert sorted(seen) == list(range(len(SEGMENTS)))


def test_only_what_is_open_is_held():
    """Of an hour of silence with two clips, never more than the blocks of a clip are in memory."""
    made, most = [], 0

    def blocks():
        nonlocal most
        for _ in range(3600):
            block = np.zeros((1000, 1), np.float32)
            made.append(weakref.ref(block))
            made[:] = [of for of in made if of() is not None]
            most = max(most, len(made))
            yield block, 1000

    clips = list(cut_clips(blocks(), [{"start": 10, "end": 14}, {"start": 3000, "end": 3005}]))
    assert [len(clip) for _, clip, _ in clips] == [4000, 5000]
    assert most < 20


@pytest.mark.parametrize(
    ("segment", "sentence"),
    [
        ({"start": 2.0, "end": 2.0}, "Segment 0 is from 2 to 2 s: it must start at 0 or later, and end later"),
        ({"start": 2.0, "end": 1.0}, "Segment 0 is from 2 to 1 s"),
        ({"start": -1.0, "end": 1.0}, "Segment 0 is from -1 to 1 s"),
        ({"start": 5.0, "end": 6.0}, "Segment 0 is from 5 to 6 s, but the recording is 4.00 s long"),
        ({"start": 1.0, "end": 9.0}, "Segment 0 is from 1 to 9 s, but the recording is 4.00 s long"),
        ({"start": 1.0, "end": 2.0, "channel": 2}, "Segment 0 is of channel 2, but the recording has 2"),
        ({"start": 1.0}, "Segment 0 is .*: it must have start and end, in seconds"),
        ({"start": 1.0, "end": 2.0, "channel": 0.0}, "Segment 0 has the channel 0.0: it must be a whole number"),
        ({"start": 1.0, "end": 2.0, "text": 5}, "Segment 0 has the text 5: it must be a string"),
    ],
)
def test_segments_that_can_not_be_cut(recording, segment, sentence):
    with pytest.raises(ValueError, match=sentence):
        list(cut_clips(recording_blocks(recording), [segment]))


def test_a_recording_that_is_cut_off(recording):
    data = recording.read_bytes()
    recording.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match="is cut off"):
        list(recording_blocks(recording))


def test_the_pipeline_answers_for_each_segment_as_for_the_clip(recording, processor):
    model = TacfnForSequenceClassification(config_for(processor)).eval()
    recognizer = pipeline("multimodal-emotion-recognition", model=model, processor=processor, device="cpu")
    samples, _ = soundfile.read(recording, dtype="float32")
    segments = [{**SEGMENTS[0], "text": "Hello there!"}, *SEGMENTS[1:]]
    found = recognizer({"audio": str(recording), "segments": segments}, batch_size=2)["segments"]
    of_samples = recognizer({"audio": samples, "sampling_rate": RATE, "segments": segments[:2]})["segments"]
    for i, (segment, answer) in enumerate(zip(segments, found)):
        clip = {"audio": by_hand(samples, segment), "sampling_rate": RATE, "text": segment.get("text")}
        alone = recognizer(clip)
        assert (answer["start"], answer["end"]) == (segment["start"], segment["end"])
        scores = {row["label"]: row["score"] for row in alone["scores"]}
        for answers in (answer, of_samples[i] if i < 2 else answer):
            assert answers["beta"] == pytest.approx(alone["beta"], abs=1e-5)
            assert all(row["score"] == pytest.approx(scores[row["label"]], abs=1e-5) for row in answers["scores"])
    assert recognizer({"audio": str(recording), "segments": []}) == {"segments": []}
    with pytest.raises(ValueError, match="Input 0 has segments: give such a recording by itself, and not in a list"):
        recognizer([{"audio": str(recording), "segments": segments}])
