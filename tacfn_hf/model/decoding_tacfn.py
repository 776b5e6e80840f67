"""Decodes audio files: formats whose length is exact with libsndfile, all others with PyAV."""

import io
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np


try:
    import soundfile
except (ImportError, OSError):  # OSError: no libsndfile on this system
    soundfile = None
try:
    import av
except ImportError:
    av = None

# A size in a header from here on means that the writer did not know the size, as in a pipe.
UNKNOWN_SIZE = 0x7FFF0000
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's
# libsndfile reads WAV, AIFF, W64 and RF64 files that were cut off as shorter files. Only its log shows the cut.
ANNOUNCED_AND_FOUND = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
EMPTY = re.compile(r"^data : 0\n\*\*\*", re.MULTILINE)  # no samples by the header, and unknown bytes behind it
CUT_OFF = "does not match value from 'ds64'"
# Codecs whose number of samples libsndfile estimates, or which it reads in few containers only.
LOSSY = ("MPEG_LAYER", "VORBIS", "OPUS")
# FFmpeg's names of the formats that it may open. Others include playlists, which open further files.
FORMATS = "aac,ac3,amr,ape,asf,avi,caf,eac3,flac,flv,loas,matroska,mov,mp3,mpeg,mpegts,ogg,tta,wav,wv"
# Formats whose header states the end of the audio, and those whose header states the end of the longest track.
STATES_END = {"ape", "caf", "flac", "mov", "tta", "wav", "wv"}
STATES_END_OF_ALL = {"flv", "matroska"}
MAX_SHORT = 0.1  # seconds by which such a header may exceed the audio, since it can include delay and padding
LFS_POINTER = b"version https://git-lfs"
LONGER = "raise that in the processor, or cut it with truncation=True."
MAX_PATH = 200  # characters; longer paths are shortened in messages
CANCELLED = 0.01  # share of the variance that the mean of unrelated channels has
BLOCK = 2**20  # samples that are averaged at a time


class AudioError(ValueError):
    """Audio that can't be used. The message says which audio, and why."""


def audio_seconds(audio: str | os.PathLike | bytes | memoryview | BinaryIO, name: str = "audio") -> float:
    """
    The duration of a file in seconds, as `load_audio` reads it.

    It is taken from the header for formats that libsndfile reads. Others are decoded, since their headers may estimate.

    Args:
        audio: a path, the bytes of a file, or an open file.
        name: what messages call the file.

    Raises:
        AudioError, TypeError, ImportError: as `load_audio`.
    """
    with open_audio(audio, name) as stream:
        sound = open_exact(stream, name)
        if sound is not None:
            with sound:
                check_whole(sound, name)
                return sound.frames / sound.samplerate
        count, rate = 0, 1
        for frame, samples in compressed_frames(stream, name):
            count, rate = count + samples, frame.sample_rate
        return count / rate


