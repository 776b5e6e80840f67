"""Saving, loading and the Auto classes, with the package installed and without it."""

import json
import subprocess
import sys

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


WITHOUT_THE_PACKAGE = """
import sys, torch
sys.modules["tacfn_hf"] = None  # an import of it raises
from transformers import (
    AutoConfig, AutoModel, AutoModelForAudioClassification, AutoModelForSequenceClassification
)
folder, features, resaved = sys.argv[1:]
inputs = torch.load(features, weights_only=True)
logits = inputs.pop("logits")
for auto in (AutoModel, AutoModelForSequenceClassification, AutoModelForAudioClassification):
    model = auto.from_pretrained(folder, trust_remote_code=True)
    assert "transformers_modules" in type(model).__module__, type(model)
    with torch.no_grad():
        assert (model(**inputs).logits - logits).abs().max() < 1e-6
model.save_pretrained(resaved)
print(AutoConfig.from_pretrained(folder, trust_remote_code=True).model_type)
"""


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


def test_the_folder_works_where_the_package_is_not(model, tmp_path):
    folder, resaved, features = tmp_path / "model", tmp_path / "resaved", tmp_path / "features.pt"
    model.save_pretrained(folder)
    batch = inputs()
    with torch.no_grad():
        batch["logits"] = model(**batch).logits
    torch.save(batch, features)
    for source, target in ((folder, resaved), (resaved, tmp_path / "third")):
        run = subprocess.run(
            [sys.executable, "-c", WITHOUT_THE_PACKAGE, source, features, target],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.split() == ["tacfn"]
        assert {p.name for p in target.iterdir()} == {p.name for p in folder.iterdir()}


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
