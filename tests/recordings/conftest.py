"""A recording of synthetic speech whose truth is known, and a model with its processor."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import config_for
from transformers import pipeline

from tacfn_hf import EmotionRecognitionPipeline, TacfnForSequenceClassification
from tacfn_hf.corpora.diagnostic import draw_voice, utter


RATE = 16000


@pytest.fixture(scope="session")
def model_folder(processor, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    TacfnForSequenceClassification(config_for(processor)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def recognizer(model_folder) -> EmotionRecognitionPipeline:
    return pipeline("multimodal-emotion-recognition", model=str(model_folder), device="cpu")


@pytest.fixture(scope="session")
def spoken(tmp_path_factory) -> tuple[Path, list[tuple[float, float]]]:
    """Three utterances with pauses of 1.5 s around them, and their times."""
    generator = np.random.default_rng(3)
    pieces, times, at = [], [], 0
    for _ in range(3):
        sound = utter(draw_voice(0, generator), "angry", "both", generator)
        pieces += [np.zeros(24000, np.float32), sound]
        times.append(((at + 24000) / RATE, (at + 24000 + len(sound)) / RATE))
        at += 24000 + len(sound)
    path = tmp_path_factory.mktemp("recordings") / "spoken.wav"
    soundfile.write(path, np.concatenate([*pieces, np.zeros(24000, np.float32)]), RATE)
    return path, times
