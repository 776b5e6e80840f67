"""Utterances, and how features of them are compared, for the tests of the processor."""

import numpy as np
import torch


RATE = 16000
TEXTS = [
    "Kids are talking by the door.",
    "No.",
    None,
    "Dogs are sitting by the door, and nobody minds, for it rains.",
    "What?",
    "A",
]


def waveform(i: int, size: int | None = None) -> np.ndarray:
    """0.1 to 0.8 s of noise, another for each i, of another loudness and mean."""
    generator = np.random.default_rng(i)
    size = generator.integers(1600, 12800) if size is None else size
    return (0.02 * (i + 1) * generator.normal(size=size) + 0.01 * i).astype(np.float32)


AUDIOS = [waveform(0), None, waveform(2), waveform(3, 400), waveform(4), waveform(5)]
SUFFIXES = {"a": AUDIOS, "t": TEXTS}


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative, by norm; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).norm() / expected.norm())


def features_of(batch: dict, suffix: str, i: int) -> torch.Tensor:
    """Row i without its padding."""
    return batch[f"h_{suffix}"][i][~batch[f"mask_{suffix}"][i]]


def assert_same(found: dict, expected: dict) -> None:
    """Bitwise."""
    assert list(found) == list(expected)
    for name in expected:
        assert torch.equal(found[name], expected[name])
