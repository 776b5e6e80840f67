"""How far features lie from those of the training part, by statistics that are part of the checkpoint."""

import torch
from torch import nn

from .beta_gate_tacfn import masked_mean


SHRINKAGE = 0.1
# The mean of |W h|^2 / feature_size over the training features is near 1. What lies nearer than this, as a constant
# does, is no more to be trusted.
NEAREST = 0.5


class FeatureDistance(nn.Module):
    """
    `log max(1/2, |W h|^2 / feature_size)` of standardised features `h`, averaged over time: the logarithm of the
    squared Mahalanobis distance to the mean of the training features, which tells what is unlike them (Lee et al.,
    2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks). It sees what no
    dimension shows on its own: values that each occur, and do not occur together. W of a new one is the identity, until
    `set_covariance`.
    """

    def __init__(self, feature_size: int):
        super().__init__()
        self.register_buffer("whitening", torch.eye(feature_size))

    def set_covariance(self, covariance: torch.Tensor) -> None:
        """
        Covariance `[feature_size, feature_size]` of the standardised training features. A tenth of it is taken from the
        identity: directions in which they hardly vary would count for everything.
        """
        covariance = covariance.double()
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * torch.eye(len(covariance)).to(covariance)
        values, vectors = torch.linalg.eigh(shrunk)
        self.whitening.copy_(vectors * values.rsqrt() @ vectors.T)

    def forward(self, h: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`h [B, L, feature_size]`, `mask [B, L]` -> `[B, 1]`, 0 for a sample without a valid position."""
        with torch.autocast(h.device.type, enabled=False):  # half precision overflows
            square = (h.float() @ self.whitening.float()).square().mean(dim=-1, keepdim=True)
        return masked_mean(square.clamp(min=NEAREST).log(), mask).to(h.dtype)
