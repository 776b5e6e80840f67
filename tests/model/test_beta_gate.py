import pytest
import torch

from tacfn_hf import BetaGate
from tacfn_hf.model.beta_gate_tacfn import area_weights, masked_mean


def area_weights_by_loops(mask, length):
    """From the definition: the share of output i's interval that input k covers, in float64."""
    valid = [j for j, padded in enumerate(mask) if not padded]
    weights = torch.zeros(length, len(mask), dtype=torch.float64)
    for i in range(length):
        for k, j in enumerate(valid):
            start, end = max(i / length, k / len(valid)), min((i + 1) / length, (k + 1) / len(valid))
            weights[i, j] = max(0.0, end - start) * length
    return weights


@pytest.mark.parametrize(("valid", "length"), [(1, 1), (1, 9), (9, 9), (3, 50), (7, 11), (499, 499), (40, 499)])
def test_area_weights_follow_the_definition(valid, length):
    mask = torch.ones(valid + 5, dtype=torch.bool)
    mask[torch.randperm(valid + 5)[:valid]] = False
    weights = area_weights(mask[None], torch.tensor([length]), length)[0].double()
    torch.testing.assert_close(weights, area_weights_by_loops(mask.tolist(), length), atol=1e-6, rtol=0)
    torch.testing.assert_close(weights.sum(1), torch.ones(length, dtype=torch.float64), atol=1e-6, rtol=0)
    per_input = torch.where(mask, 0.0, length / valid).double()
    torch.testing.assert_close(weights.sum(0), per_input, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("lengths", [(3, 200), (200, 3), (20, 20), (1, 1), (1, 30), (30, 1), None])
def test_the_mean_of_the_fused_sequence_is_the_gated_mean(config, lengths):
    gate = BetaGate(config)
    if lengths is None:
        mask_a, mask_t = torch.rand(5, 60) < 0.5, torch.rand(5, 13) < 0.5
        mask_a[:, 7] = mask_t[:, 2] = False
    else:
        mask_a = torch.zeros(5, lengths[0], dtype=torch.bool)
        mask_t = torch.zeros(5, lengths[1], dtype=torch.bool)
    h_a = torch.randn(*mask_a.shape, 16, requires_grad=True)
    h_t = torch.randn(*mask_t.shape, 16, requires_grad=True)
    h_fused, w, beta = gate(h_a, h_t, mask_a, mask_t)
    fused, fused_mask = gate.fuse_sequences(h_a, h_t, mask_a, mask_t, w)

    for b in range(5):
        a = gate.audio_norm(h_a[b][~mask_a[b]]).mean(0)
        t = gate.text_norm(h_t[b][~mask_t[b]]).mean(0)
        expected = w[b] * a + (1 - w[b]) * t
        valid = fused[b][~fused_mask[b]]
        assert len(valid) == max((~mask_a[b]).sum(), (~mask_t[b]).sum())
        torch.testing.assert_close(valid.mean(0), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(h_fused[b], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(beta, w.mean(1, keepdim=True))

    (fused * torch.randn_like(fused)).sum().backward()
    for h, mask in ((h_a, mask_a), (h_t, mask_t)):
        assert torch.isfinite(h.grad).all()
        assert (h.grad[~mask].abs().amax(-1) > 0).all()
        assert (h.grad[mask] == 0).all()


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_the_gate_of_a_missing_modality_is_exact(config, modality):
    mask_a, mask_t = torch.zeros(2, 5, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    (mask_a if modality == "audio" else mask_t)[0] = True
    gate, h_a, h_t = BetaGate(config), torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    h_fused, w, beta = gate(h_a, h_t, mask_a, mask_t)
    fused, fused_mask = gate.fuse_sequences(h_a, h_t, mask_a, mask_t, w)
    expected = 0.0 if modality == "audio" else 1.0
    assert (w[0] == expected).all()
    assert beta[0] == expected
    assert 0 < beta[1] < 1
    torch.testing.assert_close(fused[0][~fused_mask[0]].mean(0), h_fused[0], atol=1e-5, rtol=1e-5)


def test_masked_mean_in_half_precision_sums_in_single():
    h = torch.full((1, 5000, 2), 0.1, dtype=torch.bfloat16)
    mean = masked_mean(h, torch.zeros(1, 5000, dtype=torch.bool))
    assert mean.dtype == torch.bfloat16
    assert (mean == h[:, 0]).all()
