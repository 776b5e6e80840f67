"""Standardised features, by statistics that are part of the checkpoint."""

import torch
from torch import nn


class FeatureStandardizer(nn.Module):
    """`(h - mean) / std` per dimension of `h [..., feature_size]`. A new one changes nothing until `set_statistics`."""

    def __init__(self, feature_size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("std", torch.ones(feature_size))

    def set_statistics(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """
        Mean and standard deviation `[feature_size]` of the training features. A dimension that is constant there, which
        tells nothing, is not scaled: what rounding left of its deviation would blow up whatever differs later.
        """
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-4 * mean.abs(), std, 1.0))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return (h - self.mean.to(h.dtype)) / self.std.to(h.dtype)
