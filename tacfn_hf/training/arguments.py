"""The arguments of training: what they are, how they are read, and which of transformers' are refused."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal


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


@dataclass
class TrainingOptions:
    """What training adds to transformers' `TrainingArguments`, and where its defaults differ from theirs."""

    output_dir: str = field(metadata={"help": "Folder for the model and its results."})
    seed: int = field(default=42, metadata={"help": "Seed of everything in training that depends on chance."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "true: go on from the last checkpoint in output_dir; or the folder of a checkpoint."},
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Upload the model at the end, with its card."})
    hub_model_id: str | None = field(
        default=None, metadata={"help": "With push_to_hub: user/name (default: the name of output_dir)."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Without effect: the collator picks the columns."}
    )
    label_names: list[str] | None = field(
        default_factory=lambda: ["labels"], metadata={"help": "Key of the labels in a batch."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate on the validation part."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(
        default=1, metadata={"help": "Checkpoints to keep: the last ones, and always the best one."}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the checkpoint that was best on the validation part."}
    )
    metric_for_best_model: str | None = field(
        default="UA",
        metadata={"help": "Validation figure that chooses the best: UA, WA, wF1, macro_F1 or loss."},
    )
    greater_is_better: bool | None = field(
        default=None,
        metadata={"help": "Whether a larger metric_for_best_model is better (default: yes, but for loss and ECE)."},
    )
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the training loss."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Samples of a step on each device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "The same in evaluation."})
    num_train_epochs: float = field(default=20, metadata={"help": "Passes over the training part."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate of AdamW."})
    warmup_steps: float = field(
        default=0.1,
        metadata={"help": "Steps in which the learning rate rises; below 1: their share of all steps."},
    )
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    hub_strategy: str = field(
        default="end", metadata={"help": "With push_to_hub: end pushes once, when everything is there."}
    )
    class_weights: Literal["none", "balanced"] = field(
        default="balanced",
        metadata={
            "help": "balanced: class c of C weighs N / (C * n_c) in the loss, where n_c of the N training rows have it."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after this many evaluations without a better metric_for_best_model."},
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
