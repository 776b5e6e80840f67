"""Features are those of the encoder itself, and the same alone and in any batch."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers
from tiny import SPEECH_SIZES
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModel

from tacfn_hf.model.exact_encoders_tacfn import (
    EXACT_WITH_PADDING,
    OneDnnProduct,
    SpeechEncoder,
    TextEncoder,
    batches_by_length,
    frame_counts,
    has_onednn,
    min_samples,
)
from tacfn_hf.model.loading_tacfn import EncoderSource, load_encoder


LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SPEECH = {
    "wavlm-base": ("WavLM", {}),
    "wavlm-large": ("WavLM", LARGE),
    "wav2vec2-base": ("Wav2Vec2", {}),
    "wav2vec2-large": ("Wav2Vec2", LARGE),
    "wav2vec2-adapter": ("Wav2Vec2", {"add_adapter": True}),
    "hubert-base": ("Hubert", {}),
    "hubert-large": ("Hubert", LARGE),
    "hubert-batch-norm": ("Hubert", {"conv_pos_batch_norm": True}),
    "data2vec": ("Data2VecAudio", {}),
    "unispeech-sat-base": ("UniSpeechSat", {}),
    "unispeech-sat-large": ("UniSpeechSat", LARGE),
}
QUICK = ("wavlm-base", "wav2vec2-large")  # with a norm over time, and without one
TEXT_SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 100,
    "initializer_range": 0.2,
}
TEXT = {  # what a config of its own names otherwise, or must have
    "albert": {"embedding_size": 16},
    "big_bird": {"block_size": 4, "num_random_blocks": 1},
    "convbert": {"embedding_size": 24},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3},
    "distilbert": {"dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "electra": {"embedding_size": 16},
    "fnet": {},
    "mobilebert": {"embedding_size": 24, "intra_bottleneck_size": 24, "true_hidden_size": 24},
    "modernbert": {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8},
    "rembert": {"input_embedding_size": 16},
}


def with_wild_weights(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """Norms and biases away from 1 and 0, so that a wrong one shows."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "running" in name:  # the statistics of a batch norm
                buffer.add_(0.3 * torch.rand_like(buffer))
    return model.eval()


def speech_model(name: str) -> transformers.PreTrainedModel:
    family, settings = SPEECH[name]
    config = getattr(transformers, f"{family}Config")(**{**SPEECH_SIZES, "initializer_range": 0.3, **settings})
    return with_wild_weights(getattr(transformers, f"{family}Model")(config))


def text_model(name: str) -> transformers.PreTrainedModel:
    config = transformers.AutoConfig.for_model(name, **{**TEXT_SIZES, "pad_token_id": 0, **TEXT.get(name, {})})
    return with_wild_weights(AutoModel.from_config(config))


def waveforms() -> list[torch.Tensor]:
    """One frame, 0.1 to 8 s, silence, and a second of near silence."""
    generator = torch.Generator().manual_seed(2)
    sizes = (400, 1600, 16000, 5001, 64000, 24319, 128000)
    speech = [torch.randn(size, generator=generator) for size in sizes]
    return [*speech, torch.zeros(9000), 1e-4 * torch.randn(16000, generator=generator)]


