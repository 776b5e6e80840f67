"""What all speech encoders share: from waveforms to inputs, to padded batches, to features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from .cpu_kernels_tacfn import cpu_kernels
from .pretrained_encoders_tacfn import PretrainedEncoder, batches_by_length, in_evaluation


# Padded size of one batch on an accelerator. On a CPU padding costs more than batching saves.
BATCH_SECONDS = 120


class SpeechEncoder(PretrainedEncoder):
    """
    A pretrained speech encoder, by one class for each family of models; see `SPEECH_ENCODERS`.

    An encoder turns a waveform into its inputs with `prepare`, the inputs of several utterances into a padded batch
    with `collate`, and that into features with `forward`. `encode` does so for any number of utterances.
    """

    inputs_per_second: int

    @staticmethod
    def min_samples(config: PreTrainedConfig) -> int:
        """The smallest number of samples from which a model of this config makes a frame."""
        raise NotImplementedError

    def prepare(self, waveform: np.ndarray, feature_extractor: Any) -> Any:
        """
        The inputs of one utterance for `collate`.

        Args:
            waveform: `[S]`, at the sampling rate of the feature extractor.
            feature_extractor: the one that belongs to the model.
        """
        raise NotImplementedError

    def size_of(self, inputs: Any) -> int:
        """How much of a batch the inputs of one utterance take, `inputs_per_second` for each second."""
        return len(inputs)

    def collate(self, inputs: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """
        The inputs of several utterances as one tensor `[B, ...]`, padded behind the end, and lengths int64 `[B]`. None:
        this one has no audio, and length 0. At least one has.
        """
        some = next(x for x in inputs if x is not None)
        rows = [some[:0] if x is None else x for x in inputs]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            inputs, lengths: from `collate`. Values behind the lengths have no influence.

        Returns:
            Features `[B, L, d]`, float32 at least, and the number of valid frames `[B]`. Features behind them are
            meaningless.
        """
        raise NotImplementedError

    def encode(self, inputs: Sequence[Any], use_onednn: bool | None = None) -> list[torch.Tensor]:
        """
        Features `[L_i, d]`, float32 on the CPU, of the inputs of each utterance. Those of similar length share a batch.

        `use_onednn`: see `cpu_kernels`.
        """
        features: list[torch.Tensor] = [torch.empty(0)] * len(inputs)
        budget = 0 if self.device.type == "cpu" else BATCH_SECONDS * self.inputs_per_second
        with in_evaluation(self), cpu_kernels(use_onednn, self.device):
            for batch in batches_by_length([self.size_of(x) for x in inputs], budget):
                padded, lengths = self.collate([inputs[i] for i in batch])
                h, frames = self(padded.to(self.device), lengths.to(self.device))
                for i, row, count in zip(batch, h.cpu(), frames.tolist()):
                    features[i] = row[:count].clone()
        return features
