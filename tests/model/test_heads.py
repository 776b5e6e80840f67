"""The head of queries: its formula, and that padding, batch mates and absent modalities change nothing."""

import copy

import numpy as np
import pytest
import torch

from tacfn_hf import TacfnForSequenceClassification
from tacfn_hf.model.heads_tacfn import QueryHead


@pytest.fixture
def model(config) -> TacfnForSequenceClassification:
    config = copy.deepcopy(config)
    config.head, config.num_hidden_layers = "queries", 1
    model = TacfnForSequenceClassification(config).eval()
    with torch.no_grad():
        model.classifier.queries.normal_()  # far from the mean of all positions
    return model


def samples() -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
    generator = torch.Generator().manual_seed(0)
    lengths = [(7, 3), (1, 5), (None, 4), (6, None)]
    return [
        tuple(None if n is None else torch.randn(n, size, generator=generator) for n, size in zip(of_one, (12, 16)))
        for of_one in lengths
    ]


def padded(rows: list[torch.Tensor | None], size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    h, mask = torch.full((len(rows), length, size), float("nan")), torch.ones(len(rows), length, dtype=torch.bool)
    for i, row in enumerate(rows):
        if row is not None:
            h[i, : len(row)], mask[i, : len(row)] = row, False
    return h, mask


def test_logits_and_attention_are_those_of_the_formula(config):
    head, h = QueryHead(config).eval(), torch.randn(1, 5, config.hidden_size)
    with torch.no_grad():
        head.queries.normal_()
        logits, attention = head(h, torch.zeros(1, 5, dtype=torch.bool))
    of = {name: value.detach().double().numpy() for name, value in head.named_parameters()}
    positions, size = h[0].double().numpy(), config.hidden_size // config.num_attention_heads
    keys, values = (positions @ of[f"{n}_proj.weight"].T + of[f"{n}_proj.bias"] for n in "kv")
    for label in range(config.num_labels):
        found, weights = np.zeros(config.hidden_size), np.zeros(5)
        for part in (slice(start, start + size) for start in range(0, config.hidden_size, size)):
            scores = np.exp(keys[:, part] @ of["queries"][label, part] / size**0.5)
            found[part] = scores @ values[:, part] / scores.sum()
            weights += scores / scores.sum() / config.num_attention_heads
        logit = of["out_proj.weight"][label] @ np.maximum(found, 0) + of["out_proj.bias"][label]
        assert logits[0, label].item() == pytest.approx(logit, abs=1e-5)
        assert np.allclose(attention[0, label], weights, atol=1e-6)


@pytest.mark.parametrize("extra", [0, 9])
def test_padding_mates_and_absent_modalities_change_nothing(model, extra):
    pairs = samples()
    h_a, mask_a = padded([a for a, _ in pairs], 12, 7 + extra)
    h_t, mask_t = padded([t for _, t in pairs], 16, 5 + extra)
    with torch.no_grad():
        batch = model(h_a, h_t, mask_a, mask_t)
        for i, (a, t) in enumerate(pairs):
            alone = model(None if a is None else a[None], None if t is None else t[None])
            length = max(0 if of is None else len(of) for of in (a, t))
            torch.testing.assert_close(batch.logits[i], alone.logits[0], atol=1e-5, rtol=1e-5)
            attention = batch.label_attentions[i]
            torch.testing.assert_close(attention[:, :length], alone.label_attentions[0], atol=1e-6, rtol=1e-5)
            assert not attention[:, length:].any()
    torch.testing.assert_close(batch.label_attentions.sum(dim=-1), torch.ones(4, 4))
    assert batch.fused_sequence is None
    loss = model.train()(h_a, h_t, mask_a, mask_t, labels=torch.tensor([0, 1, 2, 3])).loss
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_equal_queries_of_zero_see_the_mean(model):
    with torch.no_grad():
        model.classifier.queries.zero_()
        h_a, h_t = torch.randn(2, 6, 12), torch.randn(2, 4, 16)
        output = model(h_a, h_t)
        head = model.classifier
        expected = head.out_proj(torch.relu(head.v_proj(output.h_fused)))
    torch.testing.assert_close(output.logits, expected, atol=1e-5, rtol=1e-5)
    assert torch.allclose(output.label_attentions, torch.tensor(1 / 6))


def test_it_is_saved_and_read_again(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = TacfnForSequenceClassification.from_pretrained(tmp_path).eval()
    h_a, h_t = torch.randn(2, 6, 12), torch.randn(2, 4, 16)
    with torch.no_grad():
        assert torch.equal(again(h_a, h_t).logits, model(h_a, h_t).logits)
