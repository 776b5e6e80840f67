"""Small faithful copies of corpora: the official layout with tiny files."""

from pathlib import Path

import numpy as np
import soundfile


def write_wav(path: Path, seconds: float = 0.1, sampling_rate: int = 16000) -> Path:
    """A wav file of noise; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).normal(scale=0.1, size=round(seconds * sampling_rate))
    soundfile.write(path, noise, sampling_rate)
    return path


def write_text(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """A text file, its ends of lines as given; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path
