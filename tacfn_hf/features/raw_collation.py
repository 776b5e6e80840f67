"""From rows of audio and text to one padded batch for the network with its encoders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from ..model.processing_tacfn import TacfnProcessor
from ..model.utterances_tacfn import is_blank
from .collation import collate_labels, name_of


@dataclass
class TacfnRawDataCollator:
    """
    Makes a batch of rows that hold audio and text, for [`TacfnDualEncoderForSequenceClassification`].

    Keys in, of each row (a mapping):

    - `audio`: in any form that [`TacfnProcessor`] takes. None, or no such key: the row lacks audio.
    - `text`: a string. None, blank, or no such key: the row lacks text.
    - `label` or `labels`: as in [`TacfnDataCollator`].

    Keys out: `input_values`, `input_lengths`, `input_ids`, `attention_mask` and `labels`, as the model takes them. A
    modality that the whole batch lacks has no keys.

    Args:
        processor: from `from_model`.
        crop_seconds: longer audio is cut to a window of this length, which is drawn for each row and call. Without it
            audio is taken whole. For training alone.
        truncation: cut audio and text that is longer than the processor takes. Without it these are errors.

    Raises:
        ValueError: a row that lacks both modalities, a crop of less than 0.1 s, or what the processor refuses.
    """

    processor: TacfnProcessor
    crop_seconds: float | None = None
    truncation: bool = False

    def __post_init__(self):
        if self.crop_seconds is not None and not self.crop_seconds >= 0.1:
            raise ValueError(f"crop_seconds is {self.crop_seconds}: it must be at least 0.1, or None for whole audio.")

    def __getstate__(self) -> dict[str, Any]:
        # For workers in processes of their own, which prepare inputs and encode nothing.
        return {**vars(self), "processor": self.processor.without_weights()}

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch of these rows; see the class for its keys and shapes."""
        waveforms, ids = self.read(rows)
        batch: dict[str, torch.Tensor] = {}
        if any(waveform is not None for waveform in waveforms):
            cropped = [self.cropped(waveform) for waveform in waveforms if waveform is not None]
            prepared = iter(self.processor.prepare_audio(cropped))
            inputs = [None if waveform is None else next(prepared) for waveform in waveforms]
            batch["input_values"], batch["input_lengths"] = self.processor.audio_encoder.collate(inputs)
        if any(of_one is not None for of_one in ids):
            tokens = [torch.tensor(of_one or [], dtype=torch.int64) for of_one in ids]
            pad = self.processor.text_encoder.model.config.pad_token_id or 0
            batch["input_ids"] = pad_sequence(tokens, batch_first=True, padding_value=pad)
            batch["attention_mask"] = pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True)
        labels = collate_labels(rows)
        if labels is not None:
            batch["labels"] = labels
        return batch

    def read(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[np.ndarray | None], list[list[int] | None]]:
        """The waveforms `[S]` and the token ids of rows; None where a row lacks a modality."""
        waveforms: list[np.ndarray | None] = []
        ids: list[list[int] | None] = []
        for i, row in enumerate(rows):
            name = name_of(row, i)
            audio, text = (None if is_blank(value) else value for value in map(row.get, ("audio", "text")))
            if audio is None and text is None:
                raise ValueError(f"{name} has neither audio nor text: give at least one modality.")
            load, prepare, cut = self.processor.load_audio, self.processor.prepare_text, self.truncation
            waveforms.append(None if audio is None else load(audio, truncation=cut, name=name))
            ids.append(None if text is None else prepare([text], truncation=cut, names=[name])[0])
        return waveforms, ids

    def cropped(self, waveform: np.ndarray) -> np.ndarray:
        """A window of `crop_seconds` of a longer waveform `[S]`, drawn by torch's generator."""
        length = len(waveform)
        if self.crop_seconds is not None:
            length = round(self.crop_seconds * self.processor.sampling_rate)
        if len(waveform) <= length:
            return waveform
        start = int(torch.randint(len(waveform) - length + 1, ()))
        return waveform[start : start + length]
