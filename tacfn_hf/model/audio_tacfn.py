"""Audio in any of its usual forms becomes one mono waveform at the rate that the encoder wants."""

import io
import numbers
import os
import re
from collections.abc import Iterator, Mapping, Sequence
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
# libsndfile takes wav, AIFF, W64 and RF64 files that were cut off as shorter ones, and only its log tells.
ANNOUNCED_AND_FOUND = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
CUT_OFF = "does not match value from 'ds64'"
# Codecs for which libsndfile only estimates how many samples there are, or which it knows in few containers.
LOSSY = ("MPEG_LAYER", "VORBIS", "OPUS")
# FFmpeg's names of what it is let open. Its other formats include playlists, which open further files.
FORMATS = "aac,ac3,amr,ape,asf,avi,caf,eac3,flv,loas,matroska,mov,mp3,mpeg,mpegts,ogg,tta,wav,wv"
# Of these, the ones whose header states how long the audio is.
STATES_LENGTH = {"ape", "avi", "caf", "mov", "tta", "wav", "wv"}
MAX_SHORT = 0.1  # seconds by which such a header may exceed its audio: it can count a codec's delay and padding
LFS_POINTER = b"version https://git-lfs"
LONGER = "raise that, or cut it with truncation=True."
MAX_PATH = 200  # characters of a path that a message shows
CANCELLED = 0.01  # of the energy that the mean of unrelated channels would have


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

    What a file is, its content says, not its name. libsndfile reads WAV, AIFF, FLAC, AU, CAF, W64, RF64, SPHERE and
    its other formats of exact length. PyAV (FFmpeg) reads MP3, MP2, AAC, AC-3, Ogg and Opus, mp4, m4a, mov and 3gp,
    webm and mkv, avi, AMR, WMA, MPEG, flv, APE, TTA and WavPack, to their last frame.

    A codec's delay and padding are taken off where the file states them: MP3 with a LAME or Info frame, Opus, mp4 and
    its relatives. Elsewhere they stay: MP3 without that frame, MP2, AAC in ADTS or mkv, AMR, AC-3.

    A file that was cut off is an error where the file states its length (WAV, AIFF, FLAC, mp4, mkv of audio alone,
    MP3 with an Info frame, and others), or where the decoder finds half a frame (AAC, AC-3, FLAC). MP3 without an Info
    frame, MP2, AMR, Ogg, MPEG and mkv that a pipe wrote say neither: they are read as far as they go, and a page of
    Ogg, up to a second, or a block of mkv that is not whole is lost.

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
        AudioError: a file that is missing or can't be decoded whole; no samples, or NaN or infinite ones; channels
            that cancel each other; too many dimensions, seconds, or no usable rate.
        TypeError: none of the forms above.
        ImportError: soundfile, av or soxr is needed and not installed.
    """
    name = named(audio, name)
    if isinstance(audio, Mapping):
        if audio.get("array") is not None:
            return load_audio(audio["array"], target_rate, audio.get("sampling_rate"), max_seconds, truncation, name)
        path, data = audio.get("path"), audio.get("bytes")
        if path is None and data is None:
            keys = ", ".join(map(str, audio)) or "nothing"
            raise AudioError(f"{name} is a mapping of {keys}, without a value for bytes, path or array.")
        samples, rate = decode(path if data is None else data, max_seconds, truncation, name)
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
    """`name` with the path of the audio, where it has one; a path of more than `MAX_PATH` characters is shortened."""
    path = audio.get("path") if isinstance(audio, Mapping) else audio
    if not isinstance(path, str | os.PathLike):
        return name
    path = os.fspath(path)
    return f"{name} ({path if len(path) <= MAX_PATH else path[:50] + '...'})"


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
                check_frames(sound, name)
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
            check_frames(sound, name)
            wanted = check_seconds(sound.frames, sound.samplerate, max_seconds, truncation, name)
            try:
                samples = sound.read(wanted, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise AudioError(f"{name} can't be decoded as audio: {reason_of(error)}") from error
            if len(samples) < wanted:
                raise cut_off(name)
            return mixed(samples, 1, name), sound.samplerate


def open_audio(file: Any, name: str) -> BinaryIO:
    """A file to read of a path, of bytes, or of an open file; or an error where it is none, empty or a pointer."""
    if isinstance(file, bytes | bytearray | memoryview):
        stream = io.BytesIO(file)
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
        raise AudioError(f"{name} is not a file: there is {'a folder' if os.path.isdir(file) else 'nothing'} there.")
    else:
        stream = open(file, "rb")
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
    if sound.subtype.startswith(LOSSY):
        sound.close()
        stream.seek(0)
        return None
    return sound


def check_frames(sound: Any, name: str) -> None:
    """An AudioError where the header of a `SoundFile` does not say how many samples there are, or says too many."""
    if sound.frames == UNKNOWN_FRAMES:
        raise AudioError(f"{name} does not say how many samples it has, as FLAC from a pipe: convert it anew.")
    sizes = ANNOUNCED_AND_FOUND.search(sound.extra_info)
    if (sizes and int(sizes[2]) < int(sizes[1]) < UNKNOWN_SIZE) or CUT_OFF in sound.extra_info:
        raise cut_off(name)


def reason_of(error: Exception) -> str:
    """What libsndfile says of an error."""
    return getattr(error, "error_string", str(error)).removeprefix("Error : ").rstrip(".")


def cut_off(name: str) -> AudioError:
    return AudioError(f"{name} is cut off: the file ends before its audio does.")


def damaged(name: str, count: int, rate: int | None) -> AudioError:
    return AudioError(f"{name} is damaged or cut off: its audio breaks off after {count / (rate or 1):.2f} s.")


def decode_compressed(
    stream: BinaryIO, max_seconds: float | None, truncation: bool, name: str
) -> tuple[np.ndarray, int]:
    """Mono samples and the rate of what `compressed_frames` reads."""
    to_float = av.AudioResampler(format="fltp") if av is not None else None
    pieces, count, rate = [], 0, 1
    for frame, samples in compressed_frames(stream, name):
        rate = frame.sample_rate
        pieces += [piece.to_ndarray()[:, :samples] for piece in to_float.resample(frame)]
        count += samples
        if max_seconds is not None and count / rate > max_seconds:  # the rest can stay packed
            if not truncation:
                raise AudioError(f"{name} is longer than max_audio_seconds {max_seconds:g}: {LONGER}")
            break
    return mixed(np.concatenate(pieces, axis=1), 0, name), rate


def compressed_frames(stream: BinaryIO, name: str) -> Iterator[tuple[Any, int]]:
    """
    The decoded frames of the first audio track, each with how many of its samples count.

    Raises:
        AudioError: not one of `FORMATS`, no audio, damage that the decoder or the container reports, less audio than a
            header states, or a rate that changes.
    """
    if av is None:
        raise AudioError(f"{name} can't be decoded as audio by libsndfile: for mp3, m4a and others, pip install av.")
    count, rate, form, last, end = 0, None, None, None, None
    try:
        with av.open(stream, container_options={"format_whitelist": FORMATS}, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise AudioError(f"{name} has no audio track.")
            track = container.streams.audio[0]
            kinds, first, lacking = set(container.format.name.split(",")), None, 0
            vorbis = "ogg" in kinds and track.codec_context.name == "vorbis"
            if vorbis:  # FFmpeg takes too much or too little off the end of a file of one page
                track.codec_context.flags2 |= av.codec.context.Flags2.skip_manual
            for packet in container.demux(track):
                if first is None:
                    first = packet
                    if "mp3" in kinds and packet.has_sidedata("skip_samples"):
                        lacking = stated_frames(stream, packet.pos)
                if "mp3" in kinds and packet.size and bytes(packet)[:2] < b"\xff\xe0":  # a tag, or zeros: no frame
                    continue
                lacking -= packet.size > 0
                if packet.is_corrupt:
                    raise damaged(name, count, rate)
                if packet.pts is not None and packet.duration:
                    end = (packet.pts + packet.duration) * track.time_base
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
            total = None
            if "mov" in kinds and end is not None:  # the last packet says how much of it is audio
                total = round((end - start) * rate)
            elif vorbis and track.duration is not None:
                total = round(track.duration * track.time_base * rate)
            samples = last.samples
            if total is not None and 0 < total - count < samples:
                samples = total - count
            count += samples
            if lacking > 0 or count / rate + MAX_SHORT < stated_seconds(container, track):
                raise cut_off(name)
            yield last, samples
    except av.FFmpegError as error:
        where = f" after {count / rate:.2f} s" if count else ""
        raise AudioError(f"{name} can't be decoded as audio{where}: {error.strerror}") from error


def stated_seconds(container: Any, track: Any) -> float:
    """How long a header says that the audio is; 0 where it does not, or estimates."""
    kinds = set(container.format.name.split(","))
    if "matroska" in kinds:  # it has one length, which is that of the pictures where there are any
        return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0
    return float((track.duration or 0) * track.time_base) if kinds & STATES_LENGTH else 0.0


def stated_frames(stream: BinaryIO, start: int) -> int:
    """How many frames an MP3 file says that it has, in the Xing or Info frame that ends at byte `start`."""
    place = stream.tell()
    stream.seek(max(0, start - 2000))  # a frame is shorter
    info = stream.read(min(start, 2000))
    stream.seek(place)
    info = info[max(info.rfind(b"Xing"), info.rfind(b"Info")) :]
    return int.from_bytes(info[8:12]) if info[:4] in (b"Xing", b"Info") and info[7] & 1 else 0


def mixed(samples: np.ndarray, axis: int, name: str) -> np.ndarray:
    """
    The mean of the channels, which lie along `axis`.

    Raises:
        AudioError: channels that cancel each other, as where one is the negative of the other.
    """
    mean = samples.mean(axis=axis)
    channels = samples.shape[axis]
    # Unrelated channels give a mean of 1/C^2 of their energy; of those that agree it is more.
    if channels > 1 and energy(mean) < CANCELLED * energy(samples) / channels**2:
        raise AudioError(
            f"{name} has {channels} channels that cancel each other: their mean is silent. Give one of them, or turn "
            "the sign of those that are in opposite phase."
        )
    return mean


def energy(samples: np.ndarray) -> float:
    return float(np.vdot(samples, samples))


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
        array = mixed(array, int(array.shape[1] < array.shape[0]), name)
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
            f"{name} is {samples / rate:.1f} s long, more than max_audio_seconds {max_seconds:g}: {LONGER}"
        )
    allowed = round(max_seconds * rate)
    return allowed if allowed / rate <= max_seconds else allowed - 1
