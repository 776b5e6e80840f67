"""What is loaded from a folder: no more than is used, whole or not at all, and no code."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import MINILM, config_for, save_speech_encoder, save_text_encoder
from transformers import BertModel, BertTokenizer, ModernBertConfig, ModernBertModel, WavLMModel

from tacfn_hf import TacfnForSequenceClassification, TacfnProcessor
from tacfn_hf.model.encoder_sources_tacfn import hash_of_folder
from tacfn_hf.training.setup import load_model


TEXT = "What a day, and what a night!"
WAVEFORM = torch.sin(torch.arange(5000) / 7)


def features(processor: TacfnProcessor) -> tuple[torch.Tensor, torch.Tensor]:
    batch = processor(text=TEXT, audio=WAVEFORM, sampling_rate=16000)
    return batch["h_t"], batch["h_a"]


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replaces weights of a folder by name; None takes one away."""
    weights = load_file(folder / "model.safetensors") | changes
    save_file({k: w for k, w in weights.items() if w is not None}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("config", [{}, {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}])
def test_layers_above_those_used_are_not_loaded(encoders, tmp_path, config):
    speech = save_speech_encoder(tmp_path, **config)
    whole = WavLMModel.from_pretrained(speech).eval()
    for layer, count, used in ((1, 1, [1]), (0, 1, [0]), ([2, 0], 2, [2, 0]), (-1, 3, [3]), (-2, 2, [2])):
        processor = TacfnProcessor.from_encoders(encoders[0], speech, audio_layer=layer)
        assert len(processor.audio_encoder.model.encoder.layers) == count
        values = processor.feature_extractor(WAVEFORM.numpy(), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            output = whole(**values, output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        expected = torch.stack([states[k] for k in used]).mean(dim=0)
        torch.testing.assert_close(features(processor)[1], expected, atol=1e-5, rtol=1e-5)
    for layer, count in ((1, 1), (-1, 2)):
        text_encoder = TacfnProcessor.from_encoders(encoders[0], speech, text_layer=layer).text_encoder
        assert len(text_encoder.model.encoder.layer) == count


def test_the_norm_behind_all_layers_is_no_part_of_an_inner_one(encoders, tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    whole = ModernBertModel(ModernBertConfig(**sizes, vocab_size=30522, pad_token_id=0)).eval()
    torch.nn.init.normal_(whole.final_norm.weight)
    whole.save_pretrained(tmp_path / "text")
    BertTokenizer.from_pretrained(MINILM).save_pretrained(tmp_path / "text")
    for layer in (1, 2, 3):
        processor = TacfnProcessor.from_encoders(tmp_path / "text", encoders[1], text_layer=layer)
        assert len(processor.text_encoder.model.layers) == layer
        ids = torch.tensor([processor.tokenizer(TEXT)["input_ids"]])
        with torch.no_grad():
            expected = whole(ids, output_hidden_states=True).hidden_states[layer]
        torch.testing.assert_close(features(processor)[0], expected, atol=1e-5, rtol=1e-5)
        processor.save_pretrained(tmp_path / f"saved {layer}")
        saved = TacfnProcessor.from_pretrained(tmp_path / f"saved {layer}")
        assert torch.equal(features(saved)[0], features(processor)[0])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_the_hash_of_a_folder_covers_each_byte(own, name, place):
    before = hash_of_folder(own[0])
    data = bytearray((own[0] / name).read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    (own[0] / name).write_bytes(data)
    assert hash_of_folder(own[0]) != before


def test_the_hash_of_a_folder_covers_the_names_of_its_files(own):
    before = hash_of_folder(own[0])
    (own[0] / "tokenizer_config.json").rename(own[0] / "tokenizer_settings.json")  # still the last one
    assert hash_of_folder(own[0]) != before


def test_the_hash_of_a_folder_covers_nothing_else(own):
    before = hash_of_folder(own[0])
    (own[0] / "README.md").write_text("A model.")
    (own[0] / ".gitattributes").write_text("*.safetensors filter=lfs")
    (own[0] / "runs").mkdir()
    (own[0] / "runs" / "state.json").write_text("{}")
    moved = own[0].rename(own[0].with_name("another name"))
    assert hash_of_folder(moved) == before


def test_a_weight_that_is_missing_is_named(own):
    rewrite(own[0], **{"encoder.layer.0.output.dense.weight": None})
    rewrite(own[1], **{"encoder.layers.1.feed_forward.output_dense.bias": None})
    processor = TacfnProcessor.from_encoders(*own)
    with pytest.raises(ValueError, match=r"text encoder .*bert.* \(missing: encoder\.layer\.0\.output\.dense\.weight;"):
        _ = processor.text_encoder
    with pytest.raises(ValueError, match=r"audio encoder .*wavlm.* \(missing: encoder\.layers\.1\.feed_forward\.out"):
        _ = processor.audio_encoder


def test_a_weight_of_another_shape_is_named(own):
    rewrite(own[0], **{"encoder.layer.0.output.dense.weight": torch.zeros(24, 40)})
    rewrite(own[1], **{"encoder.layers.1.feed_forward.output_dense.bias": torch.zeros(31)})
    processor = TacfnProcessor.from_encoders(*own)
    with pytest.raises(ValueError, match=r"text encoder .*bert.* of another shape: .*layer\.0\.output\.dense\.weight"):
        _ = processor.text_encoder
    with pytest.raises(ValueError, match=r"audio encoder .*wavlm.* of another shape: .*feed_forward\.output_dense\.bi"):
        _ = processor.audio_encoder


def test_weights_that_no_feature_needs_may_be_missing(encoders, own):
    rewrite(own[0], **{"pooler.dense.weight": None, "pooler.dense.bias": None})
    rewrite(own[1], masked_spec_embed=None)
    for found, expected in zip(
        features(TacfnProcessor.from_encoders(*own)), features(TacfnProcessor.from_encoders(*encoders))
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused(own, kept):
    file = own[0] / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    with pytest.raises(ValueError, match=f"The weights of the text encoder '{own[0]}' can't be loaded: "):
        _ = TacfnProcessor.from_encoders(*own).text_encoder


def test_weights_in_shards_are_one_model(encoders, own):
    model = BertModel.from_pretrained(own[0])
    (own[0] / "model.safetensors").unlink()
    model.save_pretrained(own[0], max_shard_size="20KB")
    shards = sorted(own[0].glob("model-*.safetensors"))
    assert len(shards) > 2
    processor = TacfnProcessor.from_encoders(*own)
    assert torch.equal(features(processor)[0], features(TacfnProcessor.from_encoders(*encoders))[0])
    shards[1].unlink()
    incomplete = TacfnProcessor.from_encoders(*own)
    assert incomplete.text_provenance["revision"] != processor.text_provenance["revision"]
    with pytest.raises(
        ValueError, match=f"The weights of the text encoder '{own[0]}' can't be loaded: .*{shards[1].name}"
    ):
        _ = incomplete.text_encoder


def test_a_folder_that_was_written_anew_is_loaded_anew(own, tmp_path):
    """A model that was trained on and saved in its place: features must be of the weights that the hash is of."""
    before = features(TacfnProcessor.from_encoders(*own))
    for folder, name in zip(own, ("encoder.layer.0.output.dense.bias", "encoder.layers.0.final_layer_norm.bias")):
        rewrite(folder, **{name: load_file(folder / "model.safetensors")[name] + 1})
    after = features(TacfnProcessor.from_encoders(*own))
    copies = [shutil.copytree(folder, tmp_path / "copies" / folder.name) for folder in own]
    for found, expected, other in zip(after, features(TacfnProcessor.from_encoders(*copies)), before):
        assert torch.equal(found, expected)
        assert not torch.equal(found, other)


def test_a_checkpoint_that_was_written_anew_is_loaded_anew(encoders, own, tmp_path):
    TacfnProcessor.from_encoders(*own).save_pretrained(tmp_path / "saved")
    before = features(TacfnProcessor.from_pretrained(tmp_path / "saved"))
    others = (
        save_text_encoder(tmp_path / "other text", intermediate_size=40),
        save_speech_encoder(tmp_path / "other speech", intermediate_size=40),
    )
    other = TacfnProcessor.from_encoders(*others)
    other.save_pretrained(tmp_path / "saved")
    after = features(TacfnProcessor.from_pretrained(tmp_path / "saved"))
    for found, expected, old in zip(after, features(other), before):
        assert torch.equal(found, expected)
        assert not torch.equal(found, old)


@pytest.mark.parametrize("revision", ["main", "4c66d4806a428f2e922ccfa1a962776e232d487b", None])
def test_a_name_that_is_a_folder_here_is_not_followed(own, tmp_path, monkeypatch, revision):
    TacfnProcessor.from_encoders(*own).save_pretrained(tmp_path / "saved")
    shutil.rmtree(tmp_path / "saved" / "text_encoder")
    shutil.copytree(own[0], tmp_path / "here" / "lab" / "text")
    file = tmp_path / "saved" / "processor_config.json"
    config = json.loads(file.read_text())
    config["text_provenance"] |= {"encoder": "lab/text", "revision": revision}
    file.write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="saved names a folder, 'lab/text', as its text encoder and does not hold it"):
        TacfnProcessor.from_pretrained(tmp_path / "saved")


@pytest.mark.parametrize("model_type", ["bert", "planted"])
def test_code_in_a_folder_is_never_run(encoders, own, tmp_path, model_type):
    marker = tmp_path / "planted code ran"
    (own[0] / "planted.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "import transformers\n"
        "class Config(transformers.BertConfig): pass\n"
        "class Model(transformers.BertModel): config_class = Config\n"
        "class Tokenizer(transformers.BertTokenizer): pass\n"
    )
    maps = {
        "config.json": {"AutoConfig": "planted.Config", "AutoModel": "planted.Model"},
        "tokenizer_config.json": {"AutoTokenizer": ["planted.Tokenizer", "planted.Tokenizer"]},
    }
    for name, auto_map in maps.items():
        settings = json.loads((own[0] / name).read_text()) | {"auto_map": auto_map}
        settings |= {"model_type": model_type} if name == "config.json" else {}
        (own[0] / name).write_text(json.dumps(settings))
    if model_type == "bert":
        assert torch.equal(
            features(TacfnProcessor.from_encoders(*own))[0], features(TacfnProcessor.from_encoders(*encoders))[0]
        )
    else:
        with pytest.raises(ValueError, match=f"The text encoder '{own[0]}' can't be loaded, this folder holds no mod"):
            TacfnProcessor.from_encoders(*own)
    assert not marker.exists()


def test_weights_that_are_not_used_are_no_warning(own, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    level = logging.getLogger("transformers").level
    processor = TacfnProcessor.from_encoders(*own, text_layer=1, audio_layer=1)
    assert processor.audio_encoder.layers == processor.text_encoder.layers == (1,)
    assert not [record for record in caplog.records if record.name.startswith("transformers")]
    assert logging.getLogger("transformers").level == level


def test_adapters_that_name_other_weights_are_not_followed(encoders, processor, tmp_path):
    """With peft installed, transformers would load the model that `adapter_config.json` names."""
    shutil.copytree(encoders[1], tmp_path / "speech")
    other = {"base_model_name_or_path": str(tmp_path / "other"), "peft_type": "LORA"}
    (tmp_path / "speech" / "adapter_config.json").write_text(json.dumps(other))
    named = TacfnProcessor.from_encoders(encoders[0], tmp_path / "speech")
    with pytest.raises(ValueError, match="speech holds adapter_config.json, which names other weights"):
        named(audio=WAVEFORM, sampling_rate=16000)
    shutil.copy(tmp_path / "speech" / "adapter_config.json", tmp_path)
    TacfnForSequenceClassification(config_for(processor)).save_pretrained(tmp_path)
    for load in (TacfnForSequenceClassification.from_pretrained, load_model):
        with pytest.raises(ValueError, match="holds adapter_config.json, which names other weights"):
            load(str(tmp_path))
