"""Small features of four sessions, and networks and trainers for them."""

import numpy as np
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, Value
from transformers import Trainer

from tacfn_hf import TacfnForSequenceClassification
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.splits import split_dataset
from tacfn_hf.training.arguments import ModelArguments
from tacfn_hf.training.setup import build_model
from tacfn_hf.training.trainer import build_trainer
from tacfn_hf.training.training_arguments import TacfnTrainingArguments


NAMES = ["neutral", "angry", "sad"]


def make(rows: int = 48, prefix: str = "u", label_names=NAMES, **columns) -> Dataset:
    """4 sessions of 12 rows, dialogues of 4; every 6th row lacks a modality."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(len(label_names), 9))
    label = [i % len(label_names) for i in range(rows)]

    def features(i: int, part: slice) -> np.ndarray:
        centre = centres[label[i]][part]
        return centre + 0.3 * generator.normal(size=(generator.integers(1, 5), len(centre)))

    data = {
        "id": [f"{prefix}{i}" for i in range(rows)],
        "h_a": [None if i % 6 == 0 else features(i, slice(0, 4)) for i in range(rows)],
        "h_t": [None if i % 6 == 1 else features(i, slice(4, 9)) for i in range(rows)],
        "label": label,
        "session": [i // 12 + 1 for i in range(rows)],
        "dialogue": [f"d{i // 4}" for i in range(rows)],
        "part": ["train" if i < 24 else "dev" if i < 36 else "test" for i in range(rows)],
    }
    kinds = {
        "id": Value("string"),
        "h_a": Array2D((None, 4), "float16"),
        "h_t": Array2D((None, 5), "float16"),
        "label": ClassLabel(names=list(label_names)),
        "session": Value("int64"),
        "dialogue": Value("string"),
        "part": Value("string"),
    }
    return Dataset.from_dict({**data, **columns}, features=Features(kinds))


def arguments(**values) -> DataArguments:
    return DataArguments(dataset="unused", **values)


def plain(dataset: Dataset, column: str) -> list:
    return list(dataset.with_format(None)[column])


def tiny(dataset: Dataset, **values) -> TacfnForSequenceClassification:
    """A new network for the features and labels of a dataset; one with a block unless it is said otherwise."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "feature_dropout_prob": 0.0}
    return build_model(dataset, ModelArguments(**{**sizes, **values}))


def trainer_for(tmp_path, parts, **values) -> Trainer:
    values = {
        "use_cpu": True,
        "disable_tqdm": True,
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 8,
        **values,
    }
    args = TacfnTrainingArguments(output_dir=str(tmp_path), **values)
    torch.manual_seed(0)
    return build_trainer(tiny(parts["train"]), args, parts)


def session_parts() -> dict[str, Dataset]:
    return split_dataset(make(), arguments(group_column="session", test_groups=["4"], valid_groups=["3"]))
