"""Features of speech are those of the encoder itself, and the same alone and in any batch."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from stock_encoders import SPEECH, difference, hidden_states_of, padded, speech_model, waveforms, with_wild_weights
from tiny import MINILM, SPEECH_SIZES
from torch import nn
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel

from tacfn_hf import TacfnProcessor
from tacfn_hf.model.exact_speech_encoders_tacfn import Wav2Vec2BertSpeechEncoder, WaveformEncoder, frame_counts


QUICK = ("wavlm-base", "wav2vec2-large")  # with a norm over time, and without one


def others_are_slow(names) -> list:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@torch.no_grad()
@pytest.mark.parametrize("name", others_are_slow(SPEECH))
def test_speech_alone_is_the_encoder_itself_and_a_batch_changes_nothing(name):
    stock = speech_model(name)
    layers = range(stock.config.num_hidden_layers + 1)
    encoders = [WaveformEncoder(copy.deepcopy(stock), [layer]) for layer in layers]
    stock.adapter = None  # behind the encoder, of no use here
    clips = waveforms()
    alone = [hidden_states_of(stock, clip) for clip in clips]
    for layer, encoder in zip(layers, encoders):
        for hidden_states, h in zip(alone, encoder.encode(clips)):
            assert difference(h, hidden_states[layer][0]) < 1e-5
    # In any order, and with NaN where no sample is.
    order = torch.randperm(len(clips)).tolist()
    batch, lengths = padded([clips[i] for i in order], 129000, float("nan"))
    for layer in (1, stock.config.num_hidden_layers):
        h, frames = encoders[layer](batch, lengths)
        for row, count, i in zip(h, frames, order):
            assert difference(row[:count], alone[i][layer][0]) < 1e-5


@torch.no_grad()
def test_several_layers_give_their_mean():
    stock = speech_model("wavlm-base")
    clip = waveforms()[2]
    hidden_states = hidden_states_of(stock, clip)
    h = WaveformEncoder(copy.deepcopy(stock), [1, 3]).encode([clip])[0]
    assert difference(h, (hidden_states[1][0] + hidden_states[3][0]) / 2) < 1e-5


@torch.no_grad()
def test_threads_that_share_an_encoder_do_not_mix_their_batches():
    encoder = WaveformEncoder(speech_model("wavlm-base"), [3])
    clips = [clip for clip in waveforms() if len(clip) < 70000]
    batches = [padded([clips[i], clips[(i + 3) % len(clips)]], 64000, 0.0) for i in range(len(clips))]
    expected = [encoder(*batch) for batch in batches]

    def run(batch):
        with torch.no_grad():  # which every thread has to say for itself
            return encoder(*batch)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for (h, frames), (expected_h, _) in zip(pool.map(run, batches), expected):
                for row, expected_row, count in zip(h, expected_h, frames):
                    assert difference(row[:count], expected_row[:count]) < 1e-5


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_frames_are_counted_as_the_encoder_counts_them(name):
    stock = speech_model(name)
    samples = torch.arange(400, 40001)
    counts = frame_counts(stock.config, samples)
    assert torch.equal(counts, stock._get_feat_extract_output_lengths(samples))
    changes = [400, *(samples[1:][counts.diff() > 0]).tolist()]
    assert len(changes) == 124
    encoder = WaveformEncoder(stock, [0])
    for size in [size for change in changes for size in (change - 1, change) if size >= 400] + [40000]:
        clip = torch.randn(size)
        h = encoder.encode([clip])[0]
        assert len(h) == counts[size - 400]


def test_the_fewest_samples_make_one_frame():
    config = speech_model("wavlm-base").config
    assert WaveformEncoder.min_samples(config) == 400
    assert frame_counts(config, 400) == 1
    assert frame_counts(config, 399) <= 0


def test_another_group_norm_is_refused():
    model = speech_model("wavlm-base")
    model.feature_extractor.conv_layers[0].layer_norm = nn.GroupNorm(2, SPEECH_SIZES["conv_dim"][0])
    with pytest.raises(ValueError, match="GroupNorm of 2 groups for 16 channels: only one group per channel"):
        WaveformEncoder(model, [1])


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_frames_of_wav2vec2_bert_are_those_of_transformers_in_any_batch(layer, tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    config = Wav2Vec2BertConfig(**sizes, output_hidden_size=32, add_adapter=True)
    stock = with_wild_weights(Wav2Vec2BertModel(config))
    extractor = SeamlessM4TFeatureExtractor()
    for part in (stock, extractor):
        part.save_pretrained(tmp_path)
    stock.adapter = None  # behind the encoder, of no use here
    processor = TacfnProcessor.from_encoders(MINILM, tmp_path, audio_layer=layer)
    fewest = Wav2Vec2BertSpeechEncoder.min_samples(config)
    clips = [torch.randn(size).numpy() for size in (fewest, fewest + 160, 16000, 5001, 33333)]
    alone = [processor.encode_audio([clip])[0] for clip in clips]
    for clip, h, frames in zip(clips, alone, (1, 1, 49, 14, 103), strict=True):
        inputs = extractor(clip, sampling_rate=16000, return_tensors="pt")
        hidden_states = stock(**inputs, output_hidden_states=True).hidden_states
        assert difference(h, hidden_states[layer][0, :frames]) < 1e-5
    encoder = processor.audio_encoder
    spectra = [encoder.prepare(clip, extractor) for clip in clips]
    batch = torch.full((5, 150, 160), float("nan"))
    for row, spectrum in zip(batch, spectra):
        row[: len(spectrum)] = spectrum
    h, frames = encoder(batch, torch.tensor([len(spectrum) for spectrum in spectra]))
    for row, count, expected in zip(h, frames, alone):
        assert difference(row[:count], expected) < 1e-5
    with pytest.raises(ValueError, match=f"needs at least {fewest}"):
        processor(audio=clips[0][1:], sampling_rate=16000)