def hidden_states_of(stock: transformers.PreTrainedModel, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Of one utterance, by transformers; the last one is the output."""
    output = stock(inputs[None], output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


def padded(rows: list[torch.Tensor], length: int, padding: float) -> tuple[torch.Tensor, torch.Tensor]:
    batch = torch.full((len(rows), length), padding, dtype=rows[0].dtype)
    for row, values in zip(batch, rows):
        row[: len(values)] = values
    return batch, torch.tensor([len(values) for values in rows])


def difference(h: torch.Tensor, expected: torch.Tensor) -> float:
    assert h.shape == expected.shape
    return ((h - expected).norm() / expected.norm()).item()


def others_are_slow(names) -> list:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@torch.no_grad()
@pytest.mark.parametrize("name", others_are_slow(SPEECH))
def test_speech_alone_is_the_encoder_itself_and_a_batch_changes_nothing(name):
    stock = speech_model(name)
    layers = range(stock.config.num_hidden_layers + 1)
    encoders = [SpeechEncoder(copy.deepcopy(stock), [layer]) for layer in layers]
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
@pytest.mark.parametrize("name", ["wavlm-base", "wavlm-large", "hubert-large", "modernbert", "bert"])
def test_layers_above_are_not_loaded_and_the_last_one_is_the_output(name, tmp_path):
    modality = "audio" if name in SPEECH else "text"
    stock = speech_model(name) if modality == "audio" else text_model(name)
    stock.save_pretrained(tmp_path / "whole")
    inputs = waveforms()[2] if modality == "audio" else token_ids()[0]
    expected = hidden_states_of(stock, torch.as_tensor(inputs))
    for layer in range(4):
        encoder = load_encoder(modality, EncoderSource(str(tmp_path / "whole")), layer, "float32", "cpu")
        assert encoder.model.config.num_hidden_layers == max(layer, 1)
        assert difference(encoder.encode([inputs])[0], expected[layer][0]) < 1e-5
        encoder.model.save_pretrained(tmp_path / str(layer))
        saved = load_encoder(modality, EncoderSource(str(tmp_path / str(layer))), layer, "float32", "cpu")
        assert torch.equal(saved.encode([inputs])[0], encoder.encode([inputs])[0])


@torch.no_grad()
def test_several_layers_give_their_mean():
    stock = speech_model("wavlm-base")
    clip = waveforms()[2]
    hidden_states = hidden_states_of(stock, clip)
    h = SpeechEncoder(copy.deepcopy(stock), [1, 3]).encode([clip])[0]
    assert difference(h, (hidden_states[1][0] + hidden_states[3][0]) / 2) < 1e-5


@torch.no_grad()
def test_threads_that_share_an_encoder_do_not_mix_their_batches():
    encoder = SpeechEncoder(speech_model("wavlm-base"), [3])
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
    encoder = SpeechEncoder(stock, [0])
    for size in [size for change in changes for size in (change - 1, change) if size >= 400] + [40000]:
        clip = torch.randn(size)
        h = encoder.encode([clip])[0]
        assert len(h) == counts[size - 400]


def test_the_fewest_samples_make_one_frame():
    config = speech_model("wavlm-base").config
    assert min_samples(config) == 400
    assert frame_counts(config, 400) == 1
    assert frame_counts(config, 399) <= 0


def test_another_group_norm_is_refused():
    model = speech_model("wavlm-base")
    model.feature_extractor.conv_layers[0].layer_norm = nn.GroupNorm(2, SPEECH_SIZES["conv_dim"][0])
    with pytest.raises(ValueError, match="GroupNorm of 2 groups for 16 channels: only one group per channel"):
        SpeechEncoder(model, [1])


class Products(TorchDispatchMode):
    """Counts the linear layers that oneDNN computes."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "_linear_pointwise" in str(function)
        return function(*args, **(kwargs or {}))


@torch.no_grad()
@pytest.mark.skipif(not has_onednn(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("kind", ["speech", "text"])
def test_onednn_is_used_on_request_alone_and_features_stay_the_same(kind):
    if kind == "speech":
        encoder, inputs = SpeechEncoder(speech_model("wavlm-base"), [3]), waveforms()[:5]
    else:
        encoder, inputs = TextEncoder(text_model("bert"), [3]), token_ids()
    kinds = [type(module) for module in encoder.modules()]
    linear = sum(isinstance(module, nn.Linear) for module in encoder.modules())
    with Products() as products:
        expected = encoder.encode(inputs)
        assert products.count == 0
        found = encoder.encode(inputs, use_onednn=True)
        assert products.count > linear / 2
    for h, other in zip(found, expected):
        assert difference(h, other) < 1e-5
    batch = padded([torch.as_tensor(values) for values in inputs], max(map(len, inputs)) + 7, 0)
    with OneDnnProduct():
        together = encoder(*batch)
    for row, h in zip(together[0] if kind == "speech" else together, found):
        assert difference(row[: len(h)], h) < 1e-5
    assert [type(module) for module in encoder.modules()] == kinds
    with Products() as products:
        encoder.bfloat16().encode(inputs[:1], use_onednn=True)
    assert products.count == 0


def test_onednn_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    with pytest.raises(ValueError, match="use_onednn is True: torch .* was built without oneDNN"):
        OneDnnProduct()


def token_ids() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(5, 99, (size,), generator=generator).tolist() for size in (20, 1, 7, 13, 7, 33, 20, 2)]


@torch.no_grad()
@pytest.mark.parametrize("name", [*EXACT_WITH_PADDING, "big_bird", "convbert", "fnet", "mobilebert"])
def test_text_alone_is_the_encoder_itself_and_a_batch_changes_nothing(name):
    stock = text_model(name)
    texts = token_ids()
    alone = [hidden_states_of(stock, torch.tensor(ids)) for ids in texts]
    for layer in range(stock.config.num_hidden_layers + 1):
        encoder = TextEncoder(stock, [layer])
        together = encoder.encode(texts)
        reverse = encoder.encode(texts[::-1])[::-1]
        for hidden_states, h, again, ids in zip(alone, together, reverse, texts):
            expected = hidden_states[layer][0]
            assert difference(h, expected) < 1e-5
            assert difference(again, expected) < 1e-5
            assert difference(encoder.encode([ids])[0], expected) < 1e-5


@torch.no_grad()
def test_padded_texts_may_hold_any_token_behind_their_end():
    encoder = TextEncoder(text_model("bert"), [3])
    texts = token_ids()
    batches = [padded([torch.tensor(ids) for ids in texts], 40, padding) for padding in (0, 50)]
    for row, other, ids in zip(*(encoder(*batch) for batch in batches), texts):
        assert difference(row[: len(ids)], other[: len(ids)]) < 1e-5


@pytest.mark.parametrize(("name", "limit"), [("bert", 50), ("roberta", 49), ("distilbert", 50), ("deberta-v2", 50)])
def test_the_longest_text_fits_and_no_longer_one(name, limit):
    config = transformers.AutoConfig.for_model(
        name, **{**TEXT_SIZES, "pad_token_id": 0, "max_position_embeddings": 50, **TEXT.get(name, {})}
    )
    encoder = TextEncoder(AutoModel.from_config(config).eval(), [1])
    assert encoder.max_tokens == limit
    assert len(encoder.encode([[7] * limit])[0]) == limit
    with pytest.raises((IndexError, RuntimeError)):
        encoder.encode([[7] * (limit + 1)])


@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("budget", [0, 30, 10**6])
def test_batches_hold_every_input_once_within_the_budget(budget, padding):
    lengths = torch.randint(1, 12, (50,)).tolist()
    batches = list(batches_by_length(lengths, budget, padding))
    assert sorted(i for batch in batches for i in batch) == list(range(50))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert padding or {lengths[i] for i in batch} == {longest}
    # Of a batch's neighbours in length none would have fitted in.
    for batch, following in zip(batches, batches[1:]):
        fits = (len(batch) + 1) * max(lengths[i] for i in batch) <= budget
        assert not (fits and (padding or lengths[following[0]] == lengths[batch[0]]))
