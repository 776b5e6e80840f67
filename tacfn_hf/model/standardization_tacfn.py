"""Standardised features, by statistics that are part of the checkpoint."""

import torch
from torch import nn


class SinglePrecision(nn.Module):
    """
    A module whose buffers stay in float32, also where a model is cast to half precision: features may be larger than
    that holds, and lie closer together than it tells apart.
    """

    def _apply(self, fn, recurse=True):
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers():
            if buffer.dtype in (torch.float16, torch.bfloat16):
                setattr(self, name, before[name].to(buffer.device))
        return self


class FeatureStandardizer(SinglePrecision):
    """`(h - mean) / std` per dimension of `h [..., feature_size]`. A new one changes nothing until `set_statistics`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, feature_size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("std", torch.ones(feature_size))

    def set_statistics(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """
        Mean and standard deviation `[feature_size]` of the training features. A dimension that is constant there, but
        for what rounding leaves, tells nothing and is not scaled: whatever differs in it would be blown up. float16, in
        which features are stored, has steps of 6e-8 around 0; float32 steps of about 1e-7 of the value.
        """
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6 * mean.abs().clamp(min=1.0), std, 1.0))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """In float32 at least: a mean that is large beside its deviation would take most of half precision's digits."""
        return (h.to(torch.promote_types(self.mean.dtype, torch.float32)) - self.mean) / self.std
