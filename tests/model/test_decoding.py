"""Files of every format are read to their last sample, and cut or damaged ones are named."""

import importlib.util
import re
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from sounds import FLAC, LAYOUTS, RATE, SAMPLES, WAV, WAVEFORM, container, file_bytes, pcm, saved, sine, wav_bytes

from tacfn_hf.model import decoding_tacfn
from tacfn_hf.model.audio_tacfn import load_audio
from tacfn_hf.model.decoding_tacfn import AudioError, audio_seconds


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


QUICK = ("wav", "flac", "mp3", "m4a", "webm", "ogg, Opus")


@pytest.mark.parametrize(
    "codec",
    [pytest.param(codec, id=codec[0], marks=[] if codec[0] in QUICK else pytest.mark.slow) for codec in CODECS],
)
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


@pytest.mark.slow
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
