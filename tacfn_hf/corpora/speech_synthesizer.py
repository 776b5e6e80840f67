"""
A small source-filter synthesiser: speech-like sound whose pitch, rate, loudness and voice quality are known.

Source: the harmonics of a fundamental with a spectral tilt, and breath noise. Filter: the magnitude response of three
formants that move from vowel to vowel. G. Fant, Acoustic Theory of Speech Production, 1960.
"""

from dataclasses import dataclass

import numpy as np


SAMPLING_RATE = 16000
FRAME = 80  # samples between two values of a contour: 5 ms
HIGHEST = 5500.0  # Hz, of the harmonics
# Formants of five vowels of a grown-up man in Hz, and their bandwidths.
VOWELS = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]], float)
BANDWIDTHS = np.array([80.0, 100.0, 140.0])


@dataclass
class Voice:
    """A speaker: the mean pitch in Hz, and the factor of the formants to those of a man."""

    pitch: float
    formants: float


@dataclass
class Prosody:
    """How something is said."""

    pitch: float = 0.0  # semitones above the speaker's mean
    pitch_range: float = 1.5  # semitones that an accent rises
    pitch_slope: float = -1.0  # semitones from the beginning to the end
    tremor: float = 0.0  # semitones, at 6 Hz
    rate: float = 4.5  # syllables a second
    loudness: float = -24.0  # dB of full scale, root mean square
    tilt: float = -9.0  # dB an octave: near 0 is tense, far below is soft
    breath: float = 0.1  # amplitude of the breath noise in relation to the voice


def synthesize(voice: Voice, prosody: Prosody, num_syllables: int, rng: np.random.Generator) -> np.ndarray:
    """
    Speech-like sound of so many syllables: float32 `[S]` at SAMPLING_RATE, within [-1, 1].

    Vowels, accents and the lengths of syllables are drawn from `rng`.
    """
    lengths = rng.uniform(0.8, 1.2, num_syllables) / prosody.rate * SAMPLING_RATE / FRAME
    ends = np.cumsum(lengths)
    time = np.arange(int(ends[-1]))  # in frames
    syllable = np.searchsorted(ends, time, side="right")
    inside = (time - (ends - lengths)[syllable]) / lengths[syllable]  # 0 to 1 within a syllable

    accent = rng.uniform(0.3, 1.0, num_syllables)[syllable]
    semitones = (
        prosody.pitch
        + prosody.pitch_range * accent * np.sin(np.pi * inside)
        + prosody.pitch_slope * (time / len(time) - 0.5)
        + prosody.tremor * np.sin(2 * np.pi * 6 * time * FRAME / SAMPLING_RATE)
    )
    pitch = voice.pitch * 2 ** (semitones / 12)
    envelope = np.sin(np.pi * np.clip(inside, 0.02, 0.98)) ** 0.5 * (0.6 + 0.4 * accent)
    formants = voice.formants * smooth(VOWELS[rng.integers(len(VOWELS), size=num_syllables)][syllable], width=9)

    sound = voiced(pitch, envelope, formants, prosody.tilt)
    breath = breathed(envelope, formants, rng)
    sound = sound / rms(sound) + prosody.breath * breath / rms(breath)
    return as_loud(sound, prosody.loudness)


def smooth(contours: np.ndarray, width: int) -> np.ndarray:
    """The moving average of `[T, n]` over `width` frames."""
    padded = np.pad(contours, ((width // 2, width // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, np.full(width, 1 / width), "valid") for column in padded.T], axis=1)


def response(frequency: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """The magnitude of the formants' response at frequencies `[T, K]` in Hz, with formants `[T, 3]`."""
    gain = np.ones_like(frequency)
    for i, bandwidth in enumerate(BANDWIDTHS):
        ratio = frequency / formants[:, i : i + 1]
        gain /= np.sqrt((1 - ratio**2) ** 2 + (ratio * bandwidth / formants[:, i : i + 1]) ** 2)
    return gain


def voiced(pitch: np.ndarray, envelope: np.ndarray, formants: np.ndarray, tilt: float) -> np.ndarray:
    """The harmonics of contours `[T]`: `[T * FRAME]`."""
    number = np.arange(1, int(HIGHEST / pitch.min()) + 1)
    frequency = pitch[:, None] * number
    amplitude = envelope[:, None] * response(frequency, formants) * 10 ** (tilt * np.log2(number) / 20)
    amplitude[frequency > HIGHEST] = 0
    frames = np.arange(len(pitch) * FRAME) / FRAME
    left = np.minimum(frames.astype(int), len(pitch) - 2)
    share = frames - left
    turn = np.exp(2j * np.pi * np.cumsum(np.interp(frames, np.arange(len(pitch)), pitch)) / SAMPLING_RATE)
    sound, wave = np.zeros(len(frames)), np.ones(len(frames), complex)
    for k in range(len(number)):
        wave *= turn  # the k-th harmonic is the k-th power of the first
        sound += (amplitude[left, k] * (1 - share) + amplitude[left + 1, k] * share) * wave.imag
    return sound


def breathed(envelope: np.ndarray, formants: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise through the formants, by overlapping windows of 4 frames: `[T * FRAME]`."""
    size, hop = 4 * FRAME, 2 * FRAME
    count = len(envelope) // 2
    frequency = np.fft.rfftfreq(size, 1 / SAMPLING_RATE)[None].repeat(count, axis=0)
    gain = envelope[: 2 * count : 2, None] * response(frequency, formants[: 2 * count : 2])
    spectrum = np.fft.rfft(rng.normal(size=(count, size)) * np.hanning(size)) * gain
    windows = np.fft.irfft(spectrum, size) * np.hanning(size)
    sound = np.zeros(len(envelope) * FRAME + size)
    for i, window in enumerate(windows):
        sound[i * hop : i * hop + size] += window
    return sound[: len(envelope) * FRAME]


def rms(sound: np.ndarray) -> float:
    """The root mean square of a sound."""
    return float(np.sqrt(np.mean(sound**2)))


def as_loud(sound: np.ndarray, decibels: float) -> np.ndarray:
    """The sound with a root mean square in dB of full scale, or as near to it as full scale allows."""
    sound = sound / rms(sound) * 10 ** (decibels / 20)
    return (sound / max(1.0, np.abs(sound).max())).astype(np.float32)


def with_noise(sound: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """The sound under white noise, at a ratio of signal to noise in dB; as loud as before."""
    noise = rng.normal(scale=rms(sound) / 10 ** (ratio / 20), size=len(sound))
    return as_loud(sound + noise, 20 * np.log10(rms(sound)))
