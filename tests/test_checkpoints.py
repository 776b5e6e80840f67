"""Checkpoints that released versions wrote, one folder for each, give what they gave then."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from tacfn_hf import TacfnForSequenceClassification


FOLDERS = sorted(path for path in Path(__file__).with_name("checkpoints").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_checkpoint_of_a_released_version(folder, capfd):
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert "standardizer" not in capfd.readouterr().err  # it needs no statistics: nothing is missing
    assert not any(info.values())
    assert type(model) is TacfnForSequenceClassification
    assert model.config.id2label == {0: "neutral", 1: "angry", 2: "sad"}
    expected = {name: torch.tensor(value) for name, value in json.loads((folder / "expected.json").read_text()).items()}
    with torch.no_grad():
        output = model.eval()(expected["h_a"], expected["h_t"])
    assert (output.logits - expected["logits"]).abs().max() < 1e-5
    assert (output.beta - expected["beta"]).abs().max() < 1e-5
