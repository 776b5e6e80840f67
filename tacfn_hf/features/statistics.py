"""Mean and standard deviation of a dataset's features."""

import numpy as np
import torch
from datasets import Dataset
from sklearn.preprocessing import StandardScaler

from .arrow_layout import column_batches, feature_arrays
from .collation import as_features


def feature_statistics(dataset: Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """
    Mean and standard deviation of a column of features over all positions of the rows that have features: float64 `[d]`
    each. A vector `[d]` counts as one position.
    """
    scaler = StandardScaler()
    for batch in column_batches(dataset, column, batch_size=256):
        rows = [as_features({column: h}, column, i) for i, h in enumerate(feature_arrays(batch))]
        present = [h for h in rows if h is not None]
        if present:
            scaler.partial_fit(torch.cat(present).float().double().numpy())  # float32, as the model gets them
    return scaler.mean_, np.sqrt(scaler.var_)
