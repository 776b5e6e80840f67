"""Whisper's encoder: frames of transformers itself, without the silence behind them, in windows where audio is long."""

import copy

import numpy as np
import pytest
import torch
from stock_encoders import difference, save_whisper
from transformers import AutoModel, WhisperFeatureExtractor

from tacfn_hf import TacfnProcessor
from tacfn_hf.model.exact_whisper_encoder_tacfn import WhisperWithoutDecoder


RATE = 16000
CHUNK = 3  # seconds in a window of the encoder that the tests make, in place of 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("whisper"), CHUNK)


@pytest.fixture(scope="module")
def processor(folder, encoders) -> TacfnProcessor:
    return TacfnProcessor.from_encoders(encoders[0], folder)


def waveforms(*seconds: float) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [(0.1 * generator.normal(size=round(s * RATE))).astype(np.float32) for s in seconds]


def by_transformers(folder, waveform: np.ndarray) -> list[torch.Tensor]:
    """All hidden states `[L, d]` of one window, with the frames of the silence."""
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().get_encoder()
    inputs = extractor(waveform, sampling_rate=RATE, return_tensors="pt")["input_features"]
    with torch.no_grad():
        output = model(inputs, output_hidden_states=True)
    return [h[0] for h in (*output.hidden_states[:-1], output.last_hidden_state)]


@pytest.mark.parametrize("layer", [0, 1, -1, [0, 2]])
def test_frames_are_those_of_transformers_without_the_silence(folder, encoders, layer):
    processor = TacfnProcessor.from_encoders(encoders[0], folder, audio_layer=layer)
    for waveform, frames in zip(waveforms(1 / RATE, 0.02, 0.7001, 3.0), (1, 1, 36, 150), strict=True):
        hidden_states = by_transformers(folder, waveform)
        layers = [layer] if isinstance(layer, int) else layer
        expected = torch.stack([hidden_states[k] for k in layers]).mean(0)[:frames]
        assert difference(processor.encode_audio([waveform])[0], expected) < 1e-5


def test_batches_of_any_order_change_nothing(processor):
    clips = waveforms(0.5, 3.0, 7.3, 1.1, 3.1, 10.0)
    alone = [processor.encode_audio([clip])[0] for clip in clips]
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]):
        for i, h in zip(order, processor.encode_audio([clips[i] for i in order]), strict=True):
            assert difference(h, alone[i]) < 1e-5


@pytest.mark.parametrize("pad_to_30s", [True, False])
def test_large_batches_change_nothing(folder, encoders, pad_to_30s):
    """As on an accelerator, where several utterances share a batch."""
    processor = TacfnProcessor.from_encoders(encoders[0], folder, pad_to_30s=pad_to_30s)
    encoder, clips = processor.audio_encoder, waveforms(0.5, 7.3, 1.1)
    inputs = [encoder.prepare(clip, processor.feature_extractor) for clip in clips]
    with torch.no_grad():
        for clip, h, count in zip(clips, *encoder(*encoder.collate(inputs)), strict=True):
            assert difference(h[:count], processor.encode_audio([clip])[0]) < 1e-5


