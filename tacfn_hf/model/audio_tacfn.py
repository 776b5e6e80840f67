"""Audio in any of its usual forms becomes one mono waveform at the sampling rate of the encoder."""

import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .decoding_tacfn import MAX_PATH, AudioError, check_seconds, decode, mixed


try:
    import soxr
except ImportError:
    soxr = None

MAX_CHANNELS = 32  # of an array; one with more is a batch or a spectrogram


def load_audio(
    audio: Any,
    target_rate: int,
    sampling_rate: int | None = None,
    max_seconds: float | None = None,
    truncation: bool = False,
    name: str = "audio",
) -> np.ndarray:
    """
    Decodes audio, averages its channels, and resamples it (soxr, high quality).

    The content of a file decides its format, not its name. libsndfile reads WAV, AIFF, FLAC, AU, CAF, W64, RF64, SPHERE
    and other formats whose length is exact. PyAV (FFmpeg) reads MP3, MP2, AAC, AC-3, Ogg, Opus, mp4, m4a, mov, 3gp,
    webm, mkv, avi, AMR, WMA, MPEG, flv, APE, TTA and WavPack up to the last frame, and FLAC from a pipe.

    The delay and padding of a codec are removed if the file states them: MP3 with a LAME or Info frame, Opus, Vorbis,
    mp4 and its relatives. They are kept in MP3 without such a frame, MP2, AAC in ADTS or mkv, AMR and AC-3.

    A file that was cut off is an error if it states its size or its end (WAV, AIFF, FLAC, mp4, mkv, flv, avi, MP3 with
    a Xing or Info frame, and others), or if the decoder finds half a frame (AAC, AC-3, FLAC). The other formats do not
    show a cut: MP3 without such a frame, MP2, AMR, Ogg, MPEG, WMA, fragmented mp4, and files from a pipe. They are read
    as far as possible, without an incomplete last page of Ogg (up to a second) or block of mkv. Except in Ogg, damage
    in the middle of such a file can also stay unnoticed.

    Args:
        audio: a path; the bytes of a file; samples as array, tensor or list, `[S]`, or 2-D with the channels on the
            shorter axis, floats within [-1, 1] or int16 / int32 / uint8; a `datasets` struct `{"bytes", "path"}` or
            `{"array", "sampling_rate"}`, or its decoder object.
        target_rate: Hz.
        sampling_rate: Hz, of audio given as samples. Files and structs state their own.
        max_seconds: the longest audio that is allowed; None: any.
        truncation: cut longer audio. Without it longer audio is an error.
        name: what messages call the audio.

    Returns:
        float32 `[S]` at `target_rate`.

    Raises:
        AudioError: the file is missing or can't be decoded completely; there are no samples, or NaN or infinite ones;
            channels cancel each other; there are too many dimensions or seconds; the sampling rate can't be used.
        TypeError: `audio` has none of the forms above, or `truncation` is not a bool.
        ImportError: soundfile, av or soxr is needed and not installed.
    """
    if truncation not in (True, False):
        raise TypeError(f"truncation is {truncation!r}: it must be True or False.")
    name = named(audio, name)
    rate: int | None
    if isinstance(audio, Mapping):
        if audio.get("array") is not None:
            return load_audio(audio["array"], target_rate, audio.get("sampling_rate"), max_seconds, truncation, name)
        path, data = audio.get("path"), audio.get("bytes")
        if path is None and data is None:
            keys = ", ".join(map(str, audio)) or "nothing"
            raise AudioError(f"{name} is a mapping of {keys}, without a value for bytes, path or array.")
        audio = path if data is None else data
        samples, rate = decode(audio, max_seconds, truncation, name)
    elif isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview):
        samples, rate = decode(audio, max_seconds, truncation, name)
    elif hasattr(audio, "get_all_samples"):  # datasets' decoder
        decoded = audio.get_all_samples()
        samples, rate = as_samples(decoded.data, name), decoded.sample_rate
    else:
        samples, rate = as_samples(audio, name), sampling_rate
    rate = check_rate(rate, name)

    if len(samples) == 0:
        raise AudioError(f"{name} holds no samples.")
    samples = samples[: check_seconds(len(samples), rate, max_seconds, truncation, name)]
    broken = np.flatnonzero(~np.isfinite(samples))
    if len(broken):
        raise AudioError(
            f"{name} has {len(broken)} NaN or infinite samples, the first at {broken[0] / rate:.3f} s: "
            "all must be finite."
        )
    if rate == target_rate:
        return samples
    if soxr is None:
        raise ImportError(f"{name} is at {rate} Hz and must be at {target_rate}: pip install soxr.")
    return soxr.resample(samples, rate, target_rate, quality="HQ")


