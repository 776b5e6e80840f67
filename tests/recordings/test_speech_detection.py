"""Where somebody speaks: found in any blocks alike, and made segments by the rules."""

import sys

import numpy as np
import pytest
import soundfile

from tacfn_hf.model.decoding_tacfn import AudioError
from tacfn_hf.model.recordings_tacfn import recording_blocks
from tacfn_hf.recordings.speech_detection import detect_speech, segments_of_speech, windows


def test_speech_is_found_where_it_is(spoken):
    path, times = spoken
    speech, seconds = detect_speech(recording_blocks(path))
    segments = segments_of_speech(speech, seconds, 15.0)
    assert len(segments) == len(times)
    for segment, (start, end) in zip(segments, times):
        assert segment["start"] == pytest.approx(start, abs=0.25)
        assert segment["end"] == pytest.approx(end, abs=0.35)
    assert seconds == pytest.approx(soundfile.info(path).duration, abs=1e-3)


def test_blocks_and_rates_change_nothing(spoken):
    samples, rate = soundfile.read(spoken[0], dtype="float32", always_2d=True)
    expected = detect_speech([(samples, rate)])
    for size in (777, 16000):
        assert detect_speech((samples[i : i + size], rate) for i in range(0, len(samples), size)) == expected
    two = np.concatenate([samples, samples], axis=1)
    assert detect_speech([(two, rate)])[0] == expected[0]


def test_nobody_speaks_in_silence_or_in_nothing():
    assert detect_speech([(np.zeros((32000, 1), np.float32), 16000)]) == ([], 2.0)
    assert detect_speech([]) == ([], 0.0)


def test_samples_that_are_not_finite_are_no_silence():
    samples = np.zeros((50000, 1), np.float32)
    samples[33000] = np.nan
    with pytest.raises(AudioError, match=r"the recording, from 2.0 s on, has NaN or infinite samples"):
        detect_speech([(samples, 16000)])


def spans(*times: tuple[float, float]) -> list[dict[str, float]]:
    return [{"start": start, "end": end} for start, end in times]


@pytest.mark.parametrize(
    ("speech", "expected"),
    [
        (spans((1, 2), (2.5, 3)), spans((0.8, 3.2))),  # a short pause
        (spans((1, 2), (2.6, 3)), spans((0.8, 2.2), (2.4, 3.2))),  # a longer one
        (spans((1, 3), (3.2, 5)), spans((0.8, 3.1), (3.1, 5.2))),  # too long together
        (spans((1, 3), (3.4, 4.7)), spans((0.8, 3.2), (3.2, 4.9))),  # too long with what is around them
        (spans((0.2, 8.8)), spans((0, 3), (3, 6), (6, 9))),  # too long by itself
        (spans((1, 1.1), (1.2, 1.3), (5, 5.2)), spans((0.8, 1.5))),  # too short, after merging
        (spans((0.1, 1), (9, 9.9)), spans((0, 1.2), (8.8, 10))),  # at both ends
        ([], []),
    ],
)
def test_segments_by_the_rules(speech, expected):
    found = segments_of_speech(speech, 10.0, 4.0)
    assert [(of["start"], of["end"]) for of in found] == [pytest.approx((of["start"], of["end"])) for of in expected]


def test_only_short_pauses_are_joined(spoken, tmp_path):
    """Pauses of a recording, and not of what is found in it with the 0.2 s around it."""
    samples, rate = soundfile.read(spoken[0], dtype="float32")
    first = samples[slice(*(round(time * rate) for time in spoken[1][0]))]
    for pause, count in ((0.3, 1), (0.7, 2)):
        gap = np.zeros(round(pause * rate), np.float32)
        soundfile.write(tmp_path / "a.wav", np.concatenate([first, gap, first]), rate)
        found = segments_of_speech(*detect_speech(recording_blocks(tmp_path / "a.wav")), 60.0)
        assert len(found) == count


def test_windows_cover_the_recording():
    assert windows(10, 4, 3) == spans((0, 4), (3, 7), (6, 10))
    assert windows(9, 4, 4) == spans((0, 4), (4, 8), (8, 9))
    assert windows(8.1, 4, 4) == spans((0, 4), (4, 8))  # a rest of 0.1 s
    assert windows(2, 4, 4) == spans((0, 2))
    with pytest.raises(ValueError, match="hop_seconds is 5 and window_seconds 4: hop must be above 0"):
        windows(10, 4, 5)


def test_the_extra_that_is_absent_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(ImportError, match=r"pip install 'tacfn-hf\[recordings\]'"):
        detect_speech([])