def decode(
    file: str | os.PathLike | bytes | bytearray | memoryview, max_seconds: float | None, truncation: bool, name: str
) -> tuple[np.ndarray, int]:
    """
    Mono samples, float32 `[S]`, and the sampling rate in Hz of a file or its bytes.

    `max_seconds`, `truncation`, `name` and the errors are those of `load_audio`.
    """
    with open_audio(file, name) as stream:
        sound = open_exact(stream, name)
        if sound is None:
            return decode_compressed(stream, max_seconds, truncation, name)
        with sound:
            check_whole(sound, name)
            wanted = check_seconds(sound.frames, sound.samplerate, max_seconds, truncation, name)
            try:
                samples = sound.read(wanted, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise AudioError(f"{name} can't be decoded as audio: {reason_of(error)}") from error
            if len(samples) < wanted:
                raise cut_off(name)
            return mixed([samples], name), sound.samplerate


def open_audio(file: Any, name: str) -> BinaryIO:
    """
    Opens a path, bytes or an open file for reading.

    Raises:
        AudioError: there is no such file, it can't be read, it is empty, or it is a Git LFS pointer.
        TypeError: `file` is something else.
    """
    if isinstance(file, bytes | bytearray | memoryview):
        stream: BinaryIO = io.BytesIO(file)
    elif hasattr(file, "read"):
        stream = file
    elif not isinstance(file, str | os.PathLike):
        raise TypeError(f"{name} has a {type(file).__name__} where the bytes or the path of a file should be.")
    elif not os.path.isfile(file):
        if len(os.fspath(file)) > MAX_PATH or os.fspath(file).startswith("data:"):
            raise AudioError(
                f"{name} is a text of {len(os.fspath(file))} characters that names no file: give a path, or the bytes "
                "of a file (base64 must be decoded first)."
            )
        if "://" in os.fspath(file):
            raise AudioError(f"{name} is an address, which is not fetched: give a file, or its bytes.")
        there = "a folder" if os.path.isdir(file) else "no regular file" if os.path.exists(file) else "nothing"
        raise AudioError(f"{name} is not a file: there is {there} there.")
    else:
        try:
            stream = open(file, "rb")
        except OSError as error:
            raise AudioError(f"{name} can't be read: {error.strerror}.") from error
    head = stream.read(len(LFS_POINTER))
    stream.seek(0)
    if not head:
        raise AudioError(f"{name} is empty: the file has 0 bytes.")
    if head == LFS_POINTER:
        raise AudioError(f"{name} is a Git LFS pointer, not the audio: run git lfs pull where it comes from.")
    return stream


def open_exact(stream: BinaryIO, name: str) -> Any:
    """
    The `SoundFile` of a stream whose length is exact. None: PyAV has to read it.

    Raises:
        AudioError: the stream is a SPHERE file in a compressed form.
        ImportError: soundfile is not installed.
    """
    if soundfile is None:
        raise ImportError(f"{name} is a file to decode: pip install soundfile (and libsndfile, where it lacks one).")
    try:
        # The stream and not the path: beside a file `._name`, as a Mac leaves it, libsndfile mistakes the format.
        sound = soundfile.SoundFile(stream)
    except soundfile.SoundFileError as error:
        stream.seek(0)
        if stream.read(7) == b"NIST_1A":
            raise AudioError(
                f"{name} is a SPHERE file that libsndfile can't read ({reason_of(error)}): unpack it with sph2pipe."
            ) from error
        stream.seek(0)
        return None
    if sound.subtype.startswith(LOSSY) or sound.frames == UNKNOWN_FRAMES:  # FLAC from a pipe
        sound.close()
        stream.seek(0)
        return None
    return sound


def check_whole(sound: Any, name: str) -> None:
    """
    Checks that a `SoundFile` holds as much as its header states.

    Raises:
        AudioError: it holds less, or its header was never completed.
    """
    if sound.frames == 0 and EMPTY.search(sound.extra_info):
        raise AudioError(
            f"{name} has a header that was never completed: it announces no audio, and more bytes follow. Write it "
            "anew, as by ffmpeg -i."
        )
    sizes = ANNOUNCED_AND_FOUND.search(sound.extra_info)
    if (sizes and int(sizes[2]) < int(sizes[1]) < UNKNOWN_SIZE) or CUT_OFF in sound.extra_info:
        raise cut_off(name)


def reason_of(error: Exception) -> str:
    """The message of an error of libsndfile."""
    return getattr(error, "error_string", str(error)).removeprefix("Error : ").rstrip(".")


def cut_off(name: str) -> AudioError:
    """The error of a file that holds less than it states."""
    return AudioError(f"{name} is cut off: the file ends before its audio does.")


def damaged(name: str, count: int, rate: int | None) -> AudioError:
    """The error of a file whose audio breaks off after `count` samples at `rate` Hz."""
    return AudioError(f"{name} is damaged or cut off: its audio breaks off after {count / (rate or 1):.2f} s.")


def decode_compressed(
    stream: BinaryIO, max_seconds: float | None, truncation: bool, name: str
) -> tuple[np.ndarray, int]:
    """
    Mono samples, float32 `[S]`, and the sampling rate in Hz of a stream that PyAV reads.

    Frames behind `max_seconds` are not decoded. Errors are those of `compressed_frames` and `mixed`.
    """
    rate = 1

    def pieces() -> Iterator[np.ndarray]:
        nonlocal rate
        to_float, count = None, 0
        for frame, samples in compressed_frames(stream, name):
            to_float = to_float or av.AudioResampler(format="fltp")
            rate = frame.sample_rate
            for piece in to_float.resample(frame):
                yield piece.to_ndarray()[:, :samples].T
            count += samples
            if max_seconds is not None and count / rate > max_seconds:  # the rest need not be decoded
                if not truncation:
                    raise AudioError(f"{name} is longer than max_audio_seconds {max_seconds:g}: {LONGER}")
                return

    return mixed(pieces(), name), rate


class Nameless:
    """A stream without a name, so that PyAV does not guess the format from its suffix."""

    def __init__(self, stream: BinaryIO):
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell


def compressed_frames(stream: BinaryIO, name: str) -> Iterator[tuple[Any, int]]:
    """
    Decodes the first audio track of a stream.

    Yields:
        Frames of PyAV, each with the number of its samples that are audio and not padding.

    Raises:
        AudioError: the format is none of `FORMATS`; there is no audio; the decoder or the container reports damage; the
            audio ends before the end that the header states; a page of Ogg is missing; the sampling rate or the number
            of channels changes.
    """
    if av is None:
        raise AudioError(f"{name} can't be decoded as audio by libsndfile: for mp3, m4a and others, pip install av.")
    count, lacking, container = 0, 0, None
    first: Any = None  # packet
    last: Any = None  # frame
    rate: Any = None
    form: str | None = None
    end, begin_of_all, end_of_all = 0, 0, 0
    try:
        with av.open(
            Nameless(stream), container_options={"format_whitelist": FORMATS}, metadata_errors="replace"
        ) as container:
            if not container.streams.audio:
                raise AudioError(f"{name} has no audio track.")
            track, kinds = container.streams.audio[0], set(container.format.name.split(","))
            if "avi" in kinds and stated_riff(stream) > stream_size(stream):
                raise cut_off(name)
            vorbis = "ogg" in kinds and track.codec_context.name == "vorbis"
            if vorbis:  # FFmpeg removes too much or too little at the end of a file of one page
                track.codec_context.flags2 |= av.codec.context.Flags2.skip_manual
            for packet in container.demux() if kinds & STATES_END_OF_ALL else container.demux(track):
                pts = packet.pts or 0
                until = (pts + (packet.duration or 0)) * packet.time_base
                begin_of_all, end_of_all = min(begin_of_all, pts * packet.time_base), max(end_of_all, until)
                if packet.stream_index != track.index:
                    continue
                if "mp3" in kinds and packet.size and bytes(packet)[:2] < b"\xff\xe0":  # a tag, or zeros: no frame
                    continue
                if first is None:
                    first = packet
                    lacking = stated_frames(stream, packet.pos) if "mp3" in kinds else 0
                end, lacking = until or end, lacking - (packet.size > 0)
                if packet.is_corrupt:
                    raise damaged(name, count, rate)
                for frame in packet.decode():
                    if vorbis and packet is first:  # half of a window, which is no audio yet
                        continue
                    if frame.is_corrupt:
                        raise damaged(name, count, rate)
                    was, form = form, f"{frame.sample_rate} Hz {frame.layout.name}"
                    if was not in (None, form):
                        raise AudioError(f"{name} changes from {was} to {form} within its audio.")
                    if last is None:
                        start = 0 if frame.pts is None else frame.pts * frame.time_base
                    else:
                        count += last.samples
                        yield last, last.samples
                    last, rate = frame, frame.sample_rate
            if last is None:
                raise AudioError(f"{name} holds no samples.")
            seconds = (count + last.samples) / rate
            if lacking > 0 or is_short(container, track, max(end, seconds), end_of_all - begin_of_all):
                raise cut_off(name)
            missing = float((track.duration or 0) * track.time_base) - seconds
            if "ogg" in kinds and missing > MAX_SHORT:  # its last page says how many samples came before
                raise AudioError(f"{name} is damaged: {missing:.2f} s of its audio are missing.")
            total = None
            if "mov" in kinds:  # the last packet says how much of it is audio
                total = round((end - start) * rate)
            elif vorbis and track.duration is not None:
                total = round(track.duration * track.time_base * rate)
            yield last, total - count if total is not None and 0 < total - count < last.samples else last.samples
    except av.FFmpegError as error:
        where = f" after {count / rate:.2f} s" if count else ""
        why = error.strerror if container else f"it is none of the formats that are read ({error.strerror})"
        raise AudioError(f"{name} can't be decoded as audio{where}: {why}") from error


def is_short(container: Any, track: Any, end: float, length_of_all: float) -> bool:
    """
    Whether the header of a container states more audio than was found.

    Args:
        container: PyAV's.
        track: the audio track.
        end: where the audio ended, in seconds.
        length_of_all: from the start of the first to the end of the last packet of all tracks, in seconds.
    """
    kinds = set(container.format.name.split(","))
    if kinds & STATES_END_OF_ALL:
        return length_of_all + MAX_SHORT < (container.duration or 0) / av.time_base
    return bool(kinds & STATES_END) and end + MAX_SHORT < (track.duration or 0) * track.time_base


def stated_riff(stream: BinaryIO) -> int:
    """The size of an avi file in bytes that its header states. 0: its writer did not know it."""
    size = 8 + int.from_bytes(peek(stream, 4, 8), "little")
    return size if size < UNKNOWN_SIZE else 0


def stream_size(stream: BinaryIO) -> int:
    """The size of a stream in bytes. The stream keeps its position."""
    place = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(place)
    return size


def stated_frames(stream: BinaryIO, start: int) -> int:
    """The number of frames of an MP3 file by the Xing or Info frame that ends at byte `start`. 0: there is none."""
    head = peek(stream, max(0, start - 2000), start)  # a frame is shorter
    place = max(head.rfind(b"Xing"), head.rfind(b"Info"))
    # "Xing" or "Info" follows the header and the side information, whose size depends on version and channels.
    if not any(place >= k and head[place - k : place - k + 2] >= b"\xff\xe0" for k in (13, 21, 36)):
        return 0
    return int.from_bytes(head[place + 8 : place + 12]) if head[place + 7] & 1 else 0


def peek(stream: BinaryIO, start: int, stop: int) -> bytes:
    """The bytes from `start` to `stop` of a stream. The stream keeps its position."""
    place = stream.tell()
    stream.seek(start)
    data = stream.read(stop - start)
    stream.seek(place)
    return data


def mixed(pieces: Iterable[np.ndarray], name: str) -> np.ndarray:
    """
    Averages the channels of consecutive pieces `[n, C]` of one recording: float32 `[S]`.

    Raises:
        AudioError: channels cancel each other, as when one is the negative of the other.
    """
    means, count = [], 0
    sums: Any = 0.0
    for block in blocks(pieces):
        means.append(block.mean(axis=1))
        if block.shape[1] > 1:
            every = np.column_stack([block, means[-1]]).astype(np.float64)
            sums = sums + np.stack([every.sum(axis=0), np.square(every).sum(axis=0)])
            count += len(block)
    if count and np.isfinite(sums).all():  # otherwise a later check names the place
        *variances, variance = sums[1] / count - (sums[0] / count) ** 2  # of each channel, and of their mean
        # The mean of C unrelated channels has 1/C of their mean variance, that of similar channels has more.
        if variance < CANCELLED * sum(variances) / len(variances) ** 2:
            raise AudioError(
                f"{name} has {len(variances)} channels that cancel each other: their mean is silent. Give one of them, "
                "or turn the sign of those that are in opposite phase."
            )
    return np.concatenate(means) if means else np.zeros(0, np.float32)


def blocks(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Joins or divides pieces `[n, C]` so that each has about `BLOCK` samples."""
    waiting, count = [], 0
    for piece in pieces:
        for start in range(0, len(piece), BLOCK):
            waiting.append(piece[start : start + BLOCK])
            count += len(waiting[-1])
            if count >= BLOCK:
                yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
                waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]


def check_seconds(samples: int, rate: int, max_seconds: float | None, truncation: bool, name: str) -> int:
    """
    The number of samples that `max_seconds` allows.

    Raises:
        AudioError: there are more, and `truncation` is False.
    """
    if max_seconds is None or samples / rate <= max_seconds:  # not samples <= max_seconds * rate, which is rounded
        return samples
    if not truncation:
        raise AudioError(
            f"{name} is {samples / rate:.1f} s long, more than max_audio_seconds {max_seconds:g}: {LONGER}"
        )
    allowed = round(max_seconds * rate)
    return allowed if allowed / rate <= max_seconds else allowed - 1
