"""Audio in any of its usual forms becomes one mono waveform at the rate that the encoder wants."""

import io
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import torch


try:
    import soundfile
except (ImportError, OSError):  # OSError: no libsndfile on this system
    soundfile = None
try:
    import soxr
except ImportError:
    soxr = None
try:
    import av
except ImportError:
    av = None

# From here on a size in a header means that the writer did not know it, as in a pipe.
UNKNOWN_SIZE = 0x7FFF0000
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's
# libsndfile takes most files that were cut off as shorter ones, and only its log tells.
ANNOUNCED_AND_FOUND = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
CUT_OFF = ("does not match value from 'ds64'", "lacks an end-of-stream bit", "without an End-Of-Stream flag")
MAX_OGG_PAGE = 27 + 255 + 255 * 255  # bytes: a header, and 255 segments with the size of each
UNRECOGNISED_FORMAT = 1  # libsndfile's code
# What PyAV is let open: its other formats include playlists, which name further files.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
MATROSKA = b"\x1a\x45\xdf\xa3"  # what webm and mkv begin with
MAX_SHORT = 0.1  # seconds by which a container may announce too much: it can count a codec's delay and padding


class AudioError(ValueError):
    """Audio that can't be used; the message says which and why."""


def load_audio(
    audio: Any,
    target_rate: int,
    sampling_rate: int | None = None,
    max_seconds: float | None = None,
    truncation: bool = False,
    name: str = "audio",
) -> np.ndarray:
    """
    Decodes audio, mixes its channels to one by their mean, and resamples it (soxr, high quality).

    Files are decoded by libsndfile, and by PyAV, where it is installed, what libsndfile doesn't know: mp4, m4a, mov,
    webm, mkv and avi. With PyAV, AAC keeps the silence that fills up its last packet.

    Args:
        audio: a path; the bytes of a file; samples as array, tensor or list, `[S]`, or 2-D with the channels on the
            shorter axis, floats within [-1, 1] or int16 / int32 / uint8; a `datasets` struct `{"bytes", "path"}` or
            `{"array", "sampling_rate"}`, or its decoder object.
        target_rate: Hz.
        sampling_rate: Hz, of samples; a file or a struct knows its own.
        max_seconds: longer audio is an error, or is cut with `truncation`.
        name: what messages call it.

    Returns:
        float32 `[S]` at `target_rate`.

    Raises:
        AudioError: a file that is missing or can't be decoded whole; no samples, or NaN or infinite ones; too many
            dimensions, seconds, or no usable rate.
        TypeError: none of the forms above.
        ImportError: soundfile or soxr is needed and not installed.
    """
    if isinstance(audio, Mapping):
        if audio.get("array") is not None:
            return load_audio(audio["array"], target_rate, audio.get("sampling_rate"), max_seconds, truncation, name)
        path, data = audio.get("path"), audio.get("bytes")
        if path is None and data is None:
            keys = ", ".join(map(str, audio)) or "nothing"
            raise AudioError(f"{name} is a mapping of {keys}, without a value for bytes, path or array.")
        if path is not None:
            name = f"{name} ({path})"
        samples, rate = decode(path if data is None else data, max_seconds, truncation, name)
    elif isinstance(audio, str | os.PathLike):
        samples, rate = decode(audio, max_seconds, truncation, f"{name} ({os.fspath(audio)})")
        name = f"{name} ({os.fspath(audio)})"
    elif isinstance(audio, bytes | bytearray | memoryview):
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


