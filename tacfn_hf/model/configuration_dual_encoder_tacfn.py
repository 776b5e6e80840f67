"""Configuration of the fusion network together with its encoders."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig

from .configuration_tacfn import TacfnConfig


@strict
class TacfnDualEncoderConfig(TacfnConfig):
    r"""
    Configuration of [`TacfnDualEncoderForSequenceClassification`]: that of the fusion network, with its encoders.

    Args:
        audio_config (`PreTrainedConfig` or `dict`):
            Configuration of the speech encoder. It has no layers above those that `audio_layer` names.
        text_config (`PreTrainedConfig` or `dict`):
            Configuration of the text encoder, likewise.
        audio_layer (`int` or `list[int]`, *optional*, defaults to -1):
            Index into the hidden states of the speech encoder (0: the input of its first layer, -1: its output), or
            several indices, whose mean the fusion network gets.
        text_layer (`int` or `list[int]`, *optional*, defaults to -1):
            The same for the text encoder.
        learn_layer_weights (`bool`, *optional*, defaults to `False`):
            Learn the weights of several layers, in place of their mean.

    The other arguments are those of [`TacfnConfig`]. The sizes of the features are by default those of the
    encoders.

    Raises:
        ValueError: an encoder's configuration is missing, or its size is another one than that of the features.
    """

    model_type = "tacfn-dual-encoder"
    sub_configs = {"audio_config": AutoConfig, "text_config": AutoConfig}

    audio_feature_size: int | None = None  # type: ignore[assignment]  # a number after __post_init__
    text_feature_size: int | None = None  # type: ignore[assignment]
    audio_config: Any = None
    text_config: Any = None
    audio_layer: int | list[int] = -1
    text_layer: int | list[int] = -1
    learn_layer_weights: bool = False

    def __post_init__(self, **kwargs):
        for modality in ("audio", "text"):
            name = f"{modality}_config"
            config = getattr(self, name)
            if isinstance(config, dict):
                config = AutoConfig.for_model(**config)
                setattr(self, name, config)
            size = f"{modality}_feature_size"
            if getattr(self, size) is None:
                setattr(self, size, 768 if config is None else config.hidden_size)
        super().__post_init__(**kwargs)

    def validate_encoders(self):
        for modality in ("audio", "text"):
            config = getattr(self, f"{modality}_config")
            if config is None:
                continue  # as transformers makes a default config, to tell what differs from it
            size = getattr(self, f"{modality}_feature_size")
            if config.hidden_size != size:
                raise ValueError(
                    f"{modality}_feature_size is {size}: the {modality} encoder has features of {config.hidden_size}."
                )
