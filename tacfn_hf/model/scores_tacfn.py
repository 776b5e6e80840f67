"""From logits to what an answer says: probabilities, or values in their scale."""

import torch

from .configuration_tacfn import TacfnConfig


def is_regression(config: TacfnConfig) -> bool:
    """Whether a model of this config predicts values."""
    return config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1)


def label_scores(
    config: TacfnConfig, logits: torch.Tensor, has_audio: torch.Tensor, has_text: torch.Tensor
) -> torch.Tensor:
    """
    The scores `[B, C]` of `logits [B, C]`.

    Of one class a sample they are softmax(logits / T) with the temperature T for the modalities that a sample has,
    `has_audio` and `has_text`, bool `[B]`. Of several labels they are sigmoid(logits). Of a regression they are the
    values in the scale of `config.value_range`, or the logits where there is none.
    """
    if is_regression(config):
        low, high = config.value_range or (0.0, 1.0)
        return low + (high - low) * logits
    if config.problem_type == "multi_label_classification":
        return logits.sigmoid()
    return (logits / config.temperature_of(has_audio, has_text)[:, None]).softmax(dim=-1)
