"""Two channels of which one is the negative of the other: their mean is silent, and nobody may answer for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from tacfn_hf.model.decoding_tacfn import AudioError
from tacfn_hf.recordings.folders import transcribe_rows
from tacfn_hf.recordings.timeline import annotate
from tacfn_hf.recordings.timeline_files import write_timeline
from tacfn_hf.recordings.transcription import Transcriber


SEGMENT = {"start": 14, "end": 14.5}
TABLE = pd.DataFrame({"start": [0.0], "end": [1.0], "speaker": None, "text": None, "label": "sad", "score": 0.5})
PATHS: dict[str, Callable] = {
    "an utterance": lambda file, recognizer, _: recognizer({"audio": file}),
    "an utterance of a dataset": lambda file, recognizer, _: recognizer({"bytes": Path(file).read_bytes()}),
    "a segment": lambda file, recognizer, _: annotate(recognizer, file, [SEGMENT]),
    "windows": lambda file, recognizer, _: annotate(recognizer, file, window_seconds=2),
    "found speech": lambda file, recognizer, _: annotate(recognizer, file),
    "words of a segment": lambda file, _, transcriber: transcriber.of_segments(
        file, [{"start": 14, "end": 14.5}], "it"
    ),
    "words of a clip": lambda file, _, transcriber: transcribe_rows(
        transcriber, [{"id": "a", "sound": file}], 1, f"{file}.csv"
    ),
    "a page": lambda file, *_: write_timeline(TABLE.assign(score_sad=0.5, beta=1.0), f"{file}.html", file),
}


IN_PIECES = ("a segment", "windows", "found speech", "words of a segment", "a page")


@pytest.mark.parametrize(
    ("path", "seconds"),  # of both channels alike, before one is turned
    [*((path, 0) for path in PATHS), *((path, 12) for path in IN_PIECES)],
)
def test_it_is_refused_wherever_channels_are_averaged(path, seconds, spoken, recognizer, letters, tmp_path):
    voice, rate = soundfile.read(spoken[0], dtype="float32")
    voice = np.tile(voice, 4)[: 24 * rate]
    other = np.concatenate([voice[: seconds * rate], -voice[seconds * rate :]])
    soundfile.write(tmp_path / "a.wav", np.stack([voice, other], axis=1), rate)
    with pytest.raises(AudioError, match="has 2 channels that cancel each other: their mean is silent"):
        PATHS[path](str(tmp_path / "a.wav"), recognizer, Transcriber(letters, device="cpu"))


def test_a_pause_whose_noise_cancels_itself_is_no_reason(spoken, recognizer, tmp_path):
    """As the MP3 of a quiet second has it, whose channels differ by their sign alone."""
    voice, rate = soundfile.read(spoken[0], dtype="float32")
    noise = 1e-4 * np.random.default_rng(0).normal(size=3 * rate)
    left, right = (np.concatenate([voice, sign * noise]) for sign in (1, -1))
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), rate, subtype="FLOAT")
    assert len(annotate(recognizer, tmp_path / "a.wav")) == len(spoken[1])
