"""The samples of an audio file: what is exact by its format by libsndfile, everything else by PyAV."""

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

# From here on a size in a header means that the writer did not know it, as in a pipe.
UNKNOWN_SIZE = 0x7FFF0000
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's
# libsndfile takes wav, AIFF, W64 and RF64 files that were cut off as shorter ones, and only its log tells.
ANNOUNCED_AND_FOUND = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
EMPTY = re.compile(r"^data : 0\n\*\*\*", re.MULTILINE)  # behind which there is what libsndfile does not understand
CUT_OFF = "does not match value from 'ds64'"
# Codecs for which libsndfile only estimates how many samples there are, or which it knows in few containers.
LOSSY = ("MPEG_LAYER", "VORBIS", "OPUS")
# FFmpeg's names of what it is let open. Its other formats include playlists, which open further files.
FORMATS = "aac,ac3,amr,ape,asf,avi,caf,eac3,flac,flv,loas,matroska,mov,mp3,mpeg,mpegts,ogg,tta,wav,wv"
# Of these, the ones whose header states when the audio ends, or, second, when the longest track does.
STATES_END = {"ape", "caf", "flac", "mov", "tta", "wav", "wv"}
STATES_END_OF_ALL = {"flv", "matroska"}
MAX_SHORT = 0.1  # seconds by which such a header may exceed its audio: it can count a codec's delay and padding
LFS_POINTER = b"version https://git-lfs"
LONGER = "raise that, or cut it with truncation=True."
MAX_PATH = 200  # characters of a path that a message shows
CANCELLED = 0.01  # of the variance that the mean of unrelated channels would have
BLOCK = 2**20  # samples that are mixed at a time


class AudioError(ValueError):
    """Audio that can't be used; the message says which and why."""


def audio_seconds(audio: str | os.PathLike | bytes | memoryview | BinaryIO, name: str = "audio") -> float:
    """
    How long a file is, as `load_audio` would read it. Of formats that libsndfile reads, its header says so; others are
    decoded, since their headers may estimate.

    Args:
        audio: a path, the bytes of a file, or an open file.
        name: what messages call it.

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
    """Mono samples and the rate of a file or its bytes."""
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
    """A file to read of a path, of bytes, or of an open file; or an error where it is none, empty or a pointer."""
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
    """The `SoundFile` of a file whose length is exact; None where PyAV has to read it."""
    if soundfile is None:
        raise ImportError(f"{name} is a file to decode: pip install soundfile (and libsndfile, where it lacks one).")
    try:
        # Not the path: where `._name` lies beside `name`, as a Mac leaves it, libsndfile takes it for another kind.
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
    """An AudioError where the header of a `SoundFile` announces more than the file holds."""
    if sound.frames == 0 and EMPTY.search(sound.extra_info):
        raise AudioError(
            f"{name} has a header that was never completed: it announces no audio, and more bytes follow. Write it "
            "anew, as by ffmpeg -i."
        )
    sizes = ANNOUNCED_AND_FOUND.search(sound.extra_info)
    if (sizes and int(sizes[2]) < int(sizes[1]) < UNKNOWN_SIZE) or CUT_OFF in sound.extra_info:
        raise cut_off(name)


def reason_of(error: Exception) -> str:
    """What libsndfile says of an error."""
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
    """Mono samples and the rate of what `compressed_frames` reads."""
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
            if max_seconds is not None and count / rate > max_seconds:  # the rest can stay packed
                if not truncation:
                    raise AudioError(f"{name} is longer than max_audio_seconds {max_seconds:g}: {LONGER}")
                return

    return mixed(pieces(), name), rate


class Nameless:
    """A stream without its name, from whose suffix PyAV would guess what it is."""

    def __init__(self, stream: BinaryIO):
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell


def compressed_frames(stream: BinaryIO, name: str) -> Iterator[tuple[Any, int]]:
    """
    The decoded frames of the first audio track, each with how many of its samples count.

    Raises:
        AudioError: not one of `FORMATS`, no audio, damage that the decoder or the container reports, an earlier end
            than a header states, a gap in Ogg, or a rate or layout that changes.
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
            if vorbis:  # FFmpeg takes too much or too little off the end of a file of one page
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
                    if vorbis and packet is first:  # half of a window, which is not audio yet
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
    """Whether a header states more, of the track or of all together, than was found, in seconds."""
    kinds = set(container.format.name.split(","))
    if kinds & STATES_END_OF_ALL:
        return length_of_all + MAX_SHORT < (container.duration or 0) / av.time_base
    return bool(kinds & STATES_END) and end + MAX_SHORT < (track.duration or 0) * track.time_base