def named(audio: Any, name: str) -> str:
    """`name` and the path of the audio if it has one. A path of more than `MAX_PATH` characters is shortened."""
    path = audio.get("path") if isinstance(audio, Mapping) else audio
    if not isinstance(path, str | os.PathLike):
        return name
    path = os.fspath(path)
    return f"{name} ({path if len(path) <= MAX_PATH else path[:50] + '...'})"


def as_samples(audio: Any, name: str) -> np.ndarray:
    """
    Samples in an array, tensor or list as float32 `[S]` of one channel.

    Args:
        audio: `[S]`, or 2-D with the channels on the shorter axis.
        name: what messages call the audio.

    Raises:
        AudioError: the shape or the type of the numbers can't be used.
        TypeError: `audio` does not hold numbers.
    """
    if isinstance(audio, torch.Tensor):
        array = audio.detach().cpu().float().numpy() if audio.is_floating_point() else audio.cpu().numpy()
    elif isinstance(audio, np.ndarray) or (
        isinstance(audio, Sequence) and not isinstance(audio, str) and all(isinstance(x, numbers.Real) for x in audio)
    ):
        array = np.asarray(audio)
    else:
        raise TypeError(
            f"{name} is a {type(audio).__name__}: give a path, the bytes of a file, an array or tensor of samples, or "
            "a struct with bytes, path or array."
        )
    if array.ndim not in (1, 2):
        raise AudioError(f"{name} has shape {list(array.shape)}: samples must be [S], or 2-D for several channels.")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype in (np.int16, np.int32):
        array = array.astype(np.float32) / (np.iinfo(array.dtype).max + 1)
    elif array.dtype == np.uint8:
        array = (array.astype(np.float32) - 128) / 128
    elif not np.issubdtype(array.dtype, np.floating):
        raise AudioError(
            f"{name} has samples of {array.dtype}, whose full scale is not known: give int16, int32, uint8 or floats."
        )
    array = array.astype(np.float32, copy=False)
    if array.size == 0:
        return array.reshape(0)
    if array.ndim == 2:
        if array.shape[0] == array.shape[1]:
            raise AudioError(f"{name} has shape {list(array.shape)}: which axis holds the channels can't be told.")
        array = array if array.shape[1] < array.shape[0] else array.T
        if array.shape[1] > MAX_CHANNELS:
            raise AudioError(
                f"{name} would be of {array.shape[1]} channels with {array.shape[0]} samples: give several waveforms "
                "as a list, and no spectrogram."
            )
        array = mixed([array], name)
    return np.ascontiguousarray(array)


def check_rate(rate: Any, name: str) -> int:
    """
    The sampling rate in Hz as an integer.

    Raises:
        AudioError: it is not a whole number from 1000 to 768000.
    """
    if rate is None:
        raise AudioError(f"{name} is given as samples without sampling_rate: say how many a second they are, in Hz.")
    rate = rate.item() if isinstance(rate, np.ndarray | torch.Tensor) and rate.ndim == 0 else rate
    hertz = float(rate) if isinstance(rate, numbers.Real) else 0.0
    if not 1000 <= hertz <= 768000 or not hertz.is_integer():
        raise AudioError(f"The sampling_rate of {name} is {rate!r}: it must be a whole number of Hz, 1000 to 768000.")
    return int(hertz)
