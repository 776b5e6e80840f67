"""The arguments of training: what they are, how they are read, and which of transformers' are refused."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModelArguments:
    """A checkpoint to go on from, or the sizes of a new network."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to go on from: a folder or a model id on the Hub."}
    )
    processor_name: str | None = field(
        default=None,
        metadata={
            "help": "Processor to save beside the model: a folder or a model id on the Hub. Default: the one that made "
            "the dataset's features, where the dataset's folder has it."
        },
    )
    hidden_size: int | None = field(
        default=None, metadata={"help": "Size of the network (TacfnConfig's default: 768)."}
    )
    num_hidden_layers: int | None = field(default=None, metadata={"help": "Cross-modal blocks (default: 2)."})
    num_attention_heads: int | None = field(default=None, metadata={"help": "Heads of every attention (default: 8)."})
    gate_hidden_size: int | None = field(
        default=None, metadata={"help": "Inner size of the gate's MLP (default: 256)."}
    )
    num_classifier_layers: int | None = field(
        default=None, metadata={"help": "Linear layers of the classifier, 2 or 1 (default: 2)."}
    )
    hidden_dropout_prob: float | None = field(
        default=None, metadata={"help": "Dropout of sublayers and classifier (default: 0.2)."}
    )
    modality_dropout_prob: float | None = field(
        default=None, metadata={"help": "How likely a sample loses one of its two modalities in training (default: 0)."}
    )
    feature_dropout_prob: float | None = field(default=None, metadata={"help": "Dropout on the features (default: 0)."})
    standardize_features: bool | None = field(
        default=None,
        metadata={"help": "Standardise the features by the training part's mean and deviation (default: no)."},
    )
    pool_features: bool | None = field(
        default=None, metadata={"help": "Average the features over time in front of the projections (default: no)."}
    )
    gate_reads_distance: bool | None = field(
        default=None,
        metadata={"help": "Let the gate read how far features lie from those of the training part (default: no)."},
    )
    unimodal_loss_weight: float | None = field(
        default=None, metadata={"help": "Weight of the losses of audio alone and of text alone (default: 0)."}
    )
    gate_loss_weight: float | None = field(
        default=None,
        metadata={"help": "Weight of what ties beta to the modality that is right about the sample (default: 0)."},
    )
    noise_prob: float | None = field(
        default=None,
        metadata={"help": "How likely a share of a modality is noise in what gate_loss_weight trains on (default: 0)."},
    )


def flags(arguments: dict[str, Any]) -> list[str]:
    """The flags of a dict of arguments; None leaves an argument at its default."""
    found = []
    for name, value in arguments.items():
        if value is not None:
            values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            found += [f"--{name}", *(str(item) for item in values)]
    return found


@dataclass
class CrossValidationArguments:
    """What the folds are, and how often each is trained."""

    num_folds: int | None = field(
        default=None,
        metadata={"help": "Put the groups into so many sets, drawn with split_seed (default: each group is a fold)."},
    )
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "Training seeds, each over all folds."})