def stated_riff(stream: BinaryIO) -> int:
    """The size of an avi file in bytes by its header; 0 where its writer did not know it."""
    size = 8 + int.from_bytes(peek(stream, 4, 8), "little")
    return size if size < UNKNOWN_SIZE else 0


def stream_size(stream: BinaryIO) -> int:
    """The bytes of a stream, which stays where it is."""
    place = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(place)
    return size


def stated_frames(stream: BinaryIO, start: int) -> int:
    """How many frames an MP3 file says that it has, in the Xing or Info frame that ends at byte `start`."""
    head = peek(stream, max(0, start - 2000), start)  # a frame is shorter
    place = max(head.rfind(b"Xing"), head.rfind(b"Info"))
    # The name stands behind the frame's header and side information, whose size depends on version and channels.
    if not any(place >= k and head[place - k : place - k + 2] >= b"\xff\xe0" for k in (13, 21, 36)):
        return 0
    return int.from_bytes(head[place + 8 : place + 12]) if head[place + 7] & 1 else 0


def peek(stream: BinaryIO, start: int, stop: int) -> bytes:
    """The bytes from `start` to `stop` of a stream, which stays where it is."""
    place = stream.tell()
    stream.seek(start)
    data = stream.read(stop - start)
    stream.seek(place)
    return data


def mixed(pieces: Iterable[np.ndarray], name: str) -> np.ndarray:
    """
    The mean of the channels of pieces `[n, C]`, one behind the other: float32 `[S]`.

    Raises:
        AudioError: channels that cancel each other, as where one is the negative of the other.
    """
    means, count = [], 0
    sums: Any = 0.0
    for block in blocks(pieces):
        means.append(block.mean(axis=1))
        if block.shape[1] > 1:
            every = np.column_stack([block, means[-1]]).astype(np.float64)
            sums = sums + np.stack([every.sum(axis=0), np.square(every).sum(axis=0)])
            count += len(block)
    if count and np.isfinite(sums).all():  # else a later check says where it is not
        *variances, variance = sums[1] / count - (sums[0] / count) ** 2  # of each channel, and of their mean
        # Unrelated channels give a mean of 1/C^2 of their variance; of those that agree it is more.
        if variance < CANCELLED * sum(variances) / len(variances) ** 2:
            raise AudioError(
                f"{name} has {len(variances)} channels that cancel each other: their mean is silent. Give one of them, "
                "or turn the sign of those that are in opposite phase."
            )
    return np.concatenate(means) if means else np.zeros(0, np.float32)


def blocks(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Pieces `[n, C]`, joined or divided into some of about `BLOCK` samples."""
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
    """How many of the samples are allowed; an AudioError where that is not all, unless it may be cut."""
    if max_seconds is None or samples / rate <= max_seconds:  # not samples <= max_seconds * rate, which is rounded
        return samples
    if not truncation:
        raise AudioError(
            f"{name} is {samples / rate:.1f} s long, more than max_audio_seconds {max_seconds:g}: {LONGER}"
        )
    allowed = round(max_seconds * rate)
    return allowed if allowed / rate <= max_seconds else allowed - 1
