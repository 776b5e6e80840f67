"""Pretrained speech and text encoders whose features do not depend on what an utterance is batched with."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


Counts = TypeVar("Counts", int, torch.Tensor)

# Padded size of one batch on an accelerator. On a CPU padding costs more than batching saves.
BATCH_SECONDS = 120
BATCH_TOKENS = 4096

# Text encoders whose attention mask keeps all padding out. Others mix tokens outside of their attention, as ConvBERT,
# FNet and MobileBERT do. Their batches hold texts of one length.
EXACT_WITH_PADDING = (
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "modernbert",
    "mpnet",
    "rembert",
    "roberta",
    "xlm-roberta",
)

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

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """`[B, C, T] -> [B, C, T]`. Without padding it is plain GroupNorm."""
        samples = _samples.get()
        if samples is None:
            return super().forward(h)
        lengths = (samples - self.kernel_size) // self.stride + 1
        mask = padding_mask(lengths, h.shape[-1]).unsqueeze(1)
        count = lengths[:, None, None]
        x = h.float()
        mean = x.masked_fill(mask, 0.0).sum(-1, keepdim=True) / count
        centred = (x - mean).masked_fill_(mask, 0.0)
        scale = (centred.square().sum(-1, keepdim=True) / count + self.eps).rsqrt() * self.weight[:, None]
        return (centred * scale + self.bias[:, None]).to(h.dtype)


def has_onednn() -> bool:
    """Whether this build of torch has oneDNN's linear layer."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


class OneDnnProduct(TorchFunctionMode):
    """
    `with OneDnnProduct():` computes linear layers with oneDNN's matrix product instead of MKL's. On AMD it is faster.

    It applies to float32 on a CPU, in the current thread, without gradients. The modules stay as they are.

    Raises:
        ValueError: this build of torch does not have oneDNN's linear layer.
    """

    def __init__(self):
        super().__init__()
        if not has_onednn():
            raise ValueError(f"use_onednn is True: torch {torch.__version__} here was built without oneDNN.")

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """What torch calls in place of each of its functions."""
        if function is F.linear and not kwargs and args[0].device.type == "cpu" and args[0].dtype == torch.float32:
            h, weight, *bias = args
            return torch.ops.mkldnn._linear_pointwise(h, weight, bias[0] if bias else None, "none", [], "")
        return function(*args, **(kwargs or {}))


def matrix_product(use_onednn: bool) -> AbstractContextManager:
    """The context in which an encoder runs: oneDNN's matrix product, or torch's own choice."""
    return OneDnnProduct() if use_onednn else nullcontext()


class SdpaWavLMAttention(WavLMAttention):
    """
    WavLM's attention by `scaled_dot_product_attention`.

    transformers uses `F.multi_head_attention_forward`, which also returns the attention weights averaged over heads.
    """

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


def padding_mask(lengths: torch.Tensor, max_length: int) -> torch.Tensor:
    """Boolean `[B, max_length]`, True = PAD, from int64 `lengths [B]`."""
    return torch.arange(max_length, device=lengths.device)[None] >= lengths[:, None]


def frame_counts(config: PreTrainedConfig, samples: Counts) -> Counts:
    """The number of frames that a speech encoder makes of `samples`. 0 or less: too few for one frame."""
    for kernel_size, stride in zip(config.conv_kernel, config.conv_stride):
        samples = (samples - kernel_size) // stride + 1
    return samples


def min_samples(config: PreTrainedConfig) -> int:
    """The smallest number of samples from which a speech encoder makes a frame."""
    samples = 1
    for kernel_size, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride)):
        samples = (samples - 1) * stride + kernel_size
    return samples


