"""The options of training that are this package's own, and its defaults of transformers' options."""

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
    hidden_size: int | None = field(default=None, metadata={"help": "Size of the network (default: 256)."})
    num_hidden_layers: int | None = field(
        default=None, metadata={"help": "Cross-modal blocks (default: 0, features are averaged over time)."}
    )
    num_attention_heads: int | None = field(default=None, metadata={"help": "Heads of every attention (default: 8)."})
    gate_hidden_size: int | None = field(
        default=None, metadata={"help": "Inner size of the gate's MLP (default: 128)."}
    )
    head: Literal["linear", "mlp", "queries"] | None = field(
        default=None,
        metadata={
            "help": "linear or mlp: classify the fused vector; queries: a query for each label attends to the fused "
            "sequence, which needs cross-modal blocks (default: linear)."
        },
    )
    hidden_dropout_prob: float | None = field(
        default=None, metadata={"help": "Dropout of sublayers and classifier (default: 0.5)."}
    )
    feature_dropout_prob: float | None = field(
        default=None, metadata={"help": "Dropout of whole dimensions of the features (default: 0.4)."}
    )


@dataclass
class TrainingOptions:
    """What training adds to transformers' `TrainingArguments`, and where its defaults differ from theirs."""

    output_dir: str = field(metadata={"help": "Folder for the model and its results."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})
    class_weights: Literal["none", "balanced"] = field(
        default="balanced",
        metadata={
            "help": "balanced: class c of C weighs N / (C * n_c) in the loss, where n_c of the N training rows have "
            "it. With several labels a row that has c weighs (N - n_c) / n_c. Values have no weights."
        },
    )
    regression_loss: Literal["ccc", "mse"] = field(
        default="ccc",
        metadata={
            "help": "Loss of values: ccc, 1 minus the concordance correlation of the rows of a step; or mse. In "
            "evaluation it is mse."
        },
    )
    unimodal_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the losses of audio alone and of text alone."}
    )
    gate_loss_weight: float = field(
        default=30.0,
        metadata={"help": "Weight of the loss that trains beta to prefer the modality that is right and clean."},
    )
    noise_prob: float = field(
        default=1.0,
        metadata={"help": "Probability that part of a modality is replaced by noise, for the gate's loss only."},
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after this many evaluations without a better metric_for_best_model."},
    )
    num_train_epochs: float = field(
        default=30, metadata={"help": "Passes over the training part; see load_best_model_at_end."}
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Peak learning rate of AdamW."})
    lr_scheduler_type: str = field(
        default="cosine", metadata={"help": "How the learning rate falls after the warm-up: cosine, linear, ..."}
    )
    warmup_steps: float = field(
        default=0.1,
        metadata={"help": "Steps in which the learning rate rises; below 1: their share of all steps."},
    )
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Rows in a batch on each device."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "The same in evaluation."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate on the validation part."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(
        default=1,
        metadata={"help": "How many checkpoints to keep; with load_best_model_at_end the best one is among them."},
    )
    load_best_model_at_end: bool = field(
        default=True,
        metadata={"help": "End with the checkpoint that was best on the validation part, instead of the last one."},
    )
    metric_for_best_model: str | None = field(
        default="loss",
        metadata={"help": "Validation figure that chooses the best: loss, UA, WA, wF1, macro_F1, ECE, mAP, CCC, ..."},
    )
    greater_is_better: bool | None = field(
        default=None,
        metadata={"help": "Whether a larger metric_for_best_model is better (default: yes, but for loss and errors)."},
    )
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the training loss."})
    hub_strategy: str = field(
        default="end", metadata={"help": "With push_to_hub: end pushes once, when everything is there."}
    )


@dataclass
class FineTuningArguments:
    """Which model is tuned, and what of it."""

    model_name_or_path: str = field(
        metadata={
            "help": "Model of tacfn train with its processor, or of an earlier fine-tuning: a folder or a Hub id. Or "
            "the folder of tacfn cross-validate: then each of its models is tuned on its own fold."
        }
    )
    crop_seconds: float | None = field(
        default=8.0,
        metadata={"help": "In training, longer audio is cut to a random window of this length; 0: not."},
    )
    tune_front: bool = field(
        default=False,
        metadata={"help": "Also tune what is outside the layers of the speech encoder, such as convolutions."},
    )
    frozen_audio_layers: int = field(
        default=0, metadata={"help": "How many of the first layers of the speech encoder are frozen."}
    )
    frozen_text_layers: int = field(
        default=0, metadata={"help": "The same for text. Above 0, the embeddings are frozen too."}
    )
    encoder_learning_rate: float = field(
        default=2e-5,
        metadata={"help": "Peak learning rate of the encoders, or of their adapters."},
    )
    layerwise_lr_decay: float = field(
        default=1.0, metadata={"help": "The learning rate of a layer is that of the next higher layer times this."}
    )
    learn_layer_weights: bool = field(
        default=False,
        metadata={"help": "Learn how much each layer counts, if features are the mean of several layers."},
    )
    lora_rank: int | None = field(
        default=None,
        metadata={"help": "Train LoRA adapters of this rank, and freeze the encoders' own weights. It needs peft."},
    )
    lora_alpha: int | None = field(default=None, metadata={"help": "Scale of the adapters (default: twice the rank)."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Last names of the linear maps that get adapters, some of each encoder, such as q_proj v_proj "
            "query value (default: all in the layers)."
        },
    )


@dataclass
class FineTuningOptions(TrainingOptions):
    """`TrainingOptions` with the defaults of fine-tuning, where these differ."""

    num_train_epochs: float = field(default=5, metadata={"help": "Passes over the training part."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate of the fusion network."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Rows in a batch on each device."})
    per_device_eval_batch_size: int = field(default=8, metadata={"help": "The same in evaluation."})


@dataclass
class CrossValidationArguments:
    """What the folds are, and how often each is trained."""

    num_folds: int | None = field(
        default=None,
        metadata={"help": "Put the groups into so many sets, drawn with split_seed (default: each group is a fold)."},
    )
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "Training seeds, each over all folds."})


def flags(arguments: dict[str, Any]) -> list[str]:
    """The flags of a dict of arguments; None leaves an argument at its default."""
    found = []
    for name, value in arguments.items():
        if value is not None:
            values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            found += [f"--{name}", *(str(item) for item in values)]
    return found
