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

    Raises:
        ValueError: a row that lacks both modalities, a crop of less than 0.1 s, or what the processor refuses.
    """

    processor: TacfnProcessor
    crop_seconds: float | None = None

    def __post_init__(self):
        if self.crop_seconds is not None and not self.crop_seconds >= 0.1:
            raise ValueError(f"crop_seconds is {self.crop_seconds}: it must be at least 0.1, or None for whole audio.")

    def __getstate__(self) -> dict[str, Any]:
        # For workers in processes of their own, which prepare inputs and encode nothing.
        return {**vars(self), "processor": self.processor.without_weights()}

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch of these rows; see the class for its keys and shapes."""
        names = [name_of(row, i) for i, row in enumerate(rows)]
        audios, texts = (
            [None if is_blank(value) else value for value in (row.get(key) for row in rows)]
            for key in ("audio", "text")
        )
        for name, audio, text in zip(names, audios, texts):
            if audio is None and text is None:
                raise ValueError(f"{name} has neither audio nor text: give at least one modality.")
        batch: dict[str, torch.Tensor] = {}
        heard = [i for i, audio in enumerate(audios) if audio is not None]
        if heard:
            waveforms = [self.cropped(self.processor.load_audio(audios[i], name=names[i])) for i in heard]
            inputs = dict(zip(heard, self.processor.prepare_audio(waveforms)))
            collated = self.processor.audio_encoder.collate([inputs.get(i) for i in range(len(rows))])
            batch["input_values"], batch["input_lengths"] = collated
        read = [i for i, text in enumerate(texts) if text is not None]
        if read:
            ids = dict(zip(read, self.processor.prepare_text([texts[i] for i in read], names=[names[i] for i in read])))
            tokens = [torch.tensor(ids.get(i, []), dtype=torch.int64) for i in range(len(rows))]
            pad = self.processor.text_encoder.model.config.pad_token_id or 0
            batch["input_ids"] = pad_sequence(tokens, batch_first=True, padding_value=pad)
            batch["attention_mask"] = pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True)
        labels = collate_labels(rows)
        if labels is not None:
            batch["labels"] = labels
        return batch

    def cropped(self, waveform: np.ndarray) -> np.ndarray:
        """A window of `crop_seconds` of a longer waveform `[S]`, drawn by torch's generator."""
        if self.crop_seconds is None:
            return waveform
        length = round(self.crop_seconds * self.processor.sampling_rate)
        start = int(torch.randint(max(len(waveform) - length, 0) + 1, ()))
        return waveform[start : start + length]
