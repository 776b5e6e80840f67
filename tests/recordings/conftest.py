"""A recording of synthetic speech whose truth is known, and a model with its processor."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny import SPEECH_SIZES, config_for
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC, pipeline

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


@pytest.fixture(scope="session")
def letters(tmp_path_factory) -> Path:
    """A model of random weights that writes down letters."""
    folder = tmp_path_factory.mktemp("letters")
    vocabulary = {"<pad>": 0, "<unk>": 1, "|": 2, **{letter: 3 + i for i, letter in enumerate("abcdefgh")}}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(folder / "vocab.json", bos_token=None, eos_token=None).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    torch.manual_seed(1)
    config = Wav2Vec2Config(**SPEECH_SIZES, vocab_size=len(vocabulary), initializer_range=2.0)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder
