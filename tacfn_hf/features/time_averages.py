"""A dataset of features whose rows are averaged over time."""

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features

from ..model.modalities_tacfn import MODALITIES
from .arrow_layout import column_batches, feature_arrays, feature_of, nested_array
from .collation import as_features
from .shapes import feature_size


def mean_over_time(dataset: Dataset) -> Dataset:
    """
    The dataset with the mean over time in place of each row's features, float32 `[1, d]`; null where it has none.
    Columns that its format hides are left out.
    """
    dataset = dataset.select_columns(dataset.format["columns"])
    sizes = {modality.features: feature_size(dataset, modality.features) for modality in MODALITIES}
    sizes = {column: size for column, size in sizes.items() if size is not None}
    others = [name for name in dataset.column_names if name not in sizes]
    table = dataset.select_columns(others).with_format("arrow")[:] if others else None
    columns = {} if table is None else {name: table.column(name) for name in others}
    features = dataset.features.copy()
    for column, size in sizes.items():
        means: list[np.ndarray | None] = []
        for batch in column_batches(dataset, column, batch_size=256):
            for values in feature_arrays(batch):
                h = as_features({column: values}, column, len(means))
                means.append(None if h is None else h.double().mean(dim=0, keepdim=True).float().numpy())
        columns[column] = nested_array(means, "float32", size)
        features[column] = feature_of("float32", size)
    features = Features({name: features[name] for name in columns})
    return Dataset(pa.table(columns).cast(features.arrow_schema)).with_format(dataset.format["type"])
