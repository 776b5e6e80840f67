"""The probe of layers: means of each layer, and a linear model that is tested on other groups."""

import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from tiny import MINILM, save_speech_encoder

from tacfn_hf import TacfnProcessor


sys.path.append(str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

from layer_probe import layer_means, layer_weights, linear_recall  # noqa: E402


pytestmark = pytest.mark.slow


def test_means_are_those_of_single_layers(tmp_path):
    folder = save_speech_encoder(tmp_path)
    generator = np.random.default_rng(0)
    samples = [{"array": generator.normal(size=4000 + 700 * i), "sampling_rate": 16000} for i in range(2)]
    rows = Dataset.from_dict({"id": ["a", "b"], "audio": samples})
    means = layer_means(TacfnProcessor.from_encoders(MINILM, folder, audio_layer=[0, 1, 2, 3]), rows, 4)
    for layer in range(4):
        processor = TacfnProcessor.from_encoders(MINILM, folder, audio_layer=layer)
        for row, expected in zip(rows, means[:, layer], strict=True):
            (h,) = processor.encode_audio([processor.load_audio(row["audio"])])
            assert np.allclose(h.mean(dim=0), expected, atol=1e-5)


def test_what_only_tells_the_groups_apart_is_worth_nothing():
    generator = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(12), 20), np.tile(np.arange(4), 60)
    centres = generator.normal(size=(4, 6))
    of_groups = generator.normal(size=(12, 4, 6))  # each group has centres of its own
    knows = centres[labels] + 0.1 * generator.normal(size=(240, 6))
    rote = of_groups[groups, labels] + 0.1 * generator.normal(size=(240, 6))
    assert linear_recall(knows, labels, groups, 4)["UA"] > 95
    assert linear_recall(rote, labels, groups, 4)["UA"] < 50


def test_the_layer_that_knows_gets_the_weight():
    generator = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 100)
    layers = generator.normal(size=(300, 4, 5))
    layers[:, 2] = generator.normal(size=(3, 5))[labels] + 0.5 * layers[:, 2]
    assert layer_weights(layers, labels, 1.0)[2] > 0.8
    groups = np.repeat(np.arange(10), 30)
    of_mean = linear_recall(layers.mean(axis=1), labels, groups, 5)["UA"]
    assert linear_recall(layers, labels, groups, 5)["UA"] > of_mean + 5
