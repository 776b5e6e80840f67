import numpy as np
import pytest
import torch

from tacfn_hf import TacfnConfig


def test_defaults_are_those_of_the_design():
    config = TacfnConfig()
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (768, 2, 8)
    assert (config.intermediate_size, config.gate_hidden_size, config.hidden_dropout_prob) == (3072, 256, 0.2)
    assert config.num_labels == 4
    assert config.temperature == 1.0


def test_labels_say_how_many_there_are():
    names = {0: "angry", 1: "sad"}
    assert TacfnConfig(id2label=names, label2id={"angry": 0, "sad": 1}).num_labels == 2
    assert TacfnConfig(num_labels=7).num_labels == 7


def test_save_and_reload_is_equal(tmp_path):
    config = TacfnConfig(
        hidden_size=32, num_labels=3, class_weights=[1.0, 2.0, 0.5], temperature=1.7, problem_type="regression"
    )
    config.text_temperature = 2.5
    config.save_pretrained(tmp_path)
    assert TacfnConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
    assert config.to_dict()["temperature"] == 1.7


@pytest.mark.parametrize(
    ("alone", "expected"),
    [
        ({}, (2.0, 2.0, 2.0)),
        ({"audio_temperature": 0.5, "text_temperature": 3}, (0.5, 2.0, 3)),
        ({"text_temperature": 3}, (2.0, 2.0, 3)),
    ],
)
def test_the_temperature_of_a_sample(alone, expected):
    config = TacfnConfig(temperature=2.0, **alone)
    betas = (1.0, 0.999, 0.0)
    assert tuple(map(config.temperature_of, betas)) == expected
    assert config.temperature_of(np.array(betas)).tolist() == list(expected)
    assert config.temperature_of(torch.tensor(betas)[:, None]).tolist() == [[value] for value in expected]
    assert config.temperature_of(float("nan")) == 2.0  # the beta of a model without a gate


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"hidden_size": 30}, "num_attention_heads is 8: it must divide hidden_size 30"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"audio_feature_size": -1}, "audio_feature_size is -1"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0"),
        ({"modality_dropout_prob": -0.1}, "modality_dropout_prob is -0.1"),
        ({"class_weights": [1.0]}, "it must hold 4 positive numbers"),
        ({"class_weights": [1.0, 1.0, 1.0, 0.0]}, "it must hold 4 positive numbers"),
        ({"temperature": 0.0}, "temperature is 0.0: it must be a positive number"),
        ({"temperature": -1}, "temperature is -1: it must be a positive number"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"audio_temperature": 0}, "audio_temperature is 0: it must be a positive number"),
        ({"text_temperature": float("nan")}, "text_temperature is nan"),
        ({"hidden_size": "64"}, "hidden_size"),
    ],
)
def test_a_wrong_value_has_its_sentence(arguments, sentence):
    with pytest.raises(Exception, match=sentence):
        TacfnConfig(**arguments)
