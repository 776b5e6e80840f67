"""What training starts from: networks for a dataset, checkpoints, provenance, statistics."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from sessions import NAMES, make, session_parts, tiny

from tacfn_hf import TacfnConfig
from tacfn_hf.features.collation import as_features
from tacfn_hf.training.arguments import ModelArguments
from tacfn_hf.training.setup import build_model, check_features, few_threads, load_model, load_processor


torch.set_num_threads(1)  # the models are too small for more


def test_feature_sizes():
    check_features(make(), TacfnConfig(audio_feature_size=4, text_feature_size=5), "the dataset")
    with pytest.raises(ValueError, match="h_t of the dataset has 5 dimensions, the model's text_feature_size is 768"):
        check_features(make(), TacfnConfig(audio_feature_size=4), "the dataset")


MADE = {"encoder": "user/wavlm", "revision": "a" * 40, "layer": 12, "dtype": "float32"}


def with_provenance(dataset: Dataset, **changes) -> Dataset:
    return dataset.add_column("audio_provenance", [json.dumps({**MADE, **changes})] * len(dataset))


def test_a_new_model_remembers_what_made_its_features():
    config = tiny(with_provenance(make())).config
    assert config.audio_provenance == MADE
    assert config.text_provenance is None
    assert tiny(make()).config.audio_provenance is None


def test_features_of_another_encoder_are_refused():
    config = tiny(with_provenance(make())).config
    check_features(with_provenance(make()), config, "the dataset")
    check_features(make(), config, "the dataset")  # imported features do not say
    with pytest.raises(ValueError, match="h_a of the dataset has .*layer 9.* trained on features of .*layer 12"):
        check_features(with_provenance(make(), layer=9), config, "the dataset")
    mixed = concatenate_datasets([with_provenance(make(6)), with_provenance(make(6, "v"), revision="b" * 40)])
    with pytest.raises(ValueError, match="h_a of different encoders: .*aaaa.*bbbb"):
        tiny(mixed)


def test_going_on_with_features_of_another_encoder(tmp_path):
    tiny(with_provenance(make())).save_pretrained(tmp_path)
    build_model(with_provenance(make()), ModelArguments(str(tmp_path)))
    with pytest.raises(ValueError, match="dtype bfloat16.*dtype float32"):
        build_model(with_provenance(make(), dtype="bfloat16"), ModelArguments(str(tmp_path)))


def test_a_processor_that_makes_other_features_is_refused(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    fitting = TacfnConfig(audio_provenance=processor.audio_provenance, text_provenance=processor.text_provenance)
    assert load_processor(str(tmp_path), fitting).text_provenance == processor.text_provenance
    with pytest.raises(ValueError, match="processor .*layer 2.*trained on features of .*layer 1"):
        load_processor(str(tmp_path), TacfnConfig(text_provenance={**processor.text_provenance, "layer": 1}))


def test_new_model_fits_the_data():
    config = tiny(make(), hidden_dropout_prob=0.0).config
    assert (config.audio_feature_size, config.text_feature_size, config.hidden_size) == (4, 5, 16)
    assert config.id2label == dict(enumerate(NAMES))
    assert config.hidden_dropout_prob == 0.0
    assert config.gate_hidden_size == TacfnConfig().gate_hidden_size


@pytest.mark.parametrize("names", [["sad"], NAMES])
@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_one_label_is_nothing_to_learn(tmp_path, names, from_checkpoint):
    """Whether the dataset has one name, or several of which the rows have one."""
    train = make(6, label_names=names, label=[names.index("sad")] * 6)
    model_args = ModelArguments()
    if from_checkpoint:
        tiny(make()).save_pretrained(tmp_path)
        model_args = ModelArguments(str(tmp_path))
    with pytest.raises(ValueError, match="The training part has only one label, sad: "):
        build_model(train, model_args)


def test_going_on_from_a_checkpoint(tmp_path):
    model = tiny(make())
    model.save_pretrained(tmp_path / "model")
    again = build_model(make(label_names=["sad", "neutral", "angry"]), ModelArguments(str(tmp_path / "model")))
    assert again.config.id2label == model.config.id2label
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    with pytest.raises(ValueError, match="hidden_size can't be given beside model_name_or_path"):
        build_model(make(), ModelArguments(str(tmp_path / "model"), hidden_size=16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("classifier.out_proj.bias"), "missing: classifier.out_proj.bias"),
        (lambda weights: weights.update(extra=torch.ones(1)), "unexpected: extra"),
        (
            lambda weights: weights.update({"classifier.out_proj.bias": torch.ones(5)}),
            "shape: classifier.out_proj.bias",
        ),
    ],
)
def test_a_checkpoint_that_is_not_whole(tmp_path, change, message):
    model = tiny(make())
    weights = dict(model.state_dict())
    change(weights)
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(ValueError, match=message):
        load_model(str(tmp_path))


def test_a_new_model_has_the_statistics_of_the_training_part():
    train = session_parts()["train"]
    model = tiny(train).model
    positions = torch.cat([h for row in train if (h := as_features(row, "h_t", 0)) is not None]).double().numpy()
    assert np.allclose(model.text_standardizer.mean, positions.mean(axis=0), atol=1e-5)
    assert np.allclose(model.text_standardizer.std, positions.std(axis=0), rtol=1e-4)
    means = [h.double().mean(dim=0).numpy() for row in train if (h := as_features(row, "h_t", 0)) is not None]
    z = (np.stack(means) - positions.mean(axis=0)) / positions.std(axis=0)
    covariance = np.cov(z.T, ddof=0)
    shrunk = 0.98 * covariance + 0.02 * covariance.diagonal().mean() * np.eye(5)
    weight, bias = (value.double().numpy() for value in (model.text_distance.weight, model.text_distance.bias))
    assert np.allclose(weight.T @ weight, np.linalg.inv(shrunk), rtol=1e-3, atol=1e-3)
    assert np.allclose(bias, -weight @ z.mean(axis=0), atol=1e-4)
    assert model.text_distance.share_of_row == pytest.approx(0.98 / (len(z) - 1))


@pytest.mark.parametrize(("blocks", "asked", "threads"), [(0, None, 1), (1, None, 2), (0, "2", 2)])
def test_a_network_without_blocks_trains_on_one_thread(blocks, asked, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    torch.set_num_threads(2)
    try:
        with few_threads(TacfnConfig(num_hidden_layers=blocks)):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
