"""What encoders of speech and of text share: layers, and batches of similar length."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel


def padding_mask(lengths: torch.Tensor, max_length: int) -> torch.Tensor:
    """Boolean `[B, max_length]`, True = PAD, from int64 `lengths [B]`."""
    return torch.arange(max_length, device=lengths.device)[None] >= lengths[:, None]


class LayerMix(nn.Module):
    """A sum of layers with learned weights, which are positive and sum to 1 (SUPERB, Yang et al. 2021)."""

    def __init__(self, num_layers: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_layers))  # before softmax: at first it is the mean

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        """`[layers, B, L, d] -> [B, L, d]`."""
        return (layers * self.weight.softmax(dim=0).view(-1, 1, 1, 1)).sum(dim=0)  # in float32 under autocast too


class PretrainedEncoder(nn.Module):
    """
    A pretrained model of transformers, and which of its layers gives the features.

    Args:
        model: the pretrained model. It is kept, not copied. It may lack the layers above those in `layers`.
        layers: indices into the hidden states; 0 is the input of the first layer. Several layers are averaged. The last
            index is the model's output, after the final norm that some models have.
        options: those of a subclass.

    Attributes:
        layer_mix: a [`LayerMix`] in place of the mean of several layers; None: the mean.
    """

    model_class: Any = AutoModel  # its `from_pretrained` loads the weights

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], **options: bool):
        super().__init__()
        if getattr(model.config, "tie_last_hidden_states", None) is None:
            model.config.tie_last_hidden_states = True
        self.model = model
        self.layers = tuple(layers)
        self.options = options
        self.layer_mix: LayerMix | None = None

    @classmethod
    def from_config(cls, config: PreTrainedConfig, layers: Sequence[int], **options: bool) -> "PretrainedEncoder":
        """An encoder whose weights are new; `options` are those of its class."""
        make = getattr(cls.model_class, "from_config", None) or cls.model_class._from_config
        return cls(make(config), layers, **options)

    def without_weights(self) -> partial:
        """What makes an encoder like this one, which can prepare inputs and not encode them, in another process."""
        return partial(self.from_config, copy.deepcopy(self.model.config), self.layers, **self.options)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def select(self, hidden_states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The features `[B, L, d]`, float32 at least: the chosen layer, or the mean or mix of several."""
        chosen = [hidden_states[k] for k in self.layers]
        chosen = [h.to(torch.promote_types(h.dtype, torch.float32)) for h in chosen]
        if len(chosen) == 1:
            return chosen[0]
        return torch.stack(chosen).mean(dim=0) if self.layer_mix is None else self.layer_mix(torch.stack(chosen))


@contextmanager
def in_evaluation(encoder: PretrainedEncoder) -> Iterator[None]:
    """Features are made without dropout, and without gradients, also while the encoder is being trained."""
    training = encoder.model.training
    encoder.model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if training:
            encoder.train()


def batches_by_length(lengths: Sequence[int], budget: int, padding: bool = True) -> Iterator[list[int]]:
    """
    Groups inputs of similar length into batches, the longest first.

    Args:
        lengths: of the inputs.
        budget: the largest padded size of a batch, in the units of `lengths`. A batch holds at least one input.
        padding: whether a batch may mix lengths.

    Yields:
        Indices into `lengths`. Every index comes once.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch:
            longest = lengths[batch[0]]
            if (len(batch) + 1) * longest > budget or (lengths[i] != longest and not padding):
                yield batch
                batch = []
        batch.append(i)
    if batch:
        yield batch
