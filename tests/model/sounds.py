"""Waveforms and files of them, for the tests of audio."""

import io
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile


RATE = 16000
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def pcm(size: int = 4000, seed: int = 0) -> np.ndarray:
    """Noise in int16 with both ends of the scale in it."""
    samples = np.random.default_rng(seed).integers(-20000, 20000, size, dtype=np.int16)
    samples[:2] = -32768, 32767
    return samples


SAMPLES = pcm()
WAVEFORM = (SAMPLES / 32768).astype(np.float32)  # exact: 16 bits fit


def file_bytes(samples: np.ndarray, rate: int = RATE, **arguments) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "PCM_16", **arguments})
    return file.getvalue()


def wav_bytes(samples: bytes, width: int, rate: int = RATE) -> bytes:
    """A WAV file of the standard library's writer."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()


def sine(frequency: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def broken(place: int, value: float, size: int = 4000) -> np.ndarray:
    samples = np.zeros(size, np.float32)
    samples[place] = value
    return samples


def container(
    path: Path, tracks: list[np.ndarray], rate: int = RATE, codec: str = "aac", video: bool = False, **movflags: str
) -> bytes:
    """A file that PyAV writes, by its suffix: tracks of floats, channels by samples, and one with pictures."""
    with av.open(str(path), "w", options=movflags) as file:
        size = {"width": 32, "height": 32}
        encoder = {".webm": "libvpx", ".flv": "flv"}.get(path.suffix, "mpeg4")
        pictures = file.add_stream(encoder, rate=25, **size) if video else None
        streams = [file.add_stream(codec, rate=rate, layout=LAYOUTS[len(track)]) for track in tracks]
        file.start_encoding()
        for i in range(60 * video):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 4 * i, np.uint8), format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            file.mux(pictures.encode(picture))
        for stream, track in zip(streams, tracks):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(track), format="fltp", layout=LAYOUTS[len(track)])
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            file.mux(stream.encode(frame))
        for stream in file.streams:
            file.mux(stream.encode(None))
    return path.read_bytes()


SAMPLES = pcm()
WAVEFORM = (SAMPLES / 32768).astype(np.float32)  # exact: 16 bits fit
WAV = file_bytes(SAMPLES)
FLAC = file_bytes(SAMPLES, format="FLAC")
