import itertools
import json

import numpy as np
import pytest
import torch

from tacfn_hf import TacfnConfig


def test_the_default_is_the_network_that_training_makes():
    config = TacfnConfig()
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (256, 0, 8)
    assert (config.intermediate_size, config.gate_hidden_size, config.head) == (1024, 128, "linear")
    assert config.num_labels == 4
    assert config.temperatures == {"both": 1.0, "audio": 1.0, "text": 1.0}


def test_labels_say_how_many_there_are():
    names = {0: "angry", 1: "sad"}
    assert TacfnConfig(id2label=names, label2id={"angry": 0, "sad": 1}).num_labels == 2
    assert TacfnConfig(num_labels=7).num_labels == 7


def test_save_and_reload_is_equal(tmp_path):
    config = TacfnConfig(hidden_size=32, num_labels=3, temperatures={"both": 1.7}, problem_type="regression")
    config.temperatures["text"] = 2.5
    config.save_pretrained(tmp_path)
    assert TacfnConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
    assert config.to_dict()["temperatures"] == {"both": 1.7, "audio": 1.7, "text": 2.5}


@pytest.mark.parametrize(
    ("temperatures", "expected"),
    [
        ({"both": 2.0}, (2.0, 2.0, 2.0)),
        ({"both": 2.0, "audio": 0.5, "text": 3}, (0.5, 2.0, 3)),
        ({"text": 3}, (1.0, 1.0, 3)),
    ],
)
def test_the_temperature_of_a_sample(temperatures, expected):
    config = TacfnConfig(temperatures=temperatures)
    has_audio, has_text = (True, True, False), (False, True, True)
    assert tuple(map(config.temperature_of, has_audio, has_text)) == expected
    assert config.temperature_of(np.array(has_audio), np.array(has_text)).tolist() == list(expected)
    assert config.temperature_of(torch.tensor(has_audio), torch.tensor(has_text)).tolist() == list(expected)


def test_temperatures_that_are_set_later_count_for_what_they_do_not_name():
    config = TacfnConfig()
    config.temperatures = {"both": 2.0, "text": 3.0}  # as `from_pretrained(..., temperatures=...)` does
    assert [config.temperature_of(*there) for there in ((True, True), (True, False), (False, True))] == [2.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"hidden_size": 30}, "num_attention_heads is 8: it must divide hidden_size 30"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"audio_feature_size": -1}, "audio_feature_size is -1"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0"),
        ({"feature_dropout_prob": -0.1}, "feature_dropout_prob is -0.1"),
        ({"head": "decoder"}, "head is 'decoder': it must be linear, mlp or queries"),
        ({"head": "queries"}, "head is queries, which attend to sequences: num_hidden_layers must be at least 1"),
        ({"num_classifier_layers": 2}, "TacfnConfig has no num_classifier_layers: give head"),
        ({"thresholds": [0.5]}, "thresholds is .*: it must be a number from 0 to 1 for each label"),
        ({"value_range": [5, 1]}, "value_range is .*: it must be the lowest and the highest value"),
        ({"temperatures": {"both": 0.0}}, r"temperatures\['both'\] is 0.0: it must be a positive number"),
        ({"temperatures": {"audio": float("inf")}}, r"temperatures\['audio'\] is inf"),
        ({"temperatures": {"text": float("nan")}}, r"temperatures\['text'\] is nan"),
        ({"temperatures": {"all": 1.0}}, "temperatures has 'all': its names are both, audio, text"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"class_weights": [1.0]}, "TacfnConfig has no class_weights: it is an argument of training"),
        ({"pool_features": False}, "TacfnConfig has no pool_features: it is of an older version"),
        ({"audio_temperature": 2.0}, "TacfnConfig has no audio_temperature: give temperatures"),
    ],
)
def test_a_wrong_value_has_its_sentence(arguments, sentence):
    with pytest.raises(Exception, match=sentence):
        TacfnConfig(**arguments)


def test_a_config_is_made_again_of_what_it_says():
    config = TacfnConfig(hidden_size=16, num_hidden_layers=1, temperatures={"both": 2.0})
    again = TacfnConfig(**{name: value for name, value in config.to_dict().items() if name != "model_type"})
    assert again.to_dict() == config.to_dict()
    with pytest.raises(TypeError, match="TacfnConfig has no standardize_features"):
        TacfnConfig(standardize_features=False)


def test_what_a_config_does_not_say_is_the_default_of_this_version():
    config = TacfnConfig.from_dict({"hidden_size": 128})
    assert config.to_dict() == TacfnConfig(hidden_size=128).to_dict()
    assert config.has_statistics


def older(tmp_path, **fields) -> TacfnConfig:
    """The config of a config.json that an older version wrote."""
    content = {"model_type": "tacfn", "hidden_size": 16, "num_hidden_layers": 1, "pool_features": False, **fields}
    (tmp_path / "config.json").write_text(json.dumps(content))
    return TacfnConfig.from_pretrained(tmp_path)


def test_what_training_put_into_an_older_config_is_left_out(tmp_path):
    config = older(tmp_path, class_weights=[1.0], gate_loss_weight=30.0, noise_prob=0.8, unimodal_loss_weight=1.0)
    assert config.to_dict() == older(tmp_path).to_dict()
    assert (config.head, config.hidden_dropout_prob, config.feature_dropout_prob) == ("mlp", 0.2, 0.0)


def test_the_temperatures_of_an_older_config(tmp_path):
    config = older(tmp_path, temperature=1.5, audio_temperature=None, text_temperature=2.0)
    assert config.temperatures == {"both": 1.5, "audio": 1.5, "text": 2.0}


@pytest.mark.parametrize("network", [{"pool_features": True}, {"gate_reads_distance": True}, {"num_hidden_layers": 0}])
def test_an_older_network_with_other_answers_is_refused(tmp_path, network):
    with pytest.raises(ValueError, match=f"The config has {next(iter(network))}: .* of an older version"):
        older(tmp_path, **network)


@pytest.mark.parametrize(("standardize_features", "again"), itertools.product([None, False, True], [False, True]))
def test_a_config_says_whether_its_checkpoint_has_statistics(tmp_path, standardize_features, again):
    config = older(tmp_path, **({} if standardize_features is None else {"standardize_features": standardize_features}))
    assert config.has_statistics is bool(standardize_features)
    if again:  # what is saved by this version has them
        config.save_pretrained(tmp_path)
        assert TacfnConfig.from_pretrained(tmp_path).has_statistics
