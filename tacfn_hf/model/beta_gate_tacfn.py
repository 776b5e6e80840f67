"""The gate that says, dimension by dimension, how far audio or text was trusted."""

import torch
from torch import nn

from .configuration_tacfn import TacfnConfig


def masked_mean(h: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over time of `h [B, L, d]` where `mask [B, L]` is False; 0 for a sample without such a position. `[B, d]`"""
    h = h.masked_fill(mask.unsqueeze(-1), 0.0)
    if h.shape[1] == 1:
        return h[:, 0]
    total = h.sum(dim=1, dtype=torch.promote_types(h.dtype, torch.float32))
    return (total / (~mask).sum(dim=1, keepdim=True).clamp(min=1)).to(h.dtype)


def area_weights(mask: torch.Tensor, lengths: torch.Tensor, max_length: int) -> torch.Tensor:
    """
    The matrix that resamples the valid positions of a sequence by area.

    The n valid positions of a sample are spread over [0, 1), position k covering [k/n, (k+1)/n); so are the
    `lengths[b]` output positions. Entry `[b, i, j]` is the share of output i's interval that input j covers: rows sum
    to 1, and every valid input has the same total, so the mean over time is kept.

    Args:
        mask: boolean `[B, L]`, True = PAD.
        lengths: int64 `[B]`, output positions of each sample.
        max_length: rows of the result; rows from `lengths[b]` on are 0.

    Returns:
        float32 `[B, max_length, L]`; 0 throughout for a sample without a valid position.
    """
    valid = ~mask
    counts = valid.sum(dim=1)[:, None, None]
    rank = (valid.cumsum(dim=1) - 1)[:, None, :]
    outputs = lengths[:, None, None]
    i = torch.arange(max_length, device=mask.device)[None, :, None]
    # Both grids in units of 1 / (n * length): integers, so the shares carry one rounding only.
    overlap = torch.minimum((i + 1) * counts, (rank + 1) * outputs) - torch.maximum(i * counts, rank * outputs)
    overlap = overlap.clamp(min=0).masked_fill(~valid[:, None, :] | (i >= outputs), 0)
    return overlap.to(torch.float32) / counts.clamp(min=1)


# Two numbers beside 4d: as they are, the gate learns too slowly to read them.
DISTANCE_SCALE = 8.0


class BetaGate(nn.Module):
    """
    Fuses two sequences by a gate per dimension.

    With `a`, `t` the means over the valid positions of `LN_a(h_a)` and `LN_t(h_t)`, and `g = [a, t, |a - t|, a * t]`:
    `w = sigmoid(MLP(g))`, `h_fused = w * a + (1 - w) * t`, `beta = mean_j w_j` (near 1: audio, near 0: text). A sample
    whose mask is True throughout lacks the modality; its gate is exactly 1 or 0 on the one that is there. With
    `gate_reads_distance` g also holds how unlike the training part's features either modality's are.
    """

    def __init__(self, config: TacfnConfig):
        super().__init__()
        self.reads_distance = config.gate_reads_distance
        self.audio_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.text_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(4 * config.hidden_size + 2 * config.gate_reads_distance, config.gate_hidden_size),
            nn.ReLU(),
            nn.Linear(config.gate_hidden_size, config.hidden_size),
        )

    def forward(
        self,
        h_a: torch.Tensor,
        h_t: torch.Tensor,
        mask_a: torch.Tensor,
        mask_t: torch.Tensor,
        distances: torch.Tensor | None = None,
        both: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            h_a, h_t: `[B, L_a, d]` and `[B, L_t, d]`.
            mask_a, mask_t: boolean `[B, L_a]` and `[B, L_t]`, True = PAD.
            distances: `[B, 2]` of audio and of text, with `gate_reads_distance`; see [`FeatureDistance`]. None is 0, as
                typical features have it.
            both: False where no sample of the batch has both modalities: the gate is then a constant.

        Returns:
            `h_fused [B, d]`, `gate [B, d]`, `beta [B, 1]`, which is exactly 1 or 0 where text or audio is missing.
        """
        h_a, h_t = self.normalize(h_a, h_t, mask_a, mask_t)
        a, t = masked_mean(h_a, mask_a), masked_mean(h_t, mask_t)
        gate = torch.sigmoid(self.mlp(self.inputs(a, t, distances))) if both else torch.zeros_like(a)
        no_a, no_t = mask_a.all(dim=1, keepdim=True), mask_t.all(dim=1, keepdim=True)
        gate = gate.masked_fill(no_a, 0.0).masked_fill(no_t, 1.0)
        beta = gate.mean(dim=-1, keepdim=True)
        return gate * a + (1 - gate) * t, gate, beta

    def inputs(self, a: torch.Tensor, t: torch.Tensor, distances: torch.Tensor | None) -> torch.Tensor:
        """g of the means `a [B, d]` and `t [B, d]`, `[B, 4d]`, or `[B, 4d + 2]` where the gate reads distances."""
        g = [a, t, (a - t).abs(), a * t]
        if self.reads_distance:
            distances = a.new_zeros(len(a), 2) if distances is None else distances
            g.append(DISTANCE_SCALE * distances.to(a.dtype))
        return torch.cat(g, dim=-1)

    def fuse_sequences(
        self,
        h_a: torch.Tensor,
        h_t: torch.Tensor,
        mask_a: torch.Tensor,
        mask_t: torch.Tensor,
        gate: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Both sequences on one time axis, by area, fused by `gate [B, d]`.

        Returns:
            `fused_sequence [B, L_f, d]` and `fused_mask [B, L_f]`, True = PAD, where L_f is the larger of L_a and L_t,
            and as many positions of a sample are valid as the larger of its two valid lengths. Its mean over the valid
            positions is the `h_fused` of `forward`.
        """
        h_a, h_t = self.normalize(h_a, h_t, mask_a, mask_t)
        lengths = torch.maximum((~mask_a).sum(dim=1), (~mask_t).sum(dim=1))
        max_length = max(h_a.shape[1], h_t.shape[1])
        resampled_a = area_weights(mask_a, lengths, max_length).to(h_a.dtype) @ h_a
        resampled_t = area_weights(mask_t, lengths, max_length).to(h_t.dtype) @ h_t
        w = gate.unsqueeze(1)
        fused_mask = torch.arange(max_length, device=lengths.device)[None] >= lengths[:, None]
        return w * resampled_a + (1 - w) * resampled_t, fused_mask

    def normalize(
        self, h_a: torch.Tensor, h_t: torch.Tensor, mask_a: torch.Tensor, mask_t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer norms `LN_a(h_a)` and `LN_t(h_t)`, of 0 behind the masks."""
        h_a = self.audio_norm(h_a.masked_fill(mask_a.unsqueeze(-1), 0.0))
        h_t = self.text_norm(h_t.masked_fill(mask_t.unsqueeze(-1), 0.0))
        return h_a, h_t
