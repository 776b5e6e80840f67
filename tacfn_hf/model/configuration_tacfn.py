"""Configuration of the TACFN-inspired audio + text fusion network."""

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


# What a sample has, which decides its temperature.
TEMPERATURES = ("both", "audio", "text")
# Fields of older versions. Those of training changed no answer.
OLD_TRAINING_FIELDS = (
    "class_weights",
    "unimodal_loss_weight",
    "gate_loss_weight",
    "noise_prob",
    "modality_dropout_prob",
    "attention_probs_dropout_prob",
)
OLD_TEMPERATURES = {"temperature": "both", "audio_temperature": "audio", "text_temperature": "text"}


@strict
class TacfnConfig(PreTrainedConfig):
    r"""
    Configuration of [`TacfnModel`] and [`TacfnForSequenceClassification`].

    Args:
        audio_feature_size (`int`, *optional*, defaults to 768):
            Size of one audio feature vector (the hidden size of the speech encoder).
        text_feature_size (`int`, *optional*, defaults to 768):
            Size of one text feature vector (the hidden size of the text encoder).
        hidden_size (`int`, *optional*, defaults to 256):
            Size d of the network.
        num_hidden_layers (`int`, *optional*, defaults to 0):
            Number of cross-modal blocks. With 0 the features are averaged over time before they are projected.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Heads of every attention; must divide `hidden_size`.
        intermediate_size (`int`, *optional*, defaults to `4 * hidden_size`):
            Inner size of the feed-forward layers.
        gate_hidden_size (`int`, *optional*, defaults to 128):
            Inner size of the gate's MLP.
        gate_reads_distance (`bool`, *optional*, defaults to `True`):
            Whether the gate also reads how far the features of either modality lie from those of the training part, by
            statistics that are stored with the weights.
        head (`str`, *optional*, defaults to `"linear"`):
            "linear": ReLU, dropout and one linear layer on the fused vector. "mlp": a layer norm and a linear layer in
            front of these. "queries": a learned query of each label attends to the fused sequence, and the output has
            `label_attentions`; it needs cross-modal blocks.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.5):
            Dropout on the output of each sublayer and in the classifier.
        feature_dropout_prob (`float`, *optional*, defaults to 0.4):
            Dropout on the features, of whole dimensions: the same at all positions of a sample.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the normal distribution that weights start from.
        temperatures (`dict[str, float]`, *optional*):
            What logits of single-label classification are divided by where scores are made of them: `both` for samples
            with both modalities, `audio` and `text` for samples with one. Fitted on validation rows after training.
            They touch neither logits nor the loss. 1 by default; `audio` and `text` are as `both` where not given.
        thresholds (`list[float]`, *optional*):
            Where samples have several labels, the least score at which each label is answered. Fitted on validation
            rows after training; 0.5 by default.
        value_range (`list[float]`, *optional*):
            For regression, lowest and highest value of the scale. Logits are in it as fractions: 0 is the lowest.
        audio_provenance (`dict`, *optional*):
            What made the audio features that the model was trained on: encoder, revision, layer, dtype. Features of
            anything else are refused where they say what made them.
        text_provenance (`dict`, *optional*):
            Likewise for text.

    `num_labels` is 4 unless `num_labels` or `id2label` says otherwise.

    A config.json of an older version loads where this network gives its answers. Fields of training are left out,
    `temperature`, `audio_temperature` and `text_temperature` become `temperatures`.

    Raises:
        ValueError: a size that is not positive, heads that do not divide `hidden_size`, an unknown head or queries
            without blocks, a probability outside [0, 1), temperatures of other names or that are not positive,
            thresholds or a range that are none, or a config.json of an older network that gave other answers.
        TypeError: a field of an older version as an argument.

    ```python
    >>> from tacfn_hf import TacfnConfig
    >>> TacfnConfig(hidden_size=128, num_attention_heads=4).intermediate_size
    512

    ```
    """

    model_type = "tacfn"
    keys_to_ignore_at_inference = [
        "h_fused",
        "gate",
        "fused_sequence",
        "fused_mask",
        "audio_hidden_states",
        "text_hidden_states",
        "audio_attentions",
        "text_attentions",
        "audio_cross_attentions",
        "text_cross_attentions",
        "label_attentions",
        "h_a",
        "mask_a",
        "h_t",
        "mask_t",
    ]
    _auto_class = "AutoConfig"
    # Whether a checkpoint of this config must hold the statistics that features are standardised by.
    has_statistics = True

    audio_feature_size: int = 768
    text_feature_size: int = 768
    hidden_size: int = 256
    num_hidden_layers: int = 0
    num_attention_heads: int = 8
    intermediate_size: int | None = None
    gate_hidden_size: int = 128
    gate_reads_distance: bool = True
    head: str = "linear"
    hidden_dropout_prob: float | int = 0.5
    feature_dropout_prob: float | int = 0.4
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    temperatures: dict[str, float | int] | None = None
    thresholds: list[float | int] | None = None
    value_range: list[float | int] | None = None
    audio_provenance: dict[str, Any] | None = None
    text_provenance: dict[str, Any] | None = None

    def __post_init__(self, **kwargs):
        for names, what in (
            (OLD_TRAINING_FIELDS, "it is an argument of training"),
            (("pool_features",), "it is of an older version"),
            (OLD_TEMPERATURES, "give temperatures"),
            (("num_classifier_layers",), "give head"),
        ):
            for name in kwargs.keys() & set(names):
                raise TypeError(f"TacfnConfig has no {name}: {what}.")
        if kwargs.pop("standardize_features", True) is not True:  # which a config.json says, for 0.1.0
            raise TypeError("TacfnConfig has no standardize_features: features are always standardised.")
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if kwargs.get("num_labels") is None and self.id2label is None:
            kwargs["num_labels"] = 4
        if self.architectures is None:
            self.architectures = []  # AutoModel.from_config looks through it
        if kwargs.get("transformers_weights") is not None:
            raise ValueError(
                f"transformers_weights is {kwargs['transformers_weights']!r}: the weights are in model.safetensors, no "
                "other file is read."
            )
        given = self.temperatures or {}
        self.temperatures = {name: given.get(name, given.get("both", 1.0)) for name in TEMPERATURES} | given
        if not __name__.startswith("transformers_modules."):
            # The installed package needs no code from a checkpoint, for which transformers would ask for trust.
            kwargs.pop("custom_pipelines", None)
            kwargs["auto_map"] = {"AutoConfig": place_of(type(self))}
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As `PreTrainedConfig.from_dict`, also of a config.json of an older version; see the class."""
        config_dict, has_statistics = without_old_fields(config_dict)
        config = super().from_dict(config_dict, **kwargs)
        for found in config if isinstance(config, tuple) else (config,):
            if isinstance(found, cls):
                found.has_statistics = has_statistics
        return config

    def to_dict(self) -> dict[str, Any]:
        """As `PreTrainedConfig.to_dict`, with `standardize_features`."""
        content = super().to_dict()
        content.pop("has_statistics", None)
        return content | {"standardize_features": True}

    def validate_sizes(self):
        for name in (
            "audio_feature_size",
            "text_feature_size",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "gate_hidden_size",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1.")
        if self.num_hidden_layers < 0:
            raise ValueError(f"num_hidden_layers is {self.num_hidden_layers}: it must be at least 0.")
        if self.head not in ("linear", "mlp", "queries"):
            raise ValueError(f"head is {self.head!r}: it must be linear, mlp or queries.")
        if self.head == "queries" and self.num_hidden_layers < 1:
            raise ValueError(
                "head is queries, which attend to sequences: num_hidden_layers must be at least 1, since features are "
                "averaged over time without blocks."
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads is {self.num_attention_heads}: it must divide hidden_size {self.hidden_size}."
            )

    def validate_dropout(self):
        for name in ("hidden_dropout_prob", "feature_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be in [0, 1).")

    def validate_temperatures(self):
        for name, value in (self.temperatures or {}).items():
            if name not in TEMPERATURES:
                raise ValueError(f"temperatures has {name!r}: its names are {', '.join(TEMPERATURES)}.")
            if not 0 < value < math.inf:
                raise ValueError(f"temperatures[{name!r}] is {value}: it must be a positive number.")

    def validate_scales(self):
        thresholds, scale = self.thresholds, self.value_range
        if thresholds is not None:
            if len(thresholds) != self.num_labels or not all(0 <= value <= 1 for value in thresholds):
                raise ValueError(f"thresholds is {thresholds}: it must be a number from 0 to 1 for each label.")
        if scale is not None and not (len(scale) == 2 and -math.inf < scale[0] < scale[1] < math.inf):
            raise ValueError(f"value_range is {scale}: it must be the lowest and the highest value.")

    def temperature_of(self, has_audio: Any, has_text: Any) -> Any:
        """
        What logits are divided by, of samples that have audio, text or both: of the shape of `has_audio` and
        `has_text`, which are booleans, or arrays or tensors of them, as in the model's output.
        """
        given = self.temperatures or {}
        of_both = given.get("both", 1.0)
        both = has_audio & has_text
        of_one = (has_audio ^ both) * given.get("audio", of_both) + (has_text ^ both) * given.get("text", of_both)
        return both * of_both + of_one


def place_of(config_class: type[PreTrainedConfig]) -> str:
    """What an `auto_map` names: the file, in one flat folder, and the class in it."""
    return f"{config_class.__module__.rsplit('.', 1)[-1]}.{config_class.__name__}"


def without_old_fields(config_dict: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """
    A config.json of any version with the fields of this one, and whether its checkpoint has the statistics that
    features are standardised by.

    Raises:
        ValueError: a network that gave other answers than this one.
    """
    content = {name: value for name, value in config_dict.items() if name not in OLD_TRAINING_FIELDS}
    is_old = any(name in config_dict for name in (*OLD_TRAINING_FIELDS, *OLD_TEMPERATURES, "pool_features"))
    has_statistics = bool(content.pop("standardize_features", not is_old))
    if (layers := content.pop("num_classifier_layers", None)) is not None:
        content["head"] = "mlp" if layers == 2 else "linear"
    if not is_old:
        return content, has_statistics
    for name in ("pool_features", "gate_reads_distance"):
        if content.pop(name, False):
            raise ValueError(
                f"The config has {name}: true of an older version, whose network gave other answers: use the version "
                "that trained it, or train anew."
            )
    if content.get("num_hidden_layers") == 0:
        raise ValueError(
            "The config has num_hidden_layers: 0 of an older version, whose network normalised each position and then "
            "averaged over time: use the version that trained it, or train anew."
        )
    of_older = {
        "hidden_size": 768,
        "gate_hidden_size": 256,
        "num_hidden_layers": 2,
        "head": "mlp",
        "gate_reads_distance": False,
        "hidden_dropout_prob": 0.2,
        "feature_dropout_prob": 0,
    }
    temperatures = {new: content.pop(old, None) for old, new in OLD_TEMPERATURES.items()}
    temperatures = {name: value for name, value in temperatures.items() if value is not None}
    return {**of_older, **content, "temperatures": temperatures}, has_statistics
