"""What is trained of a model with its encoders: layers, adapters, the weights of layers, and at which rates."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import config_for

from tacfn_hf import TacfnDualEncoderForSequenceClassification, TacfnForSequenceClassification, TacfnProcessor
from tacfn_hf.features.raw_collation import TacfnRawDataCollator
from tacfn_hf.training.arguments import FineTuningArguments
from tacfn_hf.training.fine_tuning import layer_weights, save_adapter
from tacfn_hf.training.trainable import add_lora, freeze, learning_rates
from tacfn_hf.training.trainer import build_trainer
from tacfn_hf.training.training_arguments import TacfnFineTuningArguments


torch.set_num_threads(1)


def make(encoders, learn_layer_weights: bool = False, audio_layer=-1):
    processor = TacfnProcessor.from_encoders(*encoders, audio_layer=audio_layer)
    torch.manual_seed(0)
    fusion = TacfnForSequenceClassification(config_for(processor))
    model = TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor, learn_layer_weights).eval()
    return model, processor.from_model(model), fusion


def batch_of(processor) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    rows = [
        {"audio": {"array": generator.normal(size=size), "sampling_rate": 16000}, "text": text}
        for size, text in ((4000, "Hello there!"), (2500, "No."))
    ]
    return TacfnRawDataCollator(processor)(rows)


def arguments(**given) -> FineTuningArguments:
    return FineTuningArguments(model_name_or_path="", **given)


def test_of_adapters_only_these_and_the_fusion_network_learn_and_merged_they_give_the_same(encoders, tmp_path):
    model, processor, fusion = make(encoders)
    tuning = arguments(lora_rank=2, frozen_audio_layers=1)
    freeze(model, tuning)
    tuned = add_lora(model, tuning)
    batch, labels = batch_of(processor), torch.tensor([0, 1])
    tuned(**batch, labels=labels).loss.backward()
    learning = {name for name, parameter in tuned.named_parameters() if parameter.grad is not None}
    assert all("lora_" in name or "_encoder." not in name for name in learning)
    for part in (
        "audio_encoder.model.encoder.layers.1",
        "text_encoder.model.encoder.layer.0",
        "classifier",
        "beta_gate",
    ):
        assert any(part in name for name in learning), part
    assert not any("audio_encoder.model.encoder.layers.0." in name for name in learning)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
        expected = tuned(**batch).logits
        save_adapter(tuned, str(tmp_path))
        saved = load_file(tmp_path / "adapter_model.safetensors")
        assert all("lora_" in name or "_encoder." not in name for name in saved)
        from peft import PeftModel

        again = PeftModel.from_pretrained(make(encoders)[0], tmp_path).eval()
        assert torch.allclose(again(**batch).logits, expected, atol=1e-5)
        assert not torch.allclose(make(encoders)[0](**batch).logits, expected, atol=1e-2)
        assert torch.allclose(tuned.merge_and_unload()(**batch).logits, expected, atol=1e-5)


def test_adapters_that_match_nothing(encoders, monkeypatch):
    model, _, _ = make(encoders)
    with pytest.raises(ValueError, match="lora_target_modules is query: no linear map .* audio encoder .*q_proj"):
        add_lora(model, arguments(lora_rank=2, lora_target_modules=["query"]))
    with pytest.raises(ValueError, match="lora_alpha, lora_target_modules is given without lora_rank"):
        freeze(model, arguments(lora_alpha=2, lora_target_modules=["query"]))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"lora_rank needs the package peft: pip install 'tacfn-hf\[lora\]'"):
        add_lora(model, arguments(lora_rank=2))


def test_frozen_layers_do_not_learn(encoders):
    model, processor, _ = make(encoders)
    freeze(model, arguments(frozen_audio_layers=2, frozen_text_layers=1))
    model(**batch_of(processor), labels=torch.tensor([0, 1])).loss.backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    of_encoders = {".".join(name.split(".")[:5]) for name in learning if "_encoder." in name}
    assert of_encoders == {"audio_encoder.model.encoder.layers.2", "text_encoder.model.encoder.layer.1"}
    with pytest.raises(ValueError, match="frozen_text_layers is 3: the text encoder has 2 layers"):
        freeze(model, arguments(frozen_text_layers=3))
    with pytest.raises(ValueError, match="tune_front and lora_rank are both given"):
        freeze(model, arguments(tune_front=True, lora_rank=2))


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_rates_fall_from_layer_to_layer(lora_rank, encoders, tmp_path):
    model, processor, _ = make(encoders)
    tuning = arguments(
        encoder_learning_rate=1e-3, layerwise_lr_decay=0.5, lora_rank=lora_rank, tune_front=lora_rank is None
    )
    freeze(model, tuning)
    tuned = model if lora_rank is None else add_lora(model, tuning)
    with pytest.raises(ValueError, match=r"layerwise_lr_decay is -1 .*: they must be in \(0, 1\]"):
        learning_rates(tuned, arguments(layerwise_lr_decay=-1), 1e-2)
    rates = learning_rates(tuned, tuning, 1e-2)
    args = TacfnFineTuningArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", eval_strategy="no",
        save_strategy="no", load_best_model_at_end=False)  # fmt: skip
    trainer = build_trainer(tuned, args, {}, TacfnRawDataCollator(processor), rates)
    names = {id(parameter): name for name, parameter in tuned.named_parameters()}
    found = {
        names[id(parameter)].removeprefix("base_model.model."): group["lr"]
        for group in trainer.create_optimizer().param_groups
        for parameter in group["params"]
    }
    expected = {
        "audio_encoder.model.encoder.layers.2.": 1e-3,
        "audio_encoder.model.encoder.layers.1.": 5e-4,
        "audio_encoder.model.encoder.layers.0.": 2.5e-4,
        "text_encoder.model.encoder.layer.1.": 1e-3,
        "text_encoder.model.encoder.layer.0.": 5e-4,
        "classifier.": 1e-2,
        "model.beta_gate.": 1e-2,
    }
    if lora_rank is None:
        expected |= {"audio_encoder.model.feature_extractor.": 1.25e-4, "text_encoder.model.embeddings.": 2.5e-4}
    for start, rate in expected.items():
        of_part = {found[name] for name in found if name.startswith(start)}
        assert of_part == {rate}, start
    assert len(found) == sum(parameter.requires_grad for parameter in tuned.parameters())


def test_weights_of_layers_start_as_the_mean_and_learn(encoders):
    mean, processor, _ = make(encoders, audio_layer=[1, 2, 3])
    model, _, _ = make(encoders, learn_layer_weights=True, audio_layer=[1, 2, 3])
    batch = batch_of(processor)
    assert torch.allclose(model(**batch).logits, mean(**batch).logits, atol=1e-6)
    assert layer_weights(model) == {"audio": {"1": 0.3333, "2": 0.3333, "3": 0.3333}}
    weight = model.audio_encoder.layer_mix.weight
    model(**batch, labels=torch.tensor([0, 1])).loss.backward()
    assert weight.grad.abs().max() > 0
    with torch.no_grad():
        weight.copy_(torch.tensor([0.0, 50.0, 0.0]))
    one, _, _ = make(encoders, audio_layer=[2])
    assert torch.allclose(model(**batch).h_a, one(**batch).h_a, atol=1e-5)
    with pytest.raises(ValueError, match="learn_layer_weights is True, and each encoder gives one layer"):
        make(encoders, learn_layer_weights=True)


def test_learned_weights_are_saved_and_make_the_features_of_the_processor(encoders, tmp_path):
    model, processor, _ = make(encoders, learn_layer_weights=True, audio_layer=[1, 2, 3])
    before = processor.audio_provenance
    with torch.no_grad():
        model.audio_encoder.layer_mix.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
    model.save_pretrained(tmp_path)
    loaded = TacfnDualEncoderForSequenceClassification.from_pretrained(tmp_path)
    batch = batch_of(processor)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    processor = processor.from_model(loaded)
    assert processor.audio_provenance != before
    samples = np.random.default_rng(0).normal(size=4000)
    assert torch.allclose(processor(audio=samples, sampling_rate=16000)["h_a"][0], model(**batch).h_a[0], atol=1e-5)