def decode(
    file: str | os.PathLike | bytes | bytearray | memoryview, max_seconds: float | None, truncation: bool, name: str
) -> tuple[np.ndarray, int]:
    """Mono samples and the rate of a file or its bytes."""
    if soundfile is None:
        raise ImportError(f"{name} is a file to decode: pip install soundfile (and libsndfile, where it lacks one).")
    if isinstance(file, bytes | bytearray | memoryview):
        file = bytes(file)
        size = len(file)
    elif not isinstance(file, str | os.PathLike):
        raise TypeError(f"{name} has a {type(file).__name__} where the bytes or the path of a file should be.")
    elif not os.path.isfile(file):
        raise AudioError(f"{name} is not a file: there is {'a folder' if os.path.isdir(file) else 'nothing'} there.")
    else:
        size = os.path.getsize(file)
    if size == 0:
        raise AudioError(f"{name} is empty: the file has 0 bytes.")
    if is_container(file):
        return decode_container(file, size, max_seconds, truncation, name)
    try:
        with soundfile.SoundFile(io.BytesIO(file) if isinstance(file, bytes) else os.fspath(file)) as sound:
            wanted, rate, log = sound.frames, sound.samplerate, sound.extra_info
            is_ogg = sound.format == "OGG"
            if wanted == UNKNOWN_FRAMES:
                raise AudioError(f"{name} does not say how many samples it has, as FLAC from a pipe: convert it anew.")
            wanted = check_seconds(wanted, rate, max_seconds, truncation, name)
            samples = sound.read(wanted, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        if getattr(error, "code", None) == UNRECOGNISED_FORMAT:
            return decode_container(file, size, max_seconds, truncation, name)
        reason = getattr(error, "error_string", str(error)).removeprefix("Error : ")
        raise AudioError(f"{name} can't be decoded as audio: {reason}") from error
    sizes = ANNOUNCED_AND_FOUND.search(log)
    if (
        len(samples) < wanted
        or (sizes and int(sizes[2]) < int(sizes[1]) < UNKNOWN_SIZE)
        or any(remark in log for remark in CUT_OFF)
        or (is_ogg and ends_inside_page(file, size))
    ):
        raise AudioError(f"{name} is cut off: the file ends before its audio does.")
    return samples.mean(axis=1), rate


def ends_inside_page(file: str | os.PathLike | bytes, size: int) -> bool:
    """Whether an Ogg file of `size` bytes ends before the last page in it does, which libsndfile does not tell."""
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as stream:
        stream.seek(max(0, size - MAX_OGG_PAGE))
        tail = stream.read()
    page = tail[tail.rfind(b"OggS") :]
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def is_container(file: str | os.PathLike | bytes) -> bool:
    """
    Whether a file is an mp4, Matroska or avi by its first bytes. libsndfile is not asked about such: where `._name`
    lies beside `name`, as a Mac leaves it, it takes them for another kind.
    """
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp" or head[:4] == MATROSKA or (head[:4] == b"RIFF" and head[8:] == b"AVI ")


def decode_container(
    file: str | os.PathLike | bytes, size: int, max_seconds: float | None, truncation: bool, name: str
) -> tuple[np.ndarray, int]:
    """Mono samples and the rate of the first audio track of an mp4, m4a, mov, webm, mkv or avi file of `size` bytes."""
    if av is None:
        raise AudioError(f"{name} can't be decoded as audio by libsndfile: for mp4, m4a, webm or avi, pip install av.")
    cut_off = AudioError(f"{name} is cut off: the file ends before its audio does.")
    pieces, count, rate = [], 0, None
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as stream:
        if size < size_by_structure(stream, size):
            raise cut_off
        stream.seek(0)
        try:
            with av.open(
                stream, container_options={"format_whitelist": CONTAINERS}, metadata_errors="replace"
            ) as container:
                if not container.streams.audio:
                    raise AudioError(f"{name} has no audio track.")
                track = container.streams.audio[0]
                announced = float((track.duration or 0) * track.time_base)
                to_float = av.AudioResampler(format="fltp")
                for frame in container.decode(track):
                    if rate not in (None, frame.sample_rate):
                        raise AudioError(f"{name} changes from {rate} Hz to {frame.sample_rate} within its audio.")
                    rate = frame.sample_rate
                    pieces += [piece.to_ndarray().mean(axis=0) for piece in to_float.resample(frame)]
                    count += frame.samples
                    if max_seconds is not None and count / rate > max_seconds:  # the rest can stay packed
                        check_seconds(max(count, round(announced * rate)), rate, max_seconds, truncation, name)
                        return np.concatenate(pieces), rate
        except av.FFmpegError as error:
            raise AudioError(f"{name} can't be decoded as audio: {error.strerror}") from error
    if announced > MAX_SHORT + (count / rate if count else 0):
        raise cut_off
    if not count:
        raise AudioError(f"{name} holds no samples.")
    return np.concatenate(pieces), rate


def size_by_structure(stream: BinaryIO, size: int) -> int:
    """How many bytes an mp4, Matroska or avi file should have by the parts that it consists of; 0 for others."""
    head = stream.read(8)
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:], "little")
        return 8 + length if length < UNKNOWN_SIZE else 0
    if head[:4] == MATROSKA:  # its header, then one segment with a name of 4 bytes
        stream.seek(4)
        length = matroska_size(stream)
        stream.seek(length + 4, os.SEEK_CUR)
        length = matroska_size(stream)
        return stream.tell() + length
    place = 0
    while head[4:] == b"ftyp" and place + 8 <= size:  # mp4: boxes that begin with their length
        stream.seek(place)
        box = stream.read(16)
        length = int.from_bytes(box[:4])
        if length == 0:  # up to the end of the file
            return size
        place += max(8, int.from_bytes(box[8:]) if length == 1 else length)
    return place


def matroska_size(stream: BinaryIO) -> int:
    """The next size of a Matroska file; 0 where its writer did not know it."""
    first = stream.read(1) or b"\xff"
    width = 9 - first[0].bit_length()
    most = (1 << 7 * width) - 1
    value = int.from_bytes(first + stream.read(width - 1)) & most
    return 0 if value == most else value


def as_samples(audio: Any, name: str) -> np.ndarray:
    """Samples `[S]` or channels by samples, in either order, as float32 `[S]` of one channel."""
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
        array = array.mean(axis=int(array.shape[1] < array.shape[0]))
    return np.ascontiguousarray(array)


def check_rate(rate: Any, name: str) -> int:
    """The sampling rate as an integer, or an error."""
    if rate is None:
        raise AudioError(f"{name} is given as samples without sampling_rate: say how many a second they are, in Hz.")
    if not isinstance(rate, numbers.Real) or not 1000 <= rate <= 768000 or rate != int(rate):
        raise AudioError(f"The sampling_rate of {name} is {rate!r}: it must be a whole number of Hz, 1000 to 768000.")
    return int(rate)


def check_seconds(samples: int, rate: int, max_seconds: float | None, truncation: bool, name: str) -> int:
    """How many of the samples are allowed; an AudioError where that is not all, unless it may be cut."""
    if max_seconds is None or samples / rate <= max_seconds:  # not samples <= max_seconds * rate, which is rounded
        return samples
    if not truncation:
        raise AudioError(
            f"{name} is {samples / rate:.1f} s long, more than max_audio_seconds {max_seconds:g}: raise that, or cut "
            "it with truncation=True."
        )
    allowed = round(max_seconds * rate)
    return allowed if allowed / rate <= max_seconds else allowed - 1
