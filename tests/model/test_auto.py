"""Saving, loading and the Auto classes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForSequenceClassification,
    logging,
)

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification, TacfnModel


def inputs():
    mask_t = torch.zeros(2, 4, dtype=torch.bool)
    mask_t[1, 2:] = True
    return {"h_a": torch.randn(2, 7, 12), "h_t": torch.randn(2, 4, 16), "mask_t": mask_t}


def test_the_auto_classes_know_the_model(config):
    assert type(AutoConfig.for_model("tacfn")) is TacfnConfig
    assert type(AutoModel.from_config(config)) is TacfnModel
    for auto in (AutoModelForSequenceClassification, AutoModelForAudioClassification):
        assert type(auto.from_config(config)) is TacfnForSequenceClassification


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForSequenceClassification, AutoModelForAudioClassification])
def test_a_classifier_comes_back_with_its_weights(model, tmp_path, auto):
    model.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path)
    assert type(loaded) is TacfnForSequenceClassification
    weights = loaded.state_dict()
    assert weights.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(weights[name], value), name


def test_a_base_model_comes_back_as_one(config, model, tmp_path):
    TacfnModel(config).save_pretrained(tmp_path / "base")
    assert type(AutoModel.from_pretrained(tmp_path / "base")) is TacfnModel
    # The base model inside a classifier shares its config: each folder must get its own map.
    model.save_pretrained(tmp_path / "classifier")
    model.model.save_pretrained(tmp_path / "inner")
    model.save_pretrained(tmp_path / "again")
    maps = {
        f: json.loads((tmp_path / f / "config.json").read_text())["auto_map"] for f in ("classifier", "inner", "again")
    }
    assert maps["inner"] == {
        "AutoConfig": "configuration_tacfn.TacfnConfig",
        "AutoModel": "modeling_tacfn.TacfnModel",
    }
    assert maps["classifier"] == maps["again"]
    assert maps["again"]["AutoModel"] == "modeling_tacfn.TacfnForSequenceClassification"


def test_a_missing_weight_is_named(model, tmp_path, caplog):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["classifier.out_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    logging.enable_propagation()
    try:
        _, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    finally:
        logging.disable_propagation()
    assert set(info["missing_keys"]) == {"classifier.out_proj.weight"}
    assert "classifier.out_proj.weight" in caplog.text


def test_device_map_with_offloaded_blocks(model, tmp_path):
    batch = inputs()
    with torch.no_grad():
        expected = model(**batch).logits
    model.save_pretrained(tmp_path / "model")
    names = [n for n, _ in model.named_children()]
    assert names == ["model", "classifier"]
    device_map = {
        **{f"model.{name}_{part}": "cpu" for name in ("audio", "text") for part in ("standardizer", "distance")},
        "model.audio_projection": "cpu",
        "model.text_projection": "cpu",
        "model.cross_modal.layers.0": "disk",
        "model.cross_modal.layers.1": "cpu",
        "model.beta_gate": "disk",
        "classifier": "cpu",
    }
    for where in (device_map, "auto"):
        loaded = AutoModel.from_pretrained(tmp_path / "model", device_map=where, offload_folder=tmp_path / "offload")
        with torch.no_grad():
            torch.testing.assert_close(loaded(**batch).logits, expected, atol=1e-6, rtol=1e-6)
