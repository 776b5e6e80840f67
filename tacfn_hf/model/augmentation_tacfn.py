"""What training does to its inputs, so that the network can do without a modality and notices a broken one."""

import torch
from torch.nn import functional as F


def drop_modalities(
    mask_a: torch.Tensor, mask_t: torch.Tensor, probability: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks, where each sample that has both modalities has lost one of them with that probability."""
    both = ~(mask_a.all(dim=1) | mask_t.all(dim=1))
    drawn = torch.rand(len(mask_a), device=mask_a.device)
    without_audio = both & (drawn < probability / 2)
    without_text = both & (drawn >= 1 - probability / 2)
    return mask_a | without_audio.unsqueeze(1), mask_t | without_text.unsqueeze(1)


def add_noise(h: torch.Tensor, mask: torch.Tensor, probability: float) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Standardised features `h [B, L, d]` in which each sample has, with that probability, a share of its positions
    replaced by Gaussian noise, or of the dimensions of the only one. The share is drawn from [0, 1), evenly.

    Returns the features and the shares `[B]`.
    """
    num_samples, length, size = h.shape
    drawn = torch.rand(2, num_samples, 1, 1, device=h.device)
    share = torch.where(drawn[0] < probability, drawn[1], 0.0)
    by_position = torch.rand(num_samples, length, 1, device=h.device)
    by_dimension = torch.rand(num_samples, 1, size, device=h.device)
    single = ((~mask).sum(dim=1) == 1)[:, None, None]
    noisy = torch.where(torch.where(single, by_dimension, by_position) < share, torch.randn_like(h), h)
    return noisy, share[:, 0, 0]


def drop_dimensions(h: torch.Tensor, probability: float) -> torch.Tensor:
    """
    Dropout on features `h [B, L, d]` of whole dimensions of a sample, at all of its positions (Gal and Ghahramani,
    2016, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks): dropped at each position on
    their own, they would come back in the mean over time.
    """
    return h * F.dropout(h.new_ones(h.shape[0], 1, h.shape[2]), probability)
