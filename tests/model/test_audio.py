"""Every form of an utterance gives the same waveform, resampling keeps what it should, and bad audio is named."""

import array
import base64
import importlib.util
import io
import os
import re
import struct
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from tacfn_hf.model import decoding_tacfn
from tacfn_hf.model.audio_tacfn import load_audio
from tacfn_hf.model.decoding_tacfn import AudioError, audio_seconds


RATE = 16000


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


def middle(waveform: np.ndarray) -> np.ndarray:
    """Without 50 ms at either end, where the tone starts and stops."""
    return waveform[RATE // 20 : -RATE // 20]


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


WAV = file_bytes(SAMPLES)
FLAC = file_bytes(SAMPLES, format="FLAC")
FORMS = {
    "path in a str": lambda folder: str(saved(folder, "u.wav", WAV)),
    "Path": lambda folder: saved(folder, "u.wav", WAV),
    "path of FLAC": lambda folder: saved(folder, "u.flac", FLAC),
    "path without a suffix": lambda folder: saved(folder, "u", FLAC),
    "bytes of WAV": lambda _: WAV,
    "bytes of FLAC": lambda _: FLAC,
    "bytes of the standard library's WAV": lambda _: wav_bytes(SAMPLES.tobytes(), 2),
    "bytes of WAV in floats": lambda _: file_bytes(WAVEFORM, subtype="FLOAT"),
    "bytes of WAV in 24 bits": lambda _: file_bytes(SAMPLES, subtype="PCM_24"),
    "bytes of AIFF": lambda _: file_bytes(SAMPLES, format="AIFF"),
    "bytearray": lambda _: bytearray(WAV),
    "memoryview": lambda _: memoryview(WAV),
    "struct of bytes and path": lambda _: {"bytes": FLAC, "path": "u.flac"},
    "struct of bytes": lambda _: {"bytes": WAV, "path": None},
    "struct of a path": lambda folder: {"bytes": None, "path": str(saved(folder, "u.wav", WAV))},
    "struct of path alone": lambda folder: {"path": str(saved(folder, "u.flac", FLAC))},
    "struct of an array": lambda _: {"array": WAVEFORM, "sampling_rate": RATE, "path": None},
    "struct of a list": lambda _: {"array": WAVEFORM.tolist(), "sampling_rate": RATE},
    "float32": lambda _: WAVEFORM,
    "float64": lambda _: WAVEFORM.astype(np.float64),
    "int16": lambda _: SAMPLES,
    "int32": lambda _: SAMPLES.astype(np.int32) << 16,
    "big-endian int16": lambda _: SAMPLES.astype(">i2"),
    "tensor": lambda _: torch.from_numpy(WAVEFORM),
    "tensor with a gradient": lambda _: torch.from_numpy(WAVEFORM).requires_grad_(),
    "tensor of float64": lambda _: torch.from_numpy(WAVEFORM).double(),
    "tensor of int16": lambda _: torch.from_numpy(SAMPLES),
    "every second of twice as many": lambda _: np.repeat(WAVEFORM, 2)[::2],
    "list of floats": lambda _: WAVEFORM.tolist(),
    "tuple of floats": lambda _: tuple(WAVEFORM.tolist()),
    "list of numpy's floats": lambda _: list(WAVEFORM),
    "array of the standard library": lambda _: array.array("f", WAVEFORM.tolist()),
    "one channel by samples": lambda _: WAVEFORM[None],
    "samples by one channel": lambda _: WAVEFORM[:, None],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_waveform(tmp_path, form):
    found = load_audio(form(tmp_path), RATE, sampling_rate=RATE)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.array_equal(found, WAVEFORM)


def test_what_is_given_is_not_changed():
    given = WAVEFORM.copy()
    load_audio(given, RATE, sampling_rate=RATE)
    load_audio(given, 8000, sampling_rate=RATE)
    assert np.array_equal(given, WAVEFORM)


@pytest.mark.parametrize(
    ("dtype", "given", "expected"),
    [
        (np.int16, [-32768, 0, 16384], [-1, 0, 0.5]),
        (np.int32, [-(2**31), 0, 2**30], [-1, 0, 0.5]),
        (np.uint8, [0, 128, 192], [-1, 0, 0.5]),
        (np.float64, [-1, 0, 0.5], [-1, 0, 0.5]),
        (np.float16, [-1, 0, 0.5], [-1, 0, 0.5]),
    ],
)
@pytest.mark.parametrize("make", [np.array, lambda x: torch.from_numpy(np.array(x))], ids=["array", "tensor"])
def test_full_scale_is_one(dtype, given, expected, make):
    assert load_audio(make(np.array(given, dtype)), RATE, sampling_rate=RATE).tolist() == expected


def test_eight_bits_are_the_same_in_an_array_and_in_a_file():
    samples = np.arange(256, dtype=np.uint8)
    in_file = load_audio(wav_bytes(samples.tobytes(), 1), RATE)
    assert np.array_equal(load_audio(samples, RATE, sampling_rate=RATE), in_file)


STEREO_FORMS = {
    "channels by samples": lambda both: both.T,
    "samples by channels": lambda both: both,
    "tensor": lambda both: torch.from_numpy(both.T.copy()),
    "int16": lambda both: (both.T * 32768).astype(np.int16),
    "WAV": file_bytes,
    "FLAC": lambda both: file_bytes(both, format="FLAC"),
    "struct": lambda both: {"array": both, "sampling_rate": RATE},
}


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("form", STEREO_FORMS.values(), ids=STEREO_FORMS)
def test_channels_are_averaged(form, channels):
    every = np.stack([pcm(seed=seed)[2:] / 32768 for seed in range(channels)], axis=1)
    found = load_audio(form(every), RATE, sampling_rate=RATE)
    assert np.abs(found - every.mean(axis=1)).max() < 1e-6


@pytest.mark.parametrize("frequency", [100, 440, 3000])
@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_a_resampled_sine_is_the_sine_at_the_other_rate(rate, frequency):
    for audio, given_rate in ((sine(frequency, rate), rate), (file_bytes(sine(frequency, rate), rate), None)):
        found = load_audio(audio, RATE, sampling_rate=given_rate)
        assert found.dtype == np.float32
        assert abs(len(found) - RATE) <= 1
        assert np.abs(middle(found) - middle(sine(frequency, RATE))[: len(middle(found))]).max() < 1e-3


@pytest.mark.parametrize("size", [1000, 12345, 44101])
@pytest.mark.parametrize(("rate", "target"), [(44100, RATE), (8000, RATE), (RATE, 24000), (RATE, RATE)])
def test_length_follows_the_rates(size, rate, target):
    assert abs(len(load_audio(pcm(size), target, sampling_rate=rate)) - round(size * target / rate)) <= 1


@pytest.mark.parametrize(("frequency", "rate"), [(10_000, 44100), (9_000, 48000), (15_000, 44100)])
def test_what_is_above_half_the_rate_vanishes(frequency, rate):
    found = load_audio(sine(frequency, rate), RATE, sampling_rate=rate)
    heard = sine(1000, RATE)
    assert np.square(middle(found)).sum() < 1e-6 * np.square(middle(heard)).sum()


def with_sizes(data: bytes, riff: int, samples: int) -> bytes:
    """A WAV file whose header says other sizes, of the file and of its samples."""
    place = data.index(b"data") + 4
    return data[:4] + struct.pack("<I", riff) + data[8:place] + struct.pack("<I", samples) + data[place + 4 :]


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_file_from_a_pipe_is_read_whole(tmp_path, size):
    data = with_sizes(WAV, size, size)
    assert np.array_equal(load_audio(data, RATE), WAVEFORM)
    assert np.array_equal(load_audio(saved(tmp_path, "u.wav", data), RATE), WAVEFORM)


def test_chunks_behind_the_samples_are_no_samples():
    extra = b"LIST" + struct.pack("<I", 4) + b"INFO"
    data = with_sizes(WAV, len(WAV) + len(extra) - 8, 2 * len(SAMPLES)) + extra
    assert np.array_equal(load_audio(data, RATE), WAVEFORM)


def without_count(flac: bytes) -> bytes:
    """A FLAC file whose header doesn't say how many samples there are: 36 bits of STREAMINFO."""
    return flac[:21] + bytes([flac[21] & 0xF0, 0, 0, 0, 0]) + flac[26:]


def broken(place: int, value: float, size: int = 4000) -> np.ndarray:
    samples = np.zeros(size, np.float32)
    samples[place] = value
    return samples


class Opaque:
    pass


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
# As corpora of the 1990s came: SPHERE, packed by shorten.
SPHERE = (
    b"NIST_1A\n   1024\nsample_count -i 4000\nsample_rate -i 16000\nchannel_count -i 1\nsample_n_bytes -i 2\n"
    b"sample_byte_format -s2 01\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
).ljust(1024) + b"ajkg\x02" * 800


# How it is made in a folder, the error and its message.
BAD_FILES = {
    "missing": (lambda folder: folder / "no.wav", r"no\.wav\) is not a file: there is nothing there"),
    "address": (lambda _: "https://example.org/u.wav", r"u\.wav\) is an address, which is not fetched"),
    "device": (lambda _: os.devnull, "is not a file: there is no regular file there"),
    "missing, in a struct": (lambda f: {"path": str(f / "no.wav")}, r"no\.wav\) is not a file: there is nothing there"),
    "folder": (lambda folder: folder, "is not a file: there is a folder there"),
    "0 bytes": (lambda folder: saved(folder, "u.wav", b""), r"u\.wav\) is empty: the file has 0 bytes"),
    "0 bytes, in bytes": (lambda _: b"", "is empty: the file has 0 bytes"),
    "0 bytes, in a struct": (lambda _: {"bytes": b"", "path": "a/u.wav"}, r"\(a/u\.wav\) is empty"),
    "text": (lambda folder: saved(folder, "u.wav", b"no audio at all\n" * 9), r"u\.wav\) can't be decoded as audio: "),
    "text, in bytes": (lambda _: b"no audio at all\n" * 9, "can't be decoded as audio: "),
    "Git LFS pointer": (
        lambda folder: saved(folder, "u.wav", POINTER),
        r"u\.wav\) is a Git LFS pointer, .*lfs pull",
    ),
    "Git LFS pointer, in a struct": (lambda _: {"bytes": POINTER, "path": "u.mp3"}, r"u\.mp3\) is a Git LFS pointer"),
    "packed SPHERE": (
        lambda folder: saved(folder, "u.sph", SPHERE),
        r"u\.sph\) is a SPHERE file .*with sph2pipe",
    ),
    "base64": (
        lambda _: base64.b64encode(WAV).decode(),
        r"\(.{50}\.\.\.\) is a text of \d+ .*base64 must be dec",
    ),
    "data URI": (lambda _: "data:audio/wav;base64,UklGRg==", "is a text of 30 characters that names no file"),
    "a text of words": (lambda _: "I did not say that. " * 20, "is a text of 400 characters that names no file"),
    "text named FLAC": (
        lambda folder: saved(folder, "u.flac", b"no audio"),
        r"u\.flac\) can't be decoded as audio: it is",
    ),
    "header alone": (lambda _: WAV[:20], "can't be decoded as audio: "),
    "WAV without samples": (lambda _: wav_bytes(b"", 2), "holds no samples"),
    "FLAC with a hole": (lambda _: FLAC[: len(FLAC) // 3] + FLAC[len(FLAC) // 2 :], "can't be decoded as audio: "),
    "NaN in a file": (
        lambda _: file_bytes(broken(1600, np.nan), subtype="FLOAT"),
        r"has 1 NaN or infinite samples, the first at 0\.100 s",
    ),
    "inf in a file": (
        lambda folder: saved(folder, "u.wav", file_bytes(broken(slice(800, 803), -np.inf), 8000, subtype="FLOAT")),
        r"u\.wav\) has 3 NaN or infinite samples, the first at 0\.100 s",
    ),
    "NaN in one channel": (
        lambda _: file_bytes(np.stack([WAVEFORM, broken(3200, np.nan)], axis=1), subtype="DOUBLE"),
        r"has 1 NaN or infinite samples, the first at 0\.200 s",
    ),
    "empty mapping": (lambda _: {}, "is a mapping of nothing, without a value for bytes, path or array"),
    "mapping of other keys": (lambda _: {"speech": [0.0]}, "is a mapping of speech, without a value"),
    "mapping of None": (lambda _: {"bytes": None, "path": None}, "is a mapping of bytes, path, without a value"),
    "struct without a rate": (lambda _: {"array": WAVEFORM}, "is given as samples without sampling_rate"),
    "struct with a bad rate": (lambda _: {"array": WAVEFORM, "sampling_rate": 0}, "sampling_rate of .* is 0: it must"),
}


@pytest.mark.parametrize(("make", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(tmp_path, make, message):
    with pytest.raises(AudioError, match=message) as caught:
        load_audio(make(tmp_path), RATE, name="audio of u7")
    assert "audio of u7" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


BAD_SAMPLES = {
    "NaN": (broken(1600, np.nan), r"has 1 NaN or infinite samples, the first at 0\.100 s"),
    "inf": (broken(slice(3998, 4000), np.inf), r"has 2 NaN or infinite samples, the first at 0\.250 s"),
    "inf in a list": ([0.0, float("inf")], r"has 1 NaN or infinite samples, the first at 0\.000 s"),
    "NaN in one channel": (np.stack([WAVEFORM, broken(0, np.nan)]), "has 1 NaN or infinite samples"),
    "inf in both channels": (torch.from_numpy(np.stack([broken(0, np.inf)] * 2)), "has 1 NaN or infinite samples"),
    "no samples": (np.zeros(0, np.float32), "holds no samples"),
    "no samples of two channels": (np.zeros((2, 0), np.float32), "holds no samples"),
    "empty list": ([], "holds no samples"),
    "one number": (np.array(0.5), r"has shape \[\]"),
    "three dimensions": (np.zeros((1, 2, 4000), np.float32), r"has shape \[1, 2, 4000\]: samples must be \[S\]"),
    "spectrogram": (np.zeros((80, 3000), np.float32), "would be of 80 channels with 3000 samples: .* no spectrogram"),
    "square": (torch.zeros(4, 4), r"has shape \[4, 4\]: which axis holds the channels"),
    "int64": (SAMPLES.astype(np.int64), "has samples of int64, whose full scale is not known"),
    "tensor of int64": (torch.zeros(4000, dtype=torch.long), "has samples of int64"),
    "list of integers": ([0, 100, -100], "has samples of int64"),
    "uint16": (SAMPLES.astype(np.uint16), "has samples of uint16"),
    "bool": (np.ones(4000, bool), "has samples of bool"),
    "complex": (np.ones(4000, np.complex64), "has samples of complex64"),
    "objects": (np.array([None, 1.0]), "has samples of object"),
}


@pytest.mark.parametrize(("given", "message"), BAD_SAMPLES.values(), ids=BAD_SAMPLES)
def test_bad_samples(given, message):
    with pytest.raises(AudioError, match=message) as caught:
        load_audio(given, RATE, sampling_rate=RATE, name="audio of u7")
    assert "audio of u7" in str(caught.value)


@pytest.mark.parametrize(
    "rate", [0, -1, -16000, 999, 16000.5, "16000", True, 10**9, float("nan"), float("inf"), [16000], 16000j]
)
@pytest.mark.parametrize("given", [WAVEFORM, WAVEFORM.tolist(), torch.from_numpy(WAVEFORM)], ids=["np", "list", "pt"])
def test_bad_sampling_rates(rate, given):
    with pytest.raises(
        AudioError, match="The sampling_rate of audio of u7 is .*: it must be a whole number of Hz"
    ) as e:
        load_audio(given, RATE, sampling_rate=rate, name="audio of u7")
    assert repr(rate) in str(e.value)


def test_samples_need_a_sampling_rate():
    with pytest.raises(AudioError, match="audio of u7 is given as samples without sampling_rate"):
        load_audio(WAVEFORM, RATE, name="audio of u7")


@pytest.mark.parametrize("rate", [8000, 8000.0, np.int64(8000), np.float32(8000), np.array(8000), torch.tensor(8000)])
def test_a_whole_rate_may_have_any_type(rate):
    assert np.array_equal(load_audio(WAVEFORM, RATE, rate), load_audio(WAVEFORM, RATE, 8000))
    assert len(load_audio(WAVEFORM, RATE, rate)) == 2 * len(WAVEFORM)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, "NoneType"),
        (7, "int"),
        (Opaque(), "Opaque"),
        (["a.wav", "b.wav"], "list"),
        ([[0.0, 0.1], [0.2, 0.3]], "list"),
        ({1.0, 2.0}, "set"),
    ],
)
def test_what_is_no_audio_is_a_type_error(given, kind):
    with pytest.raises(TypeError, match=f"audio of u7 is a {kind}: give a path, the bytes of a file"):
        load_audio(given, RATE, sampling_rate=RATE, name="audio of u7")


@pytest.mark.parametrize(("key", "kind"), [("bytes", "int"), ("path", "list")])
def test_a_struct_of_something_else_is_a_type_error(key, kind):
    value = {"int": 7, "list": ["u.wav"]}[kind]
    with pytest.raises(TypeError, match=rf"audio of u7.* has a {kind} where the bytes or the path"):
        load_audio({key: value}, RATE, name="audio of u7")


CUT = {
    "WAV": {"format": "WAV", "subtype": "PCM_16"},
    "WAV in floats": {"format": "WAV", "subtype": "FLOAT"},
    "WAV in 24 bits": {"format": "WAVEX", "subtype": "PCM_24"},
    "RF64": {"format": "RF64", "subtype": "PCM_16"},
    "W64": {"format": "W64", "subtype": "PCM_16"},
    "AIFF": {"format": "AIFF", "subtype": "PCM_16"},
    "AU": {"format": "AU", "subtype": "PCM_16"},
    "FLAC": {"format": "FLAC", "subtype": "PCM_16"},
}


@pytest.mark.parametrize("part", [0.5, 0.75, 0.99])
@pytest.mark.parametrize("arguments", CUT.values(), ids=CUT)
def test_a_file_that_was_cut_off_is_refused(tmp_path, arguments, part):
    whole = file_bytes(pcm(30000), **arguments)
    assert abs(len(load_audio(whole, RATE)) - 30000) < 2000
    for audio in (whole[: int(part * len(whole))], saved(tmp_path, "u", whole[: int(part * len(whole))])):
        with pytest.raises(AudioError, match=r"audio of u7.* (is cut off: the file ends|can't be decoded as audio: )"):
            load_audio(audio, RATE, name="audio of u7")


def test_a_file_without_its_last_sample_is_refused():
    for data in (WAV, file_bytes(SAMPLES, format="AIFF"), wav_bytes(SAMPLES.tobytes(), 2)):
        with pytest.raises(AudioError, match="is cut off"):
            load_audio(data[:-2], RATE)


LIMITED = {"array": lambda x, rate: (x, rate), "WAV": lambda x, rate: (file_bytes(x, rate), None)}


@pytest.mark.parametrize("form", LIMITED.values(), ids=LIMITED)
@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("seconds", [0.5, 0.57, 2.01, 4.03])
def test_seconds_are_limited(form, rate, seconds):
    allowed = round(seconds * rate)
    longer = pcm(allowed + 2000)
    exact = load_audio(*swap(form(longer[:allowed], rate)), max_seconds=seconds)
    assert len(exact) == round(seconds * RATE)
    given = form(longer[: allowed + 1], rate)
    with pytest.raises(AudioError, match=rf"audio of u7 is .* s long, more than max_audio_seconds {seconds}: .*trunc"):
        load_audio(*swap(given), max_seconds=seconds, name="audio of u7")
    cut = load_audio(*swap(form(longer, rate)), max_seconds=seconds, truncation=True)
    assert np.array_equal(cut, exact)


def swap(given: tuple) -> tuple:
    audio, rate = given
    return audio, RATE, rate


def test_a_shorter_one_is_not_cut():
    for audio in (WAVEFORM, WAV):
        found = load_audio(audio, RATE, sampling_rate=RATE, max_seconds=60.0, truncation=True)
        assert np.array_equal(found, WAVEFORM)


def test_what_is_cut_away_may_be_broken_and_what_stays_may_not():
    samples = broken(3200, np.nan)
    assert len(load_audio(samples, RATE, RATE, max_seconds=0.2, truncation=True)) == 3200
    with pytest.raises(AudioError, match=r"the first at 0\.200 s"):
        load_audio(samples, RATE, RATE, max_seconds=0.201, truncation=True)


@pytest.mark.parametrize("truncation", ["False", "no", None, 2])
def test_whether_to_cut_is_yes_or_no(truncation):
    with pytest.raises(TypeError, match=f"truncation is {truncation!r}: it must be True or False"):
        load_audio(WAV, RATE, max_seconds=0.1, truncation=truncation)


def test_a_limit_without_end():
    assert np.array_equal(load_audio(WAV, RATE, max_seconds=float("inf")), WAVEFORM)


LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


CANCELLING = {
    "the negative": [1.0, -1.0],
    "nearly the negative": [1.0, -0.95],
    "four, two of them turned": [1.0, 0.5, -1.0, -0.5],
}


@pytest.mark.parametrize("form", STEREO_FORMS.values(), ids=STEREO_FORMS)
@pytest.mark.parametrize("gains", CANCELLING.values(), ids=CANCELLING)
def test_channels_that_cancel_each_other_are_an_error(form, gains):
    """Their mean is silence, and would get the answer that silence gets."""
    both = WAVEFORM[2:, None] * np.array(gains, np.float32)
    with pytest.raises(AudioError, match=f"audio of u7 has {len(gains)} channels that cancel each other"):
        load_audio(form(both), RATE, sampling_rate=RATE, name="audio of u7")


def test_an_offset_is_no_sound():
    soft = 0.05 * WAVEFORM
    with pytest.raises(AudioError, match="cancel each other"):
        load_audio(np.stack([0.02 + soft, 0.02 - soft]), RATE, sampling_rate=RATE)
    both = np.stack([0.3 + soft, soft - 0.3])
    assert np.allclose(load_audio(both, RATE, sampling_rate=RATE), soft, atol=1e-6)


def test_channels_that_cancel_each_other_in_a_container(tmp_path):
    data = container(tmp_path / "u.m4a", [np.stack([WAVEFORM, -WAVEFORM])], codec="alac")
    with pytest.raises(AudioError, match="has 2 channels that cancel each other"):
        load_audio(data, RATE)


@pytest.mark.parametrize(
    "gains", [[1, 0], [1, 0, 0, 0, 0, 0], [1, -0.5], [0, 0]], ids=["one of 2", "one of 6", "half", "silence"]
)
def test_channels_that_differ_do_not_cancel(gains):
    every = WAVEFORM[2:, None] * np.array(gains, np.float32)
    assert np.allclose(load_audio(every, RATE, sampling_rate=RATE), every.mean(axis=1), atol=1e-7)


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


def test_what_a_mac_leaves_beside_an_mp4_changes_nothing(tmp_path):
    container(tmp_path / "u.mp4", [WAVEFORM[None]])
    alone = load_audio(tmp_path / "u.mp4", RATE)
    (tmp_path / "._u.mp4").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(4080))
    assert np.array_equal(load_audio(tmp_path / "u.mp4", RATE), alone)


# How a file is made, by PyAV (or, with a codec in capitals, by libsndfile): name, muxer, codec, options of the muxer.
# Then by how many samples the codec delays the audio where the file does not say so: LAME's encoder 576 and decoder
# 529, MPEG layer II 481, AAC a frame, AC-3 half a block, AMR 5 ms of look-ahead. None: the file says so, and the length
# is exact. Last, whether a cut is always found.
CODECS = [
    ("wav", "wav", "pcm_s16le", {}, None, True),
    ("wav A-law", "wav", "pcm_alaw", {}, None, True),
    ("wav MP3", "wav", "libmp3lame", {}, 1105, True),
    ("aiff", "aiff", "pcm_s16be", {}, None, True),
    ("flac", "flac", "flac", {}, None, True),
    ("caf", "caf", "pcm_s16le", {}, None, True),
    ("mp3", "mp3", "libmp3lame", {}, None, True),
    ("mp3 by libsndfile", "MP3", "MPEG_LAYER_III", {}, None, True),
    ("mp3 without Xing", "mp3", "libmp3lame", {"write_xing": "0"}, 1105, False),
    ("mp3 of variable rate", "mp3", "libmp3lame", {"quality": "5"}, None, True),
    ("mp3 of variable rate without Xing", "mp3", "libmp3lame", {"quality": "5", "write_xing": "0"}, 1105, False),
    ("mp2", "mp2", "mp2", {}, 481, False),
    ("aac", "adts", "aac", {}, 1024, False),
    ("latm", "latm", "aac", {}, 1024, False),
    ("m4a", "ipod", "aac", {}, None, True),
    ("m4a, ALAC", "ipod", "alac", {}, None, True),
    ("mp4", "mp4", "aac", {}, None, True),
    ("mp4 with its index in front", "mp4", "aac", {"movflags": "faststart"}, None, True),
    ("mp4 in fragments", "mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}, 1024, False),
    ("mov", "mov", "pcm_s16le", {}, None, True),
    ("3gp", "3gp", "aac", {}, None, True),
    ("webm", "webm", "libopus", {}, None, True),
    ("mkv, FLAC", "matroska", "flac", {}, None, True),
    ("mkv, AAC", "matroska", "aac", {}, 0, True),  # it states the delay, but not the padding
    ("ogg, Vorbis", "OGG", "VORBIS", {}, None, False),
    ("ogg, Opus", "ogg", "libopus", {}, None, False),
    ("ogg, FLAC", "ogg", "flac", {}, None, False),
    ("avi", "avi", "pcm_s16le", {}, None, True),
    ("ac3", "ac3", "ac3", {}, 256, False),
    ("amr", "amr", "libopencore_amrnb", {}, 40, False),
    ("flv", "flv", "aac", {}, 1024, True),
    ("mpegts", "mpegts", "aac", {}, 1024, False),
    ("wavpack", "wv", "wavpack", {}, None, True),
]
RATES = {"libopus": (16000, 48000), "libopencore_amrnb": (8000,), "ac3": (32000, 44100)}
FRAME = 2048  # samples, of the longest packet of these codecs


def chirp(rate: int, channels: int, seconds: float = 2.0137) -> np.ndarray:
    """`[S, C]`: a tone that rises and swells, and is like itself at one place only; the second channel is softer."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) * (1 + 0.3 * np.sin(6 * time))
    return (tone[:, None] * 0.5 ** np.arange(channels)).astype(np.float32)


def encoded(path: Path, samples: np.ndarray, rate: int, muxer: str, codec: str, options: dict) -> bytes:
    """A file of `samples [S, C]`."""
    if codec.isupper():
        soundfile.write(path, samples, rate, format=muxer, subtype=codec)
        return path.read_bytes()
    layout = LAYOUTS[samples.shape[1]]
    options = dict(options)
    quality = options.pop("quality", None)
    with av.open(str(path), "w", format=muxer, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        if quality is not None:
            stream.codec_context.options = {"global_quality": str(118 * int(quality))}
            stream.codec_context.flags |= av.codec.context.Flags.qscale
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        convert = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for converted in convert.resample(frame) + convert.resample(None):
            file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("codec", CODECS, ids=[codec[0] for codec in CODECS])
def test_every_codec_gives_what_went_in_and_its_cuts_are_known(tmp_path, codec):
    _, muxer, encoder, options, delay, tells = codec
    for rate in RATES.get(encoder, (16000, 44100)):
        for channels in (1,) if encoder == "libopencore_amrnb" else (1, 2):
            given = chirp(rate, channels)
            path = tmp_path / f"{rate}-{channels}"
            whole = encoded(path, given, rate, muxer, encoder, options)
            found = load_audio(whole, rate)
            assert np.array_equal(load_audio(path, rate), found)
            assert audio_seconds(path) == audio_seconds(whole) == pytest.approx(len(found) / rate, abs=1e-9)

            extra = len(found) - len(given) - (delay or 0)
            assert extra == 0 if delay is None else abs(extra) < FRAME
            found_there = found[delay or 0 :][: len(given)]
            expected = given.mean(axis=1)[: len(found_there)]
            assert np.corrcoef(found_there, expected)[0, 1] > (0.9 if encoder == "libopencore_amrnb" else 0.99)
            assert 0.8 < np.linalg.norm(found_there) / np.linalg.norm(expected) < 1.2

            for part in (0.04, 0.33, 0.5, 0.77, 0.9):
                short, error = outcome(whole[: int(part * len(whole))], rate)
                if error is not None:
                    assert re.match("audio of u7 (is cut off|is damaged or cut|can't be dec|holds no)", error)
                    assert "\n" not in error
                else:  # what is there is as it was, but for the packet that was cut
                    assert not tells or len(short) == len(found)
                    assert len(short) <= len(found)
                    kept = max(0, len(short) - FRAME)
                    assert np.array_equal(short[:kept], found[:kept])


def outcome(data: bytes, rate: int) -> tuple[np.ndarray | None, str | None]:
    """The waveform, or the error's message."""
    try:
        return load_audio(data, rate, name="audio of u7"), None
    except AudioError as error:
        return None, str(error)


@pytest.mark.parametrize(("muxer", "encoder"), [("adts", "aac"), ("latm", "aac"), ("ac3", "ac3"), ("flac", "flac")])
def test_half_a_frame_is_damage(tmp_path, muxer, encoder):
    whole = encoded(tmp_path / "u", chirp(44100, 1), 44100, muxer, encoder, {})
    with pytest.raises(AudioError, match="damaged or cut off|can't be decoded|is cut off"):
        load_audio(whole[:-3], 44100)


@pytest.mark.parametrize("muxer", ["mp3", "mp2"])
def test_what_is_no_frame_is_no_sound(tmp_path, muxer):
    encoder = {"mp3": "libmp3lame", "mp2": "mp2"}[muxer]
    plain = encoded(tmp_path / "u", chirp(RATE, 1), RATE, muxer, encoder, {"write_xing": "0"} if muxer == "mp3" else {})
    expected = load_audio(plain, RATE)
    id3 = b"ID3\x03\0\0\0\0\x10\0" + bytes(2048)
    for name, data in {
        "ID3v2": id3 + plain,
        "ID3v1": plain + b"TAG" + bytes(125),
        "APE": plain + b"APETAGEX" + bytes(24),
        "zeros": plain + bytes(3000),
        "text": plain + b"Hello there. " * 99,
    }.items():
        assert np.array_equal(load_audio(data, RATE), expected), name


def test_files_one_behind_the_other_are_all_read(tmp_path):
    """The header of the first, as of the first song of a stream, says nothing about the others."""
    for muxer, encoder in (("mp3", "libmp3lame"), ("OGG", "VORBIS"), ("ogg", "libopus")):
        one = encoded(tmp_path / "u", chirp(RATE, 1), RATE, muxer, encoder, {})
        assert len(load_audio(one + one, RATE)) > 1.98 * len(load_audio(one, RATE)), muxer


@pytest.mark.parametrize("channels", LAYOUTS)
@pytest.mark.parametrize(("name", "codec"), [("u.mov", "pcm_s16le"), ("u.m4a", "alac")], ids=["packed", "planar"])
def test_channels_of_containers_are_averaged(tmp_path, name, codec, channels):
    every = np.stack([pcm(seed=seed)[2:] / 32768 for seed in range(channels)]).astype(np.float32)
    found = load_audio(container(tmp_path / name, [every], codec=codec), RATE)
    assert len(found) == every.shape[1]
    assert np.abs(found - every.mean(axis=0)).max() < 1e-6


def test_the_first_of_two_tracks_is_taken(tmp_path):
    first, second = WAVEFORM[None], -WAVEFORM[None]
    data = container(tmp_path / "u.mov", [first, second], codec="pcm_s16le", video=True)
    assert np.array_equal(load_audio(data, RATE), WAVEFORM)


@pytest.mark.parametrize(
    ("name", "codec"), [("u.mkv", "aac"), ("u.webm", "libopus"), ("u.flv", "aac"), ("u.avi", "mp3")]
)
def test_a_cut_is_seen_where_there_are_pictures(tmp_path, name, codec):
    """The file's length may be that of its pictures, which go on for longer than the audio."""
    rate = 48000 if codec == "libopus" else 44100
    whole = container(tmp_path / name, [sine(440, rate, 1.5)[None]], rate, codec, video=True)  # 2.4 s of pictures
    assert len(load_audio(whole, rate)) == pytest.approx(1.5 * rate, abs=3000)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(AudioError, match="is cut off|damaged|can't be decoded"):
            load_audio(whole[: int(part * len(whole))], rate)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("u.mkv", "aac"), ("u.mka", "pcm_s16le"), ("u.webm", "libopus"), ("u.mp4", "aac"), ("u.avi", "mp3")],
)
@pytest.mark.parametrize("kind", ["starts late", "pauses"])
def test_audio_that_starts_late_or_pauses_is_not_cut_off(tmp_path, name, codec, kind):
    """As in the second part of a recording that was divided, and in one that was paused."""
    rate, halves = 48000, []
    with av.open(str(tmp_path / name), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        samples = sine(440, rate, 1.0)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        convert = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        halves = [p for f in convert.resample(frame) + convert.resample(None) for p in stream.encode(f)]
        halves += stream.encode(None)
        for i, packet in enumerate(halves):
            if kind == "starts late" or i > len(halves) // 2:
                packet.pts += round(3 / packet.time_base)
                packet.dts += round(3 / packet.time_base)
            packet.stream = stream
            file.mux(packet)
    assert len(load_audio(tmp_path / name, rate)) == pytest.approx(rate, abs=4000)


@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
@pytest.mark.parametrize("rate", [8000, 11025])
@pytest.mark.parametrize("muxer", ["matroska", "avi"])
def test_low_rates_have_long_packets(tmp_path, codec, rate, muxer):
    """Whose delay and padding are longer than what a header may exceed its audio by."""
    for seconds in (0.5, 1.3, 2.0137):
        given = chirp(rate, 1, seconds)
        found = load_audio(encoded(tmp_path / "u", given, rate, muxer, codec, {}), rate)
        assert 0 <= len(found) - len(given) < 2 * FRAME


def test_flac_from_a_pipe_is_read_to_its_end(tmp_path):
    assert np.array_equal(load_audio(without_count(FLAC), RATE), WAVEFORM)
    assert audio_seconds(saved(tmp_path, "u.flac", without_count(FLAC))) == len(WAVEFORM) / RATE


@pytest.mark.parametrize("riff", [0, len(WAV) - 8])
def test_a_wav_header_that_was_never_completed_is_said(riff):
    """As where a recorder was killed: there are samples, though it says that there are none."""
    for read in (lambda data: load_audio(data, RATE), audio_seconds):
        with pytest.raises(AudioError, match="has a header that was never completed"):
            read(with_sizes(WAV, riff, 0))


@pytest.mark.parametrize(("muxer", "encoder"), [("ogg", "libopus"), ("OGG", "VORBIS"), ("ogg", "flac")])
def test_a_page_of_ogg_that_is_damaged_is_missed(tmp_path, muxer, encoder):
    whole = encoded(tmp_path / "u", chirp(48000, 1, 6.5), 48000, muxer, encoder, {})
    assert len(load_audio(whole, 48000)) == round(6.5 * 48000)
    page = whole.index(b"OggS", len(whole) // 3)
    for damage in (whole[: page + 300] + b"\xaa\x55" + whole[page + 302 :], whole[:page] + whole[page + 700 :]):
        with pytest.raises(AudioError, match=r"is damaged: \d\.\d\d s of its audio are missing"):
            load_audio(damage, 48000)


def test_xing_without_lame_counts_frames_too(tmp_path):
    whole = encoded(tmp_path / "u", chirp(RATE, 1), RATE, "mp3", "libmp3lame", {})
    lame = whole.index(b"Lavf", whole.index(b"Info"))
    plain = whole[:lame] + bytes(36) + whole[lame + 36 :]
    assert len(load_audio(plain, RATE)) > len(load_audio(whole, RATE)) - 1
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(AudioError, match="is cut off"):
            load_audio(plain[: int(part * len(plain))], RATE)


def test_the_rest_of_a_file_is_not_decoded_where_it_is_not_wanted(tmp_path):
    whole = container(tmp_path / "u.mp4", [sine(440, RATE, 2)[None]], movflags="faststart")
    part = whole[: len(whole) * 3 // 4]
    with pytest.raises(AudioError, match="damaged or cut off|can't be decoded"):
        load_audio(part, RATE)
    assert len(load_audio(part, RATE, max_seconds=0.5, truncation=True)) == RATE // 2


@pytest.mark.parametrize(
    ("name", "codec", "before", "size"),
    [("u.webm", "libopus", b"\x18\x53\x80\x67", b"\x01" + b"\xff" * 7), ("u.avi", "pcm_s16le", b"RIFF", b"\xff" * 4)],
)
def test_a_container_that_was_written_to_a_pipe_is_read_whole(tmp_path, name, codec, before, size):
    data = container(tmp_path / name, [sine(440, 48000)[None]], 48000, codec)
    place = data.index(before) + len(before)
    assert np.array_equal(load_audio(data[:place] + size + data[place + len(size) :], RATE), load_audio(data, RATE))


def test_names_in_a_container_may_have_any_encoding(tmp_path):
    data = container(tmp_path / "u.mkv", [WAVEFORM[None]], codec="pcm_s16le")
    assert b"Lavf" in data
    assert np.array_equal(load_audio(data.replace(b"Lavf", b"L\xe9vf"), RATE), WAVEFORM)


def test_a_rate_that_changes_is_refused(tmp_path):
    with av.open(str(tmp_path / "u.mkv"), "w") as file:
        stream = file.add_stream("mp3", rate=RATE, layout="mono")
        other = av.CodecContext.create("mp3", "w")
        other.sample_rate, other.layout, other.format, other.time_base = 44100, "mono", "fltp", Fraction(1, 44100)
        for encoder, start in ((stream, 0), (other, 44100)):
            rate = encoder.sample_rate
            frame = av.AudioFrame.from_ndarray(sine(440, rate)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for packet in encoder.encode(frame) + encoder.encode(None):
                packet.stream = stream
                file.mux(packet)
    with pytest.raises(AudioError, match="audio changes from 16000 Hz mono to 44100 Hz mono within its audio"):
        load_audio((tmp_path / "u.mkv").read_bytes(), RATE)


def test_a_container_without_audio(tmp_path):
    with pytest.raises(AudioError, match="audio of u7 has no audio track"):
        load_audio(container(tmp_path / "u.mp4", [], video=True), RATE, name="audio of u7")
    data = container(tmp_path / "u.mp4", [WAVEFORM[None]], movflags="frag_keyframe+empty_moov")
    with pytest.raises(AudioError, match="audio of u7 holds no samples"):
        load_audio(data[: data.index(b"moof") - 4], RATE, name="audio of u7")
    with pytest.raises(AudioError, match="audio of u7 can't be decoded as audio: it is none of the formats that are"):
        load_audio(b"no audio at all\n" * 9, RATE, name="audio of u7")


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile {}\n", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n"]
)
def test_a_playlist_opens_no_other_file(tmp_path, text):
    container(tmp_path / "u.mp4", [WAVEFORM[None]])
    playlist = saved(tmp_path, "u.m3u8", text.format("u.mp4").encode())
    with av.open(str(playlist)) as file:  # it would, if it were let
        assert len(file.streams.audio) == 1
    for audio in (playlist, playlist.read_bytes()):
        with pytest.raises(AudioError, match="can't be decoded as audio: "):
            load_audio(audio, RATE)


def test_seconds_of_containers_are_limited(tmp_path):
    samples = pcm(5 * RATE) / np.float32(32768)
    data = container(tmp_path / "u.mov", [samples[None]], codec="pcm_s16le")
    for seconds in (0.57, 2.01, 5.0):
        found = load_audio(data, RATE, max_seconds=seconds, truncation=True)
        assert np.array_equal(found, samples[: round(seconds * RATE)])
    assert len(load_audio(data, RATE, max_seconds=5.0)) == 5 * RATE
    with pytest.raises(AudioError, match="audio of u7 is longer than max_audio_seconds 2: .*truncation=True"):
        load_audio(data, RATE, max_seconds=2, name="audio of u7")


def test_without_av_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # what an import of it then fails on
    spec = importlib.util.spec_from_file_location("without_av", decoding_tacfn.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert np.array_equal(module.decode(FLAC, None, False, "audio")[0], WAVEFORM)
    with pytest.raises(
        module.AudioError, match=r"audio of u7 can't be decoded as audio by libsndfile: .*pip install av"
    ):
        module.decode(container(tmp_path / "u.mp4", [WAVEFORM[None]]), None, False, "audio of u7")
