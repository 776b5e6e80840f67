"""How far features lie from those of the training part, by statistics that are part of the checkpoint."""

from contextlib import nullcontext

import torch
from torch import nn

from .beta_gate_tacfn import masked_mean
from .standardization_tacfn import SinglePrecision


# Smaller distances count as this one: to be nearer than typical features, as constant ones are, is no sign of quality.
NEAREST = 0.5


class FeatureDistance(SinglePrecision):
    """
    `log max(1/2, |W m + b|^2 / n)` of the mean over time `m [n]` of standardised features: the logarithm of the squared
    Mahalanobis distance to the training part's, by a shrunk covariance and divided by n (Lee et al., 2018, A Simple
    Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks). It shows what no dimension
    shows on its own: values that each occur, and do not occur together. W of a new one is the identity and b is 0,
    until `set_statistics`.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, feature_size: int):
        super().__init__()
        self.register_buffer("weight", torch.eye(feature_size))
        self.register_buffer("bias", torch.zeros(feature_size))

    def set_statistics(self, mean: torch.Tensor, covariance: torch.Tensor, shrinkage: float = 0.02) -> None:
        """
        Mean `[n]` and covariance `[n, n]` of the training rows' means over time, standardised. A share of the
        covariance is taken from the identity: directions in which the rows hardly vary would count for everything.
        """
        covariance = covariance.double()
        identity = torch.eye(len(covariance)).to(covariance)
        scale = covariance.diagonal().mean()
        scale = torch.where(scale > 1e-6, scale, 1.0)  # features that are the same in all rows have no covariance
        shrunk = (1 - shrinkage) * covariance + shrinkage * scale * identity
        values, vectors = torch.linalg.eigh(shrunk)
        whitening = vectors * values.rsqrt() @ vectors.T
        self.weight.copy_(whitening)
        self.bias.copy_(-whitening @ mean.double())

    def forward(self, h: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`h [B, L, n]` and `mask [B, L]`, True = PAD -> `[B, 1]` in float32."""
        kind = h.device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            # Half precision overflows.
            whitened = nn.functional.linear(masked_mean(h.float(), mask), self.weight.float(), self.bias.float())
            return whitened.square().mean(dim=-1, keepdim=True).clamp(min=NEAREST).log()
