"""Mean, standard deviation and covariance of a dataset's features."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from datasets import Dataset
from sklearn.preprocessing import StandardScaler

from .arrow_layout import column_batches, feature_arrays
from .collation import as_features


def positions(dataset: Dataset, column: str) -> Iterator[torch.Tensor]:
    """All positions of the rows that have features, `[n, d]` a batch of rows, in float32 as the model gets them."""
    for batch in column_batches(dataset, column, batch_size=256):
        rows = [as_features({column: h}, column, i) for i, h in enumerate(feature_arrays(batch))]
        present = [h for h in rows if h is not None]
        if present:
            yield torch.cat(present).float()


def feature_statistics(dataset: Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """
    Mean and standard deviation of a column of features over all positions of the rows that have features: float64 `[d]`
    each. A vector `[d]` counts as one position.
    """
    scaler = StandardScaler()
    for h in positions(dataset, column):
        scaler.partial_fit(h.double().numpy())
    return scaler.mean_, np.sqrt(scaler.var_)


def feature_covariance(
    dataset: Dataset, column: str, standardize: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """
    Mean `[d]` and covariance `[d, d]` of a column's positions behind `standardize`, which maps `[n, d]` to `[n, d]`,
    both float64, and the number of these positions.
    """
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for h in positions(dataset, column):
        z = standardize(h).double()
        count, total, products = count + len(z), total + z.sum(dim=0), products + z.T @ z
    mean = total / count
    return mean, products / count - torch.outer(mean, mean), count
