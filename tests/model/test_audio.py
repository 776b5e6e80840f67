"""Audio in any form gives the same waveform, resampling keeps what it should, and bad audio is named."""

import array
import base64
import os

import numpy as np
import pytest
import torch
from sounds import FLAC, RATE, SAMPLES, WAV, WAVEFORM, broken, container, file_bytes, pcm, saved, sine, wav_bytes

from tacfn_hf.model.audio_tacfn import load_audio
from tacfn_hf.model.decoding_tacfn import AudioError


def middle(waveform: np.ndarray) -> np.ndarray:
    """Without 50 ms at either end, where the tone starts and stops."""
    return waveform[RATE // 20 : -RATE // 20]


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
def test_bad_sampling_rates(rate):
    for given in (WAVEFORM, [0.0, 0.1], torch.from_numpy(WAVEFORM)):
        with pytest.raises(AudioError, match="The sampling_rate of audio of u7 is .*: it must be a whole number") as e:
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