def zero_padding(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """
    Forward pre-hook of the convolution over frames `[B, C, T]` that encodes positions: sets padded frames to 0.

    The convolution itself pads with 0 behind the end, so an utterance in a batch meets the same values as alone.
    """
    frames = _frames.get()
    if frames is None:
        return args
    return (args[0].masked_fill(padding_mask(frames, args[0].shape[-1]).unsqueeze(1), 0.0),)


class PretrainedEncoder(nn.Module):
    """
    A pretrained model of transformers, and which of its layers gives the features.

    Args:
        model: the pretrained model. It is kept, not copied. It may lack the layers above those in `layers`.
        layers: indices into the hidden states; 0 is the input of the first layer. Several layers are averaged. The last
            index is the model's output, after the final norm that some models have.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__()
        if getattr(model.config, "tie_last_hidden_states", None) is None:
            model.config.tie_last_hidden_states = True
        self.model = model
        self.layers = tuple(layers)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def select(self, hidden_states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The features, float32 `[B, L, d]`: the chosen layer, or the mean of the chosen layers."""
        chosen = [hidden_states[k].float() for k in self.layers]
        return chosen[0] if len(chosen) == 1 else torch.stack(chosen).mean(dim=0)


class SpeechEncoder(PretrainedEncoder):
    """
    WavLM, wav2vec2, HuBERT, Data2VecAudio or UniSpeech-SAT. Features are the same alone and in any padded batch.

    The model is changed in place: its adapter is removed, its GroupNorm becomes a [`MaskedGroupNorm`], WavLM's
    attention a [`SdpaWavLMAttention`], and its position convolution gets [`zero_padding`].

    Raises:
        ValueError: the model has a GroupNorm with several channels per group.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__(model, layers)
        config = model.config
        model.adapter, config.add_adapter = None, False  # it is for other tasks and makes fewer frames
        for module in model.modules():
            if isinstance(module, nn.GroupNorm):
                if module.num_groups != module.num_channels:
                    raise ValueError(
                        f"The encoder has a GroupNorm of {module.num_groups} groups for {module.num_channels} "
                        "channels: only one group per channel is supported."
                    )
                module.__class__ = MaskedGroupNorm
                module.kernel_size, module.stride = config.conv_kernel[0], config.conv_stride[0]
            elif type(module) is WavLMAttention:
                module.__class__ = SdpaWavLMAttention
        for module in model.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_pre_hook(zero_padding)

    def forward(self, input_values: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            input_values: waveforms `[B, S]` from the feature extractor, each normalised on its own.
            lengths: int64 `[B]`, the number of samples of each waveform. Values behind them have no influence.

        Returns:
            float32 features `[B, L, d]`, and the number of valid frames `[B]`. Features behind them are meaningless.
        """
        frames = frame_counts(self.model.config, lengths)
        padded = bool((lengths < input_values.shape[1]).any())
        attention_mask = None
        if padded:
            attention_mask = (~padding_mask(lengths, input_values.shape[1])).long()
        tokens = _samples.set(lengths if padded else None), _frames.set(frames if padded else None)
        try:
            output = self.model(
                input_values.to(self.model.dtype), attention_mask=attention_mask, output_hidden_states=True
            )
        finally:
            _samples.reset(tokens[0])
            _frames.reset(tokens[1])
        return self.select(output.hidden_states), frames

    @torch.no_grad()
    def encode(self, waveforms: Sequence[torch.Tensor], use_onednn: bool = False) -> list[torch.Tensor]:
        """
        Features `[L_i, d]`, float32 on the CPU, of each waveform `[S_i]`, in batches of similar length.

        `use_onednn`: see [`OneDnnProduct`].
        """
        features: list[torch.Tensor] = [torch.empty(0)] * len(waveforms)
        budget = 0 if self.device.type == "cpu" else BATCH_SECONDS * 16_000
        for batch in batches_by_length([len(w) for w in waveforms], budget):
            lengths = torch.tensor([len(waveforms[i]) for i in batch])
            padded = nn.utils.rnn.pad_sequence([waveforms[i] for i in batch], batch_first=True)
            with matrix_product(use_onednn):
                h, frames = self(padded.to(self.device), lengths.to(self.device))
            for i, row, count in zip(batch, h.cpu(), frames.tolist()):
                features[i] = row[:count].clone()
        return features


class TextEncoder(PretrainedEncoder):
    """
    A BERT-like encoder. Features are the same alone and in any batch.

    Attributes:
        max_tokens: the number of tokens that its position embeddings allow; None: no limit.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__(model, layers)
        limit = getattr(model.config, "max_position_embeddings", None) or 0
        for name, module in model.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                limit -= module.padding_idx + 1  # RoBERTa and its relatives count positions from there
        self.max_tokens = limit if limit > 0 else None

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input_ids: int64 `[B, L]`.
            lengths: int64 `[B]`, the number of tokens of each text.

        Returns:
            float32 features `[B, L, d]`. Features behind the lengths are meaningless.
        """
        attention_mask = (~padding_mask(lengths, input_ids.shape[1])).long()
        output = self.model(input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return self.select(output.hidden_states)

    @torch.no_grad()
    def encode(self, token_ids: Sequence[Sequence[int]], use_onednn: bool = False) -> list[torch.Tensor]:
        """
        Features `[L_i, d]`, float32 on the CPU, of each sequence of token ids, in batches of similar length.

        `use_onednn`: see [`OneDnnProduct`].
        """
        features: list[torch.Tensor] = [torch.empty(0)] * len(token_ids)
        pad = self.model.config.pad_token_id or 0
        padding = self.model.config.model_type in EXACT_WITH_PADDING
        for batch in batches_by_length([len(ids) for ids in token_ids], BATCH_TOKENS, padding):
            lengths = torch.tensor([len(token_ids[i]) for i in batch])
            padded = nn.utils.rnn.pad_sequence(
                [torch.tensor(token_ids[i]) for i in batch], batch_first=True, padding_value=pad
            )
            with matrix_product(use_onednn):
                h = self(padded.to(self.device), lengths.to(self.device))
            for i, row, count in zip(batch, h.cpu(), lengths.tolist()):
                features[i] = row[:count].clone()
        return features


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
