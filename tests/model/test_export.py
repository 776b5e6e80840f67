"""The network as a program of `torch.export`, whose batch and lengths may be others than those it was made with."""

import pytest
import torch
from torch.export import Dim, export

from tacfn_hf import TacfnForSequenceClassification


class Logits(torch.nn.Module):
    """The network with a plain tuple as its output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, h_a, h_t, mask_a, mask_t):
        output = self.model(h_a, h_t, mask_a, mask_t)
        return output.logits, output.beta, output.h_fused


def inputs(batch_size: int, audio_length: int, text_length: int) -> tuple[torch.Tensor, ...]:
    """The first sample lacks text, the last one audio; others are padded, with NaN behind the mask."""
    mask_a = torch.arange(audio_length)[None] >= torch.arange(1, batch_size + 1).clamp(max=audio_length)[:, None]
    mask_t = torch.arange(text_length)[None] >= torch.arange(1, batch_size + 1).clamp(max=text_length)[:, None]
    mask_t[0] = mask_a[-1] = True
    h_a = torch.randn(batch_size, audio_length, 12).masked_fill(mask_a.unsqueeze(-1), float("nan"))
    h_t = torch.randn(batch_size, text_length, 16).masked_fill(mask_t.unsqueeze(-1), float("nan"))
    return h_a, h_t, mask_a, mask_t


@pytest.mark.slow
@pytest.mark.parametrize(("num_hidden_layers", "head"), [(0, "linear"), (2, "mlp"), (1, "queries")])
def test_an_exported_network_equals_the_eager_one(config, num_hidden_layers, head):
    config.num_hidden_layers, config.head = num_hidden_layers, head
    model = Logits(TacfnForSequenceClassification(config)).eval()
    batch_size, audio_length, text_length = Dim("batch_size"), Dim("audio_length"), Dim("text_length")
    audio, text = {0: batch_size, 1: audio_length}, {0: batch_size, 1: text_length}
    program = export(model, inputs(3, 7, 5), dynamic_shapes=(audio, text, audio, text)).module()
    for sizes in ((3, 7, 5), (2, 30, 2), (9, 4, 11)):
        given = inputs(*sizes)
        with torch.no_grad():
            for got, expected in zip(program(*given), model(*given)):
                assert torch.isfinite(got).all()
                torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
