"""Configuration of the TACFN-inspired audio + text fusion network."""

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


# Of samples with both modalities, with audio alone, with text alone.
TEMPERATURES = ("temperature", "audio_temperature", "text_temperature")


@strict
class TacfnConfig(PreTrainedConfig):
    r"""
    Configuration of [`TacfnModel`] and [`TacfnForSequenceClassification`].

    Args:
        audio_feature_size (`int`, *optional*, defaults to 768):
            Size of one audio feature vector (the hidden size of the speech encoder).
        text_feature_size (`int`, *optional*, defaults to 768):
            Size of one text feature vector (the hidden size of the text encoder).
        hidden_size (`int`, *optional*, defaults to 768):
            Size d of the network. A linear layer projects features of another size, or with `pool_features` any.
        num_hidden_layers (`int`, *optional*, defaults to 2):
            Number of cross-modal blocks. 0 leaves the gate alone with the projected features.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Heads of every attention; must divide `hidden_size`.
        intermediate_size (`int`, *optional*, defaults to `4 * hidden_size`):
            Inner size of the feed-forward layers.
        gate_hidden_size (`int`, *optional*, defaults to 256):
            Inner size of the gate's MLP.
        num_classifier_layers (`int`, *optional*, defaults to 2):
            Linear layers of the classifier: 2 with a layer norm in front, or 1 behind the ReLU alone.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.2):
            Dropout on the output of each sublayer and in the classifier.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout on the attention weights.
        modality_dropout_prob (`float`, *optional*, defaults to 0.0):
            In training, how likely a sample that has both modalities loses one of them, either as often. It teaches the
            network to do with one, and the gate to lean on the one that helps.
        pool_features (`bool`, *optional*, defaults to `False`):
            Whether features are averaged over time in front of the projections, each position's scaled to a root mean
            square of 1 (standardised ones that are near 0 stay shorter), so that the network sees one vector of either
            modality. Cross-modal blocks have nothing to attend to then.
        feature_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout on the features, of whole dimensions: the same at all positions of a sample.
        standardize_features (`bool`, *optional*, defaults to `False`):
            Whether features are standardised per dimension, by statistics that are stored with the weights. Training
            takes them from the training part.
        gate_reads_distance (`bool`, *optional*, defaults to `False`):
            Whether the gate also reads how far the features of either modality lie from those of the training part, by
            statistics that are stored with the weights. Needs `standardize_features`.
        unimodal_loss_weight (`float`, *optional*, defaults to 0.0):
            Weight, beside the loss, of the losses of audio alone and of text alone, through the same network, with
            logits of classes halved.
        gate_loss_weight (`float`, *optional*, defaults to 0.0):
            Weight of the squared difference of beta from `r_a / (r_a + r_t)`, where a modality is worth r: the
            probability of the true class by it alone, times the share of it that is not noise. Only the gate, with its
            layer norms, learns from it. 0 leaves the gate to the classifier's loss.
        noise_prob (`float`, *optional*, defaults to 0.0):
            How likely a share of a modality is noise in what `gate_loss_weight` trains on, for either on its own: of
            its positions, or of the dimensions of the only one. Needs `standardize_features`.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the normal distribution that weights start from.
        class_weights (`list[float]`, *optional*):
            One factor per label for its term of the loss.
        temperature (`float`, *optional*, defaults to 1.0):
            What logits of single-label classification are divided by where scores are made of them; fitted on
            validation rows after training; never touches logits nor the loss.
        audio_temperature (`float`, *optional*):
            The same for samples that have audio alone. `temperature` where it is None.
        text_temperature (`float`, *optional*):
            Likewise for text alone.
        audio_provenance (`dict`, *optional*):
            What made the audio features that the model was trained on: encoder, revision, layer, dtype. Features of
            anything else are refused where they say what made them.
        text_provenance (`dict`, *optional*):
            Likewise for text.

    `num_labels` is 4 unless `num_labels` or `id2label` says otherwise.

    Raises:
        ValueError: a size that is not positive, heads that do not divide `hidden_size`, a classifier of other than 1 or
            2 layers, a probability outside [0, 1), noise or distances without standardised features, a negative weight
            of a loss, class weights that are not one positive number per label, or a temperature that is not positive.

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
    ]
    _auto_class = "AutoConfig"

    audio_feature_size: int = 768
    text_feature_size: int = 768
    hidden_size: int = 768
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    intermediate_size: int | None = None
    gate_hidden_size: int = 256
    num_classifier_layers: int = 2
    hidden_dropout_prob: float | int = 0.2
    attention_probs_dropout_prob: float | int = 0.0
    modality_dropout_prob: float | int = 0.0
    noise_prob: float | int = 0.0
    feature_dropout_prob: float | int = 0.0
    standardize_features: bool = False
    pool_features: bool = False
    gate_reads_distance: bool = False
    unimodal_loss_weight: float | int = 0.0
    gate_loss_weight: float | int = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    class_weights: list[float] | None = None
    temperature: float | int = 1.0
    audio_temperature: float | int | None = None
    text_temperature: float | int | None = None
    audio_provenance: dict[str, Any] | None = None
    text_provenance: dict[str, Any] | None = None

    def __post_init__(self, **kwargs):
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
        if not __name__.startswith("transformers_modules."):
            # The installed package needs no code from a checkpoint, for which transformers would ask for trust.
            kwargs.pop("custom_pipelines", None)
            kwargs["auto_map"] = {"AutoConfig": "configuration_tacfn.TacfnConfig"}
        super().__post_init__(**kwargs)

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
        if self.num_classifier_layers not in (1, 2):
            raise ValueError(f"num_classifier_layers is {self.num_classifier_layers}: it must be 1 or 2.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads is {self.num_attention_heads}: it must divide hidden_size {self.hidden_size}."
            )

    def validate_dropout(self):
        for name in (
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "modality_dropout_prob",
            "noise_prob",
            "feature_dropout_prob",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be in [0, 1).")
        if self.noise_prob > 0 and not self.standardize_features:
            raise ValueError(
                f"noise_prob is {self.noise_prob} without standardize_features: the noise is as large as standardised "
                "features."
            )

    def validate_distance(self):
        if self.gate_reads_distance and not self.standardize_features:
            raise ValueError(
                "gate_reads_distance is True without standardize_features: distances are of standardised features."
            )

    def validate_loss_weights(self):
        for name in ("unimodal_loss_weight", "gate_loss_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 0.")

    def validate_class_weights(self):
        weights = self.class_weights
        if weights is None:
            return
        if len(weights) != self.num_labels or min(weights) <= 0:
            raise ValueError(f"class_weights is {weights}: it must hold {self.num_labels} positive numbers.")

    def validate_temperatures(self):
        for name in TEMPERATURES:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}: it must be a positive number.")

    def temperature_of(self, beta: Any) -> Any:
        """
        What logits are divided by, of samples whose `beta` is exactly 1 with audio alone and exactly 0 with text alone:
        of the shape of `beta`, which is a number, an array or a tensor.
        """
        audio, text = (
            self.temperature if alone is None else alone for alone in (self.audio_temperature, self.text_temperature)
        )
        both = (beta != 0) & (beta != 1)
        return both * self.temperature + (beta == 1) * audio + (beta == 0) * text