@pytest.mark.parametrize("seconds", [3.02, 5.0, 5.02, 7.0, 8.9])
def test_long_audio_is_encoded_in_windows_that_overlap(folder, processor, seconds):
    """Windows of 3 s start every 2 s. Of an overlap of 1 s each window gives the half that is nearer to its middle."""
    (waveform,) = waveforms(seconds)
    frames = -(-len(waveform) // 320)
    h = processor.encode_audio([waveform])[0]
    assert len(h) == frames
    starts = [0]
    while starts[-1] + 150 < frames:
        starts.append(starts[-1] + 100)
    of_windows = [by_transformers(folder, waveform[320 * s : 320 * (s + 150)])[-1] for s in starts]
    for t in range(frames):
        k = next(k for k in reversed(range(len(starts))) if k == 0 or t >= starts[k] + 25)
        assert difference(h[t], of_windows[k][t - starts[k]]) < 1e-4


@pytest.mark.parametrize("seconds", [0.02, 1.0, 2.5, 3.0, 4.3])
def test_without_filling_up_each_window_ends_with_a_little_silence(folder, encoders, seconds):
    """Transformers itself, with as many positions as a window has frames."""
    processor = TacfnProcessor.from_encoders(encoders[0], folder, pad_to_30s=False)
    (waveform,) = waveforms(seconds)
    frames = -(-len(waveform) // 320)
    starts = [0] if frames <= 150 else [0, 100]
    expected = torch.empty(frames, 32)
    for start in starts:
        length = min(150, frames - start + 30)
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().get_encoder()
        model.embed_positions = torch.nn.Embedding.from_pretrained(model.embed_positions.weight[:length])
        model.config.max_source_positions = length
        extractor = WhisperFeatureExtractor.from_pretrained(folder)
        clip = waveform[320 * start : 320 * (start + 150)]
        spectrum = extractor(clip, sampling_rate=RATE, return_tensors="pt")["input_features"][:, :, : 2 * length]
        with torch.no_grad():
            h = model(spectrum).last_hidden_state[0]
        left_out = 25 if start else 0
        kept = min(length, frames - start)
        expected[start + left_out : start + kept] = h[left_out:kept]
    (found,) = processor.encode_audio([waveform])
    assert difference(found, expected) < 1e-5
    clips = [*waveforms(0.5, 7.3, 1.1), waveform]
    assert difference(processor.encode_audio(clips)[-1], found) < 1e-5


def test_filling_up_or_not_is_part_of_what_made_the_features(folder, encoders, tmp_path):
    processor = TacfnProcessor.from_encoders(encoders[0], folder, pad_to_30s=False)
    assert processor.audio_provenance == {
        **TacfnProcessor.from_encoders(encoders[0], folder).audio_provenance,
        "pad_to_30s": False,
    }
    (waveform,) = waveforms(1.0)
    processor.save_pretrained(tmp_path)
    (found,) = TacfnProcessor.from_pretrained(tmp_path).encode_audio([waveform])
    assert torch.equal(found, processor.encode_audio([waveform])[0])
    with pytest.raises(ValueError, match="pad_to_30s is False: it is for Whisper, and the audio encoder"):
        TacfnProcessor.from_encoders(*encoders, pad_to_30s=False)


def test_the_decoder_is_neither_loaded_nor_saved(folder, processor, tmp_path):
    assert isinstance(processor.audio_encoder.model, WhisperWithoutDecoder)
    assert not any("decoder" in name for name, _ in processor.audio_encoder.model.named_parameters())
    (waveform,) = waveforms(4.2)
    expected = processor.encode_audio([waveform])[0]
    processor.save_pretrained(tmp_path)
    saved = TacfnProcessor.from_pretrained(tmp_path)
    assert torch.equal(saved.encode_audio([waveform])[0], expected)
    assert saved.audio_provenance == processor.audio_provenance
    whole, kept = folder / "model.safetensors", tmp_path / "audio_encoder" / "model.safetensors"
    assert kept.stat().st_size < 0.9 * whole.stat().st_size


def test_a_missing_weight_is_named(folder, encoders, tmp_path):
    model = WhisperWithoutDecoder.from_pretrained(folder)
    state = {name: value for name, value in model.state_dict().items() if name != "encoder.layers.1.fc1.weight"}
    model.save_pretrained(tmp_path, state_dict=state)
    WhisperFeatureExtractor.from_pretrained(folder).save_pretrained(tmp_path)
    processor = TacfnProcessor.from_encoders(encoders[0], tmp_path)
    with pytest.raises(ValueError, match=r"are not those of its config \(missing: encoder.layers.1.fc1.weight"):
        processor.encode_audio(waveforms(1))


def test_a_feature_extractor_of_other_windows_is_refused(folder, encoders):
    processor = copy.copy(TacfnProcessor.from_encoders(encoders[0], folder))
    processor.feature_extractor = WhisperFeatureExtractor(feature_size=20)
    with pytest.raises(ValueError, match="has windows of 480000 samples: the model takes 48000"):
        processor.encode_audio(waveforms(1))


def test_a_folder_without_its_feature_extractor_is_refused(folder, encoders, tmp_path):
    WhisperWithoutDecoder.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no feature extractor"):
        TacfnProcessor.from_encoders(encoders[0], tmp_path)


def test_half_precision_stays_near(folder, encoders):
    (waveform,) = waveforms(2.0)
    single, half = (
        TacfnProcessor.from_encoders(encoders[0], folder, dtype=dtype).encode_audio([waveform])[0]
        for dtype in ("float32", "bfloat16")
    )
    assert half.dtype == torch.float32
    assert difference(half, single) < 0.05


def test_a_text_encoder_must_not_be_whisper(folder):
    with pytest.raises(ValueError, match="is a whisper model: it must be an encoder like BERT"):
        TacfnProcessor.from_encoders(folder, folder)


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_one_modality_does_not_need_the_encoder_of_the_other(folder, encoders, monkeypatch, modality):
    processor = TacfnProcessor.from_encoders(encoders[0], folder)
    (waveform,) = waveforms(1.0)
    expected = processor(text=["Hello!"], audio=[waveform], sampling_rate=RATE)
    del processor._sources["text" if modality == "audio" else "audio"]  # any use of it is an error
    batch = processor(**({"audio": [waveform], "sampling_rate": RATE} if modality == "audio" else {"text": ["Hello!"]}))
    assert len(batch) == 2
    assert all(torch.equal(value, expected[name]) for name, value in batch.items())
