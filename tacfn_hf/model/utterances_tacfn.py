"""The forms in which audio and text are given: one input or several, rows or columns, present or blank."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch


def is_list(value: Any) -> bool:
    """Whether `value` is a sequence of inputs, such as a list or a column of `datasets`, and not one input itself."""
    one = str | bytes | bytearray | memoryview | Mapping | np.ndarray | torch.Tensor
    return isinstance(value, Sequence) and not isinstance(value, one)


def is_waveform(value: Any) -> bool:
    """Whether `value` is a list of numbers."""
    return is_list(value) and len(value) > 0 and isinstance(value[0], Real)


def is_blank(text: Any) -> bool:
    """Whether `text` is a string without a visible character. Such a text counts as missing."""
    return isinstance(text, str) and not any(letter.isprintable() and letter != " " for letter in text)


def as_list(value: Any) -> list | None:
    """A list of inputs from one input or several. None stays None."""
    if value is None:
        return None
    return list(value) if is_list(value) else [value]


def as_audio_list(audio: Any) -> list | None:
    """As `as_list`; a list of numbers is one waveform."""
    return [audio] if is_waveform(audio) else as_list(audio)


def as_column(name: str, value: Any) -> list | None:
    """The value of the column `name` as a list with an item per row. None if it is a single value, as a waveform is."""
    if name == "audio" and is_waveform(value):
        return None
    if name != "audio" and isinstance(value, np.ndarray | torch.Tensor) and value.ndim == 1:
        return value.tolist()
    return list(value) if is_list(value) else None


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """
    The rows of a mapping of columns, such as a slice of a dataset. None if the mapping is a single input.

    In the numpy and torch formats, waveforms of equal length arrive as one 2-D array. It is a column if another column
    has as many items as it has rows. Otherwise it is one waveform with several channels.

    Raises:
        ValueError: the columns differ in length.
    """
    lists = {name: column for name, value in columns.items() if (column := as_column(name, value)) is not None}
    audio: Any = columns.get("audio")
    if getattr(audio, "ndim", 0) == 2 and any(len(column) == len(audio) for column in lists.values()):
        lists["audio"] = list(audio)
    if not lists.keys() & {"audio", "text"}:
        return None
    given = {name: columns[name] for name in ("audio", "text", "sampling_rate") if columns.get(name) is not None}
    counts = {name: len(lists[name]) if name in lists else 1 for name in given}
    if "sampling_rate" not in lists:
        counts.pop("sampling_rate", None)  # one for all
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise ValueError(f"The input has {found}: the counts must agree, with None where one is missing.")
    return [
        {name: lists[name][i] if name in lists else value for name, value in given.items()}
        for i in range(next(iter(counts.values())))
    ]


def undecoded(dataset: Any) -> Any:
    """
    A `datasets.Dataset` whose audio columns give files and bytes, which the processor decodes itself.

    A streaming dataset without known features is returned as it is.
    """
    for name, feature in (dataset.features or {}).items():
        if type(feature).__name__ == "Audio":
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset
