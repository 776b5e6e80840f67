"""Pretrained speech and text encoders whose features do not depend on what an utterance is batched with."""

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


Counts = TypeVar("Counts", int, torch.Tensor)

# Padded size of one batch on an accelerator; on a CPU padding costs more than batching saves.
BATCH_SECONDS = 120
BATCH_TOKENS = 4096

# Text encoders whose attention mask is all it takes to keep padding out. Others look at a token's neighbours or at all
# tokens besides, as ConvBERT, FNet and MobileBERT do: their batches are of texts of one length.
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

# Samples [B] and frames [B] of the batch that is being encoded, None where nothing is padded. A context variable,
# since threads share an encoder.
_samples: ContextVar[torch.Tensor | None] = ContextVar("samples", default=None)
_frames: ContextVar[torch.Tensor | None] = ContextVar("frames", default=None)


class MaskedGroupNorm(nn.GroupNorm):
    """
    GroupNorm of one channel a group, `[B, C, T]`, whose mean and variance are taken over each sample's own frames.

    In checkpoints with `feat_extract_norm="group"` it is the one normalisation that runs over time: over the padding
    as well, which would change every feature of a shorter utterance.
    """

    kernel_size: int
    stride: int

    def forward(self, h: torch.Tensor) -> torch.Tensor:
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


class OneDnnLinear(nn.Linear):
    """nn.Linear that takes oneDNN's matrix product for float32 on a CPU without gradients: on AMD twice MKL's speed."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        if h.device.type != "cpu" or h.dtype != torch.float32 or torch.is_grad_enabled():
            return super().forward(h)
        return torch.ops.mkldnn._linear_pointwise(h, self.weight, self.bias, "none", [], "")


class SdpaWavLMAttention(WavLMAttention):
    """WavLM's attention, whose position bias transformers gives to a function that also averages all weights."""

    def torch_multi_head_self_attention(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, gated_position_bias: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
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
    """Frames that a speech encoder's convolutions make of so many samples; 0 or less: too few for a frame."""
    for kernel_size, stride in zip(config.conv_kernel, config.conv_stride):
        samples = (samples - kernel_size) // stride + 1
    return samples


def min_samples(config: PreTrainedConfig) -> int:
    """The samples that one frame of a speech encoder takes."""
    samples = 1
    for kernel_size, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride)):
        samples = (samples - 1) * stride + kernel_size
    return samples


def zero_padding(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Pre-hook of a convolution over frames `[B, C, T]`: padding is 0, as beyond the end of a lone utterance."""
    frames = _frames.get()
    if frames is None:
        return args
    return (args[0].masked_fill(padding_mask(frames, args[0].shape[-1]).unsqueeze(1), 0.0),)


class PretrainedEncoder(nn.Module):
    """
    A pretrained model of transformers and the layer of it that is used.

    Args:
        model: the pretrained model; layers above those that are used may be left out.
        layers: indices into the hidden states, 0 = the input of the first layer. Of several the mean is taken. The last
            one is the model's output, with the norm that some models have behind their layers.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__()
        if getattr(model.config, "tie_last_hidden_states", None) is None:
            model.config.tie_last_hidden_states = True
        self.model = model
        self.layers = tuple(layers)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def select(self, hidden_states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The layer that is used, or the mean of the layers: float32 `[B, L, d]`."""
        chosen = [hidden_states[k].float() for k in self.layers]
        return chosen[0] if len(chosen) == 1 else torch.stack(chosen).mean(dim=0)


class SpeechEncoder(PretrainedEncoder):
    """
    WavLM, wav2vec2, HuBERT, Data2VecAudio or UniSpeech-SAT, exact under batching.

    Raises:
        ValueError: a model of another kind.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__(model, layers)
        config = model.config
        model.adapter, config.add_adapter = None, False  # it would make fewer frames, for another task
        for module in model.modules():
            if isinstance(module, nn.GroupNorm):
                if module.num_groups != module.num_channels:
                    raise ValueError(
                        f"The encoder has a GroupNorm of {module.num_groups} groups: one a channel is known."
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
            input_values: waveforms `[B, S]` as the feature extractor makes them, each normalised on its own.
            lengths: int64 `[B]`, the samples of each; what stands behind them has no influence.

        Returns:
            float32 features `[B, L, d]` and the number of frames `[B]` of each. Behind them the features mean nothing.
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
    def encode(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Features `[L_i, d]` on the CPU of each waveform `[S_i]`, in batches by length."""
        features: list[torch.Tensor] = [torch.empty(0)] * len(waveforms)
        budget = 0 if self.device.type == "cpu" else BATCH_SECONDS * 16_000
        for batch in batches_by_length([len(w) for w in waveforms], budget):
            lengths = torch.tensor([len(waveforms[i]) for i in batch])
            padded = nn.utils.rnn.pad_sequence([waveforms[i] for i in batch], batch_first=True)
            h, frames = self(padded.to(self.device), lengths.to(self.device))
            for i, row, count in zip(batch, h.cpu(), frames.tolist()):
                features[i] = row[:count].clone()
        return features


class TextEncoder(PretrainedEncoder):
    """A BERT-like encoder, exact under batching. `max_tokens` is what its positions allow; None: no limit."""

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__(model, layers)
        limit = getattr(model.config, "max_position_embeddings", None) or 0
        for name, module in model.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                limit -= module.padding_idx + 1  # RoBERTa and its kin count from there
        self.max_tokens = limit if limit > 0 else None

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input_ids: int64 `[B, L]`.
            lengths: int64 `[B]`, the tokens of each.

        Returns:
            float32 features `[B, L, d]`; behind the lengths they mean nothing.
        """
        attention_mask = (~padding_mask(lengths, input_ids.shape[1])).long()
        output = self.model(input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return self.select(output.hidden_states)

    @torch.no_grad()
    def encode(self, token_ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Features `[L_i, d]` on the CPU of each sequence of token ids, in batches by length."""
        features: list[torch.Tensor] = [torch.empty(0)] * len(token_ids)
        pad = self.model.config.pad_token_id or 0
        padding = self.model.config.model_type in EXACT_WITH_PADDING
        for batch in batches_by_length([len(ids) for ids in token_ids], BATCH_TOKENS, padding):
            lengths = torch.tensor([len(token_ids[i]) for i in batch])
            padded = nn.utils.rnn.pad_sequence(
                [torch.tensor(token_ids[i]) for i in batch], batch_first=True, padding_value=pad
            )
            h = self(padded.to(self.device), lengths.to(self.device))
            for i, row, count in zip(batch, h.cpu(), lengths.tolist()):
                features[i] = row[:count].clone()
        return features


def batches_by_length(lengths: Sequence[int], budget: int, padding: bool = True) -> Iterator[list[int]]:
    """
    Indices of inputs of like length (of the same, without `padding`), so many that the padded batch stays within the
    budget, but at least one.
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


def use_onednn(module: nn.Module) -> None:
    """
    Replaces the linear layers of a frozen module by ones that take oneDNN's matrix product in float32 on a CPU. It is
    faster where MKL's is slow, as on AMD. Nothing does this by itself. Without oneDNN in torch nothing changes.
    """
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                layer = OneDnnLinear(child.in_features, child.out_features, child.bias is not None, device="meta")
                layer.weight, layer.bias = child.weight, child.bias
                setattr(parent, name, layer)
