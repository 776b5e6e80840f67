"""What encoders share: layers that are loaded, batches by length, and kernels of the CPU."""

import pytest
import torch
from stock_encoders import SPEECH, difference, hidden_states_of, padded, speech_model, text_model, token_ids, waveforms
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tacfn_hf.model import cpu_kernels_tacfn
from tacfn_hf.model.cpu_kernels_tacfn import CpuKernels, has_onednn
from tacfn_hf.model.encoder_sources_tacfn import EncoderSource
from tacfn_hf.model.exact_speech_encoders_tacfn import WaveformEncoder
from tacfn_hf.model.exact_text_encoders_tacfn import TextEncoder
from tacfn_hf.model.loading_tacfn import load_encoder
from tacfn_hf.model.pretrained_encoders_tacfn import batches_by_length


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


class Products(TorchDispatchMode):
    """Counts the linear layers that oneDNN computes."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "_linear_pointwise" in str(function)
        return function(*args, **(kwargs or {}))


@torch.no_grad()
@pytest.mark.skipif(not has_onednn(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("kind", ["speech", "text"])
def test_onednn_is_used_on_request_and_features_stay_the_same(kind):
    if kind == "speech":
        encoder, inputs = WaveformEncoder(speech_model("wavlm-base"), [3]), waveforms()[:5]
    else:
        encoder, inputs = TextEncoder(text_model("bert"), [3]), token_ids()
    kinds = [type(module) for module in encoder.modules()]
    linear = sum(isinstance(module, nn.Linear) for module in encoder.modules())
    with Products() as products:
        expected = encoder.encode(inputs, use_onednn=False)
        assert products.count == 0
        found = encoder.encode(inputs, use_onednn=True)
        assert products.count > linear / 2
    for h, other in zip(found, expected):
        assert difference(h, other) < 1e-5
    batch = padded([torch.as_tensor(values) for values in inputs], max(map(len, inputs)) + 7, 0)
    with CpuKernels(use_onednn=True):
        together, _ = encoder(*batch)
    for row, h in zip(together, found):
        assert difference(row[: len(h)], h) < 1e-5
    assert [type(module) for module in encoder.modules()] == kinds
    with Products() as products:
        encoder.bfloat16().encode(inputs[:1], use_onednn=True)
    assert products.count == 0


@torch.no_grad()
def test_without_onednn_the_features_are_the_same(monkeypatch):
    encoder, inputs = TextEncoder(text_model("bert"), [3]), token_ids()
    expected = encoder.encode(inputs, use_onednn=True)
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    for h, other in zip(encoder.encode(inputs, use_onednn=True), expected):
        assert difference(h, other) < 1e-5


CONVOLUTIONS = {
    "strided": {"stride": 2},
    "padded": {"padding": 3},
    "padded by a word": {"padding": "same"},
    "of positions": {"padding": 4, "groups": 3},
    "dilated": {"dilation": 2, "bias": False},
    "depthwise": {"padding": 2, "groups": 6},
    "circular": {"padding": 2, "padding_mode": "circular"},
}


@torch.no_grad()
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_the_same_in_the_layout_channels_last(name):
    layer = nn.Conv1d(6, 6, 5, **CONVOLUTIONS[name]).double()
    h = torch.randn(2, 6, 40, dtype=torch.float64)
    for x in (h, h.transpose(1, 2).contiguous().transpose(1, 2), h[0]):
        expected = layer(x)
        with CpuKernels(use_onednn=False):
            found = layer(x)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        if x.dim() == 3 and name != "depthwise":  # what follows reads it frame by frame
            assert found.transpose(1, 2).is_contiguous()


@torch.no_grad()
@pytest.mark.parametrize("faster", [True, False])
def test_by_default_it_is_used_where_it_is_faster(faster, monkeypatch):
    monkeypatch.setattr(cpu_kernels_tacfn, "onednn_is_faster", lambda: faster)
    with Products() as products:
        TextEncoder(text_model("bert"), [3]).encode(token_ids())
    assert (products.count > 0) == (faster and has_onednn())


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
