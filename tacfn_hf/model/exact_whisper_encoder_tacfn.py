"""The encoder of Whisper, whose features do not depend on what an utterance is batched with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperPreTrainedModel

from .pretrained_encoders_tacfn import padding_mask
from .speech_encoder_tacfn import SpeechEncoder


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
        super().__init__(model, layers, pad_to_30s=pad_to_30s)
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
