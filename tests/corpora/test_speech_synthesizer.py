"""The synthesiser does what its numbers say."""

import dataclasses

import numpy as np
import pytest

from tacfn_hf.corpora.speech_synthesizer import SAMPLING_RATE, Prosody, Voice, synthesize, with_noise


VOICE = Voice(pitch=120.0, formants=1.0)
STILL = Prosody(pitch_range=0.0, pitch_slope=0.0, breath=0.02)


def say(seed: int = 0, voice: Voice = VOICE, num_syllables: int = 8, **prosody) -> np.ndarray:
    return synthesize(voice, dataclasses.replace(STILL, **prosody), num_syllables, np.random.default_rng(seed))


def pitch_of(sound: np.ndarray) -> float:
    """Hz, by the highest peak of the autocorrelation between 60 and 500 Hz."""
    spectrum = np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2
    correlation = np.fft.irfft(spectrum)
    shortest = SAMPLING_RATE // 500
    return SAMPLING_RATE / (shortest + np.argmax(correlation[shortest : SAMPLING_RATE // 60]))


def level(sound: np.ndarray, low: float, high: float) -> float:
    """dB of what lies between two frequencies in Hz."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / SAMPLING_RATE)
    return 10 * np.log10(power[(frequency >= low) & (frequency < high)].sum())


@pytest.mark.parametrize(("base", "semitones"), [(120.0, 0.0), (120.0, 7.0), (200.0, -3.0)])
def test_pitch(base, semitones):
    sound = say(voice=Voice(base, 1.0), pitch=semitones)
    assert pitch_of(sound) == pytest.approx(base * 2 ** (semitones / 12), rel=0.02)


def test_pitch_falls_and_rises_as_it_is_told():
    for slope in (-6.0, 6.0):
        sound = say(pitch_slope=slope)
        third = len(sound) // 3
        first, last = pitch_of(sound[:third]), pitch_of(sound[-third:])
        assert 12 * np.log2(last / first) == pytest.approx(slope * 2 / 3, abs=1.0)


def test_tremor_moves_the_pitch():
    def spread(sound: np.ndarray) -> float:
        return np.std([pitch_of(sound[i : i + 1200]) for i in range(0, len(sound) - 1200, 400)])

    assert spread(say(tremor=1.5)) > 3 * spread(say(tremor=0.0))


def test_loudness_is_in_dB_of_full_scale():
    for loudness in (-30.0, -18.0):
        assert 20 * np.log10(np.sqrt(np.mean(say(loudness=loudness) ** 2))) == pytest.approx(loudness, abs=0.01)
    assert np.abs(say(loudness=0.0)).max() <= 1.0


def test_rate_is_in_syllables_a_second():
    for rate in (3.0, 6.0):
        assert 40 / (len(say(rate=rate, num_syllables=40)) / SAMPLING_RATE) == pytest.approx(rate, rel=0.05)


def test_tilt_is_in_dB_an_octave():
    def fall(tilt: float) -> float:  # from the first harmonic to the eighth, three octaves above
        sound = say(tilt=tilt, breath=0.0, voice=Voice(200.0, 1.0))
        return level(sound, 180, 220) - level(sound, 1580, 1620)

    assert fall(-12.0) - fall(-6.0) == pytest.approx(18, abs=0.5)


def test_breath_is_noise_between_the_harmonics():
    def between(breath: float) -> float:
        sound = say(breath=breath, voice=Voice(200.0, 1.0))
        return level(sound, 270, 330) - level(sound, 370, 430)  # a gap against the second harmonic

    assert between(1.0) > between(0.05) + 10


def test_formants_move_with_the_speaker():
    def centre(formants: float) -> float:
        power = np.abs(np.fft.rfft(say(voice=Voice(100.0, formants), num_syllables=30, tilt=0.0))) ** 2
        return float((power * np.arange(len(power))).sum() / power.sum())

    assert centre(1.2) > 1.05 * centre(1.0)


def test_noise_has_its_ratio_and_changes_no_loudness():
    sound = say(num_syllables=40)
    noisy = with_noise(sound, ratio=6.0, rng=np.random.default_rng(1))
    gain = (noisy @ sound) / (sound @ sound)
    noise = noisy - gain * sound
    assert 10 * np.log10(np.mean((gain * sound) ** 2) / np.mean(noise**2)) == pytest.approx(6.0, abs=0.2)
    assert np.sqrt(np.mean(noisy**2)) == pytest.approx(np.sqrt(np.mean(sound**2)), rel=1e-3)


def test_a_seed_says_all():
    assert np.array_equal(say(seed=3), say(seed=3))
    assert not np.array_equal(say(seed=3)[:4000], say(seed=4)[:4000])
