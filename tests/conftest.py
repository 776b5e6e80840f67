"""Tiny models and batches that the tests share. Nothing here needs a network."""

import os


os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from tiny import save_speech_encoder, save_text_encoder

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification, TacfnProcessor


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def config() -> TacfnConfig:
    return TacfnConfig(
        audio_feature_size=12,
        text_feature_size=16,  # equal to hidden_size: this side has no projection
        hidden_size=16,
        num_hidden_layers=2,
        head="mlp",
        hidden_dropout_prob=0.2,
        feature_dropout_prob=0.0,
        num_attention_heads=4,
        gate_hidden_size=8,
        initializer_range=0.3,  # far from linear, so that a wrong term shows
    )


@pytest.fixture
def model(config) -> TacfnForSequenceClassification:
    return TacfnForSequenceClassification(config).eval()


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> tuple[str, str]:
    """Folders of a tiny text encoder and a tiny WavLM."""
    folder = tmp_path_factory.mktemp("encoders")
    return str(save_text_encoder(folder / "bert")), str(save_speech_encoder(folder / "wavlm"))


@pytest.fixture(scope="session")
def processor(encoders) -> TacfnProcessor:
    return TacfnProcessor.from_encoders(*encoders)
