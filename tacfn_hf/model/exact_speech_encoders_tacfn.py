"""Pretrained speech encoders whose features do not depend on what an utterance is batched with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel, WhisperConfig
from transformers.models.wavlm.modeling_wavlm import WavLMAttention
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperPreTrainedModel

from .pretrained_encoders_tacfn import PretrainedEncoder, batches_by_length, in_evaluation, matrix_product, padding_mask


Counts = TypeVar("Counts", int, torch.Tensor)

# Padded size of one batch on an accelerator. On a CPU padding costs more than batching saves.
BATCH_SECONDS = 120

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
        x = h.to(torch.promote_types(h.dtype, torch.float32))
        mean = x.masked_fill(mask, 0.0).sum(-1, keepdim=True) / count
        centred = (x - mean).masked_fill_(mask, 0.0)
        scale = (centred.square().sum(-1, keepdim=True) / count + self.eps).rsqrt() * self.weight[:, None]
        return (centred * scale + self.bias[:, None]).to(h.dtype)


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

    def encode(self, inputs: Sequence[Any], use_onednn: bool = False) -> list[torch.Tensor]:
        """
        Features `[L_i, d]`, float32 on the CPU, of the inputs of each utterance. Those of similar length share a batch.

        `use_onednn`: see [`OneDnnProduct`].
        """
        features: list[torch.Tensor] = [torch.empty(0)] * len(inputs)
        budget = 0 if self.device.type == "cpu" else BATCH_SECONDS * self.inputs_per_second
        for batch in batches_by_length([self.size_of(x) for x in inputs], budget):
            padded, lengths = self.collate([inputs[i] for i in batch])
            with in_evaluation(self), matrix_product(use_onednn):
                h, frames = self(padded.to(self.device), lengths.to(self.device))
            for i, row, count in zip(batch, h.cpu(), frames.tolist()):
                features[i] = row[:count].clone()
        return features


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

    The model is changed in place: its adapter is removed, its GroupNorm becomes a [`MaskedGroupNorm`], WavLM's
    attention a [`SdpaWavLMAttention`], and its position convolution gets [`zero_padding`].

    Raises:
        ValueError: the model has a GroupNorm with several channels per group.
    """

    inputs_per_second = 16_000

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__(model, layers)
        config = model.config
        model.adapter, config.add_adapter = None, False  # it is for other tasks and makes fewer frames
        config.layerdrop = 0.0  # a layer that is skipped in training leaves no hidden state
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


class WhisperWithoutDecoder(WhisperPreTrainedModel):
    """The encoder of a Whisper checkpoint, whose decoder is not loaded. It takes up to 30 s of audio at a time."""

    _keys_to_ignore_on_load_unexpected = [r"decoder\.", r"proj_out\."]

    def __init__(self, config: WhisperConfig):
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.post_init()

    def forward(self, input_features: torch.Tensor, mask: torch.Tensor | None = None) -> list[torch.Tensor]:
        """
        All hidden states `[W, L, d]` of log-mel spectra `[W, mel, 2 * L]`, as transformers computes them, whose own
        forward takes L = 1500 alone. `mask` `[W, L]`, True = PAD: behind it the spectra are 0.
        """
        h = F.gelu(self.encoder.conv2(F.gelu(self.encoder.conv1(input_features)))).mT
        hidden_states = [h + self.encoder.embed_positions.weight[: h.shape[1]]]
        attention_mask = None
        if mask is not None:
            attention_mask = torch.zeros_like(mask, dtype=h.dtype).masked_fill(mask, torch.finfo(h.dtype).min)
            attention_mask = attention_mask[:, None, None].expand(-1, 1, h.shape[1], -1)
        for layer in self.encoder.layers:
            hidden_states.append(layer(hidden_states[-1], attention_mask))
        if self.config.tie_last_hidden_states:
            hidden_states[-1] = self.encoder.layer_norm(hidden_states[-1])
        return hidden_states


class WhisperInputs(NamedTuple):
    """The inputs of an utterance: the log-mel spectrum `[mel, T]` of each window, and its number of frames."""

    spectra: list[torch.Tensor]
    frames: int


# Of the silence behind an utterance, in frames, where it is not filled up to 30 s: 0.6 s.
FRAMES_OF_SILENCE = 30


class WhisperSpeechEncoder(SpeechEncoder):
    """
    The encoder of Whisper. It gives 50 frames a second: `ceil(S / 320)` frames of S samples at 16 kHz.

    Whisper was trained on windows of 30 s that are filled up with silence. So is every window here, and the frames of
    the silence are left out. Longer audio is encoded in windows that start every 20 s. Neighbouring windows overlap by
    10 s. The first half of the overlap is taken from the first window, the second half from the second.

    With `pad_to_30s=False` a window that is not full gets 0.6 s of silence instead, or what is left up to 30 s. That is
    not how Whisper was trained: it takes a fraction of the time, and gives other features.
    """

    model_class = WhisperWithoutDecoder
    inputs_per_second = 100

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], pad_to_30s: bool = True):
        super().__init__(model, layers)
        self.window = model.config.max_source_positions  # in frames: 1500
        self.step = self.window * 2 // 3
        self.pad_to_30s = pad_to_30s

    @staticmethod
    def min_samples(config: PreTrainedConfig) -> int:
        """See [`SpeechEncoder`]."""
        return 1

    def prepare(self, waveform: np.ndarray, feature_extractor: Any) -> WhisperInputs:
        """
        The log-mel spectra of the windows of a waveform `[S]`.

        Raises:
            ValueError: the feature extractor has windows of another length than the model.
        """
        frame = 2 * feature_extractor.hop_length  # the second convolution halves the number of frames
        if feature_extractor.n_samples != self.window * frame:
            raise ValueError(
                f"The feature extractor of the audio encoder has windows of {feature_extractor.n_samples} samples: the "
                f"model takes {self.window * frame}."
            )
        frames = -(-len(waveform) // frame)
        starts = self.starts(frames)
        spectra = feature_extractor(
            [waveform[start * frame : (start + self.window) * frame] for start in starts],
            sampling_rate=feature_extractor.sampling_rate,
            return_tensors="pt",
        )["input_features"]
        return WhisperInputs([s[:, : 2 * self.length(frames, start)] for s, start in zip(spectra, starts)], frames)

    def starts(self, frames: int) -> range:
        """The first frame of each window of an utterance."""
        return range(0, max(frames - self.window, 0) + self.step, self.step)

    def length(self, frames: int, start: int) -> int:
        """How many frames of a window the model sees, with those of the silence behind the utterance."""
        return self.window if self.pad_to_30s else min(frames - start + FRAMES_OF_SILENCE, self.window)

    def size_of(self, inputs: WhisperInputs) -> int:
        """See [`SpeechEncoder`]."""
        return sum(spectrum.shape[1] for spectrum in inputs.spectra)

    def collate(self, inputs: Sequence[WhisperInputs | None]) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`SpeechEncoder`]: spectra `[B, W, mel, T]` of the windows, 0 behind the last one; numbers of frames."""
        spectra = [[] if x is None else x.spectra for x in inputs]
        windows = [window for of_one in spectra for window in of_one]
        length = max(window.shape[1] for window in windows)
        padded = torch.zeros(len(inputs), max(map(len, spectra)), windows[0].shape[0], length)
        for place, of_one in zip(padded, spectra):
            for window, spectrum in zip(place, of_one):
                window[:, : spectrum.shape[1]] = spectrum
        return padded, torch.tensor([0 if x is None else x.frames for x in inputs])

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`SpeechEncoder`]. Windows that an utterance does not have are not computed."""
        frames = lengths.tolist()
        starts = [self.starts(count) for count in frames]
        spectra = torch.cat([windows[: len(of_one)] for windows, of_one in zip(inputs, starts)])
        seen = [self.length(count, start) for count, of_one in zip(frames, starts) for start in of_one]
        mask = padding_mask(torch.tensor(seen, device=inputs.device), inputs.shape[-1] // 2)
        hidden_states = self.model(spectra.to(self.model.dtype), mask if min(seen) < mask.shape[1] else None)
        windows = self.select(hidden_states).split([len(of_one) for of_one in starts])
        joined = [self.joined(of_one, count) for of_one, count in zip(windows, frames)]
        return nn.utils.rnn.pad_sequence(joined, batch_first=True), lengths

    def joined(self, windows: torch.Tensor, frames: int) -> torch.Tensor:
        """The frames `[L, d]` of an utterance from those of its windows, `[W, window, d]`."""
        left_out = (self.window - self.step) // 2  # half of an overlap
        h = windows[0]
        for number, window in enumerate(windows[1:], start=1):
            h = torch.cat([h[: number * self.step + left_out], window[left_out:]])
        return h[:frames]


# The class for each type of model.
SPEECH_ENCODERS: dict[str, type[SpeechEncoder]] = {
    **dict.fromkeys(("data2vec-audio", "hubert", "unispeech-sat", "wav2vec2", "wavlm"), WaveformEncoder),
    "wav2vec2-bert": Wav2Vec2BertSpeechEncoder,
    "whisper": WhisperSpeechEncoder,
}
