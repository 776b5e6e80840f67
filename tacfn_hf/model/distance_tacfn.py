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

    A row of the training part took part in the covariance, and is nearer to it than any new row can be. In training the
    distance is therefore that to the other rows. With w = W m + b of the row itself, w' of what was made of it, and the
    share k that a row has in the shrunk covariance, leaving it out turns `|w'|^2` into `|w'|^2 + k (w' w)^2 /
    (1 - k |w|^2)` (Sherman & Morrison, 1950), apart from terms of the order of one row's share in the mean. A
    checkpoint does not keep k: training that goes on from one has plain distances.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, feature_size: int):
        super().__init__()
        self.register_buffer("weight", torch.eye(feature_size))
        self.register_buffer("bias", torch.zeros(feature_size))
        self.share_of_row = 0.0

    def set_statistics(
        self, mean: torch.Tensor, covariance: torch.Tensor, num_rows: int, shrinkage: float = 0.02
    ) -> None:
        """
        Mean `[n]` and covariance `[n, n]` of the training rows' means over time, standardised, and how many rows these
        are. A share of the covariance is taken from the identity: directions in which the rows hardly vary would count
        for everything.
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
        self.share_of_row = (1 - shrinkage) / max(num_rows - 1, 1)

    def forward(self, h: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """
        `h [B, L, n]` and `mask [B, L]`, True = PAD -> `[B, 1]` in float32. In training, `rows [B, L, n]` are the rows
        of the training part that h was made of; h itself where None.
        """
        kind = h.device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            # Half precision overflows.
            whitened = self.whiten(h, mask)
            squared = whitened.square().sum(dim=-1, keepdim=True)
            if self.training and self.share_of_row:
                row = whitened if rows is None else self.whiten(rows, mask)
                product = (whitened * row).sum(dim=-1, keepdim=True)
                own = row.square().sum(dim=-1, keepdim=True)
                left = (1 - self.share_of_row * own).clamp(min=1e-6)  # less: rows of another dataset
                squared = squared + self.share_of_row * product.square() / left
            return (squared / h.shape[-1]).clamp(min=NEAREST).log()

    def whiten(self, h: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`W m + b` of the means m over time, `[B, n]`."""
        return nn.functional.linear(masked_mean(h.to(self.weight.dtype), mask), self.weight, self.bias)
