"""Pretrained speech encoders whose features do not depend on what an utterance is batched with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from .exact_whisper_encoder_tacfn import WhisperSpeechEncoder
from .pretrained_encoders_tacfn import padding_mask
from .speech_encoder_tacfn import SpeechEncoder


Counts = TypeVar("Counts", int, torch.Tensor)
Module = TypeVar("Module", bound=nn.Module)

# The lengths in samples [B] and in frames [B] of the batch that is being encoded; None where nothing is padded.
# Context variables, since threads share an encoder.
_samples: ContextVar[torch.Tensor | None] = ContextVar("samples", default=None)
_frames: ContextVar[torch.Tensor | None] = ContextVar("frames", default=None)


class MaskedGroupNorm(nn.GroupNorm):
    """
    GroupNorm with one channel per group, whose mean and variance are taken over the valid frames of each utterance.

    Checkpoints with `feat_extract_norm="group"` have one such norm, behind the first convolution. It normalises over
    time. Plain GroupNorm includes the padding, which changes every feature of a shorter utterance in a padded batch
    (transformers#21534, fairseq#3227, pytorch/audio#2242).

    Attributes:
        kernel_size, stride: of the convolution in front of it, which turn lengths in samples into lengths in frames.
    """

    kernel_size: int
    stride: int

    @classmethod
    def like(cls, norm: nn.GroupNorm, kernel_size: int, stride: int) -> "MaskedGroupNorm":
        """
        Of the size of another norm, without weights.

        Raises:
            ValueError: it has several channels per group.
        """
        if norm.num_groups != norm.num_channels:
            raise ValueError(
                f"The encoder has a GroupNorm of {norm.num_groups} groups for {norm.num_channels} channels: only one "
                "group per channel is supported."
            )
        made = cls(norm.num_groups, norm.num_channels, norm.eps, norm.affine, device="meta")
        made.kernel_size, made.stride = kernel_size, stride
        return made

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """`[B, C, T] -> [B, C, T]`. Without padding it is plain GroupNorm."""
        samples = _samples.get()
        if samples is None:
            return super().forward(h)
        x = h.to(torch.promote_types(h.dtype, torch.float32))
        lengths = ((samples - self.kernel_size) // self.stride + 1).tolist()
        moments = [torch.var_mean(of_one[:, :length], dim=-1, correction=0) for of_one, length in zip(x, lengths)]
        variance, mean = (torch.stack(of_all).unsqueeze(-1) for of_all in zip(*moments))
        scale = (variance + self.eps).rsqrt() * self.weight[:, None]
        return torch.addcmul(self.bias[:, None] - mean * scale, x, scale).to(h.dtype)


class SdpaWavLMAttention(WavLMAttention):
    """
    WavLM's attention by `scaled_dot_product_attention`.

    transformers uses `F.multi_head_attention_forward`, which also returns the attention weights averaged over heads.
    """

    @classmethod
    def like(cls, of: WavLMAttention) -> "SdpaWavLMAttention":
        """Of the size of another attention, without weights."""
        has_bias = hasattr(of, "rel_attn_embed")
        with torch.device("meta"):
            return cls(of.embed_dim, of.num_heads, of.dropout, of.num_buckets, of.max_distance, has_bias)

    def torch_multi_head_self_attention(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, gated_position_bias: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        """
        Args:
            hidden_states: `[B, L, d]`.
            attention_mask: `[B, L]`, 1 = keep; None: nothing is padded.
            gated_position_bias: `[B * heads, L, L]`, added to the scores.

        Returns:
            `[B, L, d]`, and None for the attention weights.
        """
        query, key, value = (
            project(hidden_states).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = gated_position_bias.view(query.shape[:3] + query.shape[2:3])
        if attention_mask is not None:
            bias = bias.masked_fill(~attention_mask.bool()[:, None, None, :], float("-inf"))
        dropout = self.dropout if self.training else 0.0
        output = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), dropout_p=dropout)
        return self.out_proj(output.transpose(1, 2).flatten(2)), None


def with_weights_of(module: nn.Module, made: Module) -> Module:
    """A new module that shares the weights of another, and its mode."""
    made.load_state_dict(module.state_dict(keep_vars=True), assign=True)
    return made.train(module.training)


def frame_counts(config: PreTrainedConfig, samples: Counts) -> Counts:
    """The number of frames that a [`WaveformEncoder`] makes of `samples`. 0 or less: too few for one frame."""
    for kernel_size, stride in zip(config.conv_kernel, config.conv_stride):
        samples = (samples - kernel_size) // stride + 1
    return samples


@contextmanager
def masking_what_fits(model: PreTrainedModel, frames: int) -> Iterator[None]:
    """SpecAugment is left out of a batch of few frames: transformers can't mask spans that are longer than it."""
    config = model.config
    if not getattr(config, "apply_spec_augment", False) or frames >= config.mask_time_length:
        yield
        return
    config.apply_spec_augment = False
    try:
        yield
    finally:
        config.apply_spec_augment = True


def zero_padding(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """
    Forward pre-hook of the convolution over frames `[B, C, T]` that encodes positions: sets padded frames to 0.

    The convolution itself pads with 0 behind the end, so an utterance in a batch meets the same values as alone.
    """
    frames = _frames.get()
    if frames is None:
        return args
    return (args[0].masked_fill(padding_mask(frames, args[0].shape[-1]).unsqueeze(1), 0.0),)


class WaveformEncoder(SpeechEncoder):
    """
    WavLM, wav2vec2, HuBERT, Data2VecAudio or UniSpeech-SAT. Features are the same alone and in any padded batch.

    The model is changed in place: its adapter is removed, a [`MaskedGroupNorm`] with its weights takes the place of its
    GroupNorm, a [`SdpaWavLMAttention`] that of WavLM's attention, and its position convolution gets [`zero_padding`].

    Raises:
        ValueError: the model has a GroupNorm with several channels per group.
    """

    inputs_per_second = 16_000

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__(model, layers)
        config = model.config
        model.adapter, config.add_adapter = None, False  # it is for other tasks and makes fewer frames
        config.layerdrop = 0.0  # a layer that is skipped in training leaves no hidden state
        for name, module in list(model.named_modules()):
            exact: nn.Module
            if isinstance(module, nn.GroupNorm):
                exact = MaskedGroupNorm.like(module, config.conv_kernel[0], config.conv_stride[0])
            elif type(module) is WavLMAttention:
                exact = SdpaWavLMAttention.like(module)
            else:
                continue
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, with_weights_of(module, exact))
        for module in model.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_pre_hook(zero_padding)

    def train(self, mode: bool = True) -> "WaveformEncoder":
        """As torch's; a batch norm, which some HuBERT models have, keeps its statistics: a batch's include padding."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    @staticmethod
    def min_samples(config: PreTrainedConfig) -> int:
        """See [`SpeechEncoder`]."""
        samples = 1
        for kernel_size, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride)):
            samples = (samples - 1) * stride + kernel_size
        return samples

    def prepare(self, waveform: np.ndarray, feature_extractor: Any) -> torch.Tensor:
        """A waveform `[S]`, normalised on its own where the feature extractor says so."""
        rate = feature_extractor.sampling_rate
        return feature_extractor(waveform, sampling_rate=rate, return_tensors="pt")["input_values"][0]

    def forward(self, input_values: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`SpeechEncoder`]: waveforms `[B, S]` from the feature extractor, each normalised on its own."""
        frames = frame_counts(self.model.config, lengths)
        padded = bool((lengths < input_values.shape[1]).any())
        attention_mask = None
        if padded:
            attention_mask = (~padding_mask(lengths, input_values.shape[1])).long()
        tokens = _samples.set(lengths if padded else None), _frames.set(frames if padded else None)
        try:
            with masking_what_fits(self.model, frame_counts(self.model.config, input_values.shape[1])):
                output = self.model(
                    input_values.to(self.model.dtype), attention_mask=attention_mask, output_hidden_states=True
                )
        finally:
            _samples.reset(tokens[0])
            _frames.reset(tokens[1])
        return self.select(output.hidden_states), frames


class Wav2Vec2BertSpeechEncoder(SpeechEncoder):
    """
    Wav2Vec2-BERT. Its model is exact in a padded batch by itself: its convolutions look back only, and its attention
    knows the mask. It reads log-mel spectra, two neighbouring columns of 10 ms at once, and gives 50 frames a second.
    """

    inputs_per_second = 50

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__(model, layers)
        model.adapter, model.config.add_adapter = None, False  # it is for other tasks and makes fewer frames
        model.config.layerdrop = 0.0  # a layer that is skipped in training leaves no hidden state

    @staticmethod
    def min_samples(config: PreTrainedConfig) -> int:
        """See [`SpeechEncoder`]. Two columns, each of 400 samples, 160 apart."""
        return 560

    def prepare(self, waveform: np.ndarray, feature_extractor: Any) -> torch.Tensor:
        """The log-mel spectrum of a waveform `[S]`, `[L, 160]`. A last column without a second one is left out."""
        rate = feature_extractor.sampling_rate
        inputs = feature_extractor(waveform, sampling_rate=rate, return_tensors="pt")
        return inputs["input_features"][0, : int(inputs["attention_mask"].sum())]

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`SpeechEncoder`]: spectra `[B, L, 160]`, and a frame for each position."""
        mask = padding_mask(lengths, inputs.shape[1])
        inputs = inputs.masked_fill(mask.unsqueeze(-1), 0.0).to(self.model.dtype)
        with masking_what_fits(self.model, inputs.shape[1]):
            output = self.model(inputs, attention_mask=(~mask).long(), output_hidden_states=True)
        return self.select(output.hidden_states), lengths


# The class for each type of model.
SPEECH_ENCODERS: dict[str, type[SpeechEncoder]] = {
    **dict.fromkeys(("data2vec-audio", "hubert", "unispeech-sat", "wav2vec2", "wavlm"), WaveformEncoder),
    "wav2vec2-bert": Wav2Vec2BertSpeechEncoder,
    "whisper": WhisperSpeechEncoder,
}
