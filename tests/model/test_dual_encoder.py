"""The network with its encoders: its logits are those of its parts, and gradients do not depend on the batch."""

import json
import os
import subprocess
import sys
from operator import itemgetter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stock_encoders import save_whisper, speech_model, text_model, token_ids
from tiny import config_for
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, WhisperFeatureExtractor, pipeline

from tacfn_hf import (
    TacfnConfig,
    TacfnDualEncoderForSequenceClassification,
    TacfnForSequenceClassification,
    TacfnProcessor,
)
from tacfn_hf.model.exact_speech_encoders_tacfn import WaveformEncoder
from tacfn_hf.model.exact_text_encoders_tacfn import TextEncoder
from tacfn_hf.model.exact_whisper_encoder_tacfn import WhisperSpeechEncoder, WhisperWithoutDecoder
from tacfn_hf.model.feature_padding_tacfn import pad_features


torch.set_num_threads(1)

SIZES = {"audio_feature_size": 32, "text_feature_size": 24, "hidden_size": 16, "num_attention_heads": 2}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "feature_dropout_prob": 0.0}


def parts_of(speech: str, text: str, folder, **settings):
    """A fusion network, and the two encoders of its processor with their inputs of four utterances."""
    generator = np.random.default_rng(0)
    waveforms = [generator.normal(size=size).astype(np.float32) for size in (5001, 16000, 1600, 24319)]
    if speech.startswith("whisper"):
        model = WhisperWithoutDecoder.from_pretrained(save_whisper(folder / "whisper", 3)).eval()
        settings["audio_provenance"] = {"pad_to_30s": speech == "whisper"}
        audio = WhisperSpeechEncoder(model, [1, 3], **settings["audio_provenance"])
        extractor = WhisperFeatureExtractor.from_pretrained(folder / "whisper")
        waveforms[3] = np.tile(waveforms[3], 3)  # longer than a window
        inputs = [audio.prepare(waveform, extractor) for waveform in waveforms]
    else:
        audio = WaveformEncoder(speech_model(speech), [1, 3])
        inputs = [torch.tensor(waveform) for waveform in waveforms]
    torch.manual_seed(0)
    config = TacfnConfig(**SIZES, gate_hidden_size=8, num_labels=3, initializer_range=0.5, **settings)
    fusion = TacfnForSequenceClassification(config).eval()
    processor = SimpleNamespace(
        audio_encoder=audio,
        text_encoder=TextEncoder(text_model(text), [2]),
        audio_provenance=config.audio_provenance,
        text_provenance=None,
    )
    return fusion, processor, inputs


def batch_of(encoder, inputs: list, texts: list) -> dict[str, torch.Tensor]:
    """What the model takes; None in a list: this utterance lacks the modality."""
    batch = {}
    if any(x is not None for x in inputs):
        batch["input_values"], batch["input_lengths"] = encoder.collate(inputs)
    if any(texts):
        ids = pad_sequence([torch.tensor(x or [], dtype=torch.long) for x in texts], batch_first=True)
        lengths = torch.tensor([len(x or []) for x in texts])
        batch |= {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long()}
    return batch


@pytest.mark.parametrize(
    ("speech", "text"),
    [
        ("wavlm-base", "bert"),
        ("wavlm-large", "roberta"),
        ("wav2vec2-base", "distilbert"),
        ("hubert-base", "bert"),
        ("whisper", "bert"),
        ("whisper, not padded", "bert"),
    ],
)
@torch.no_grad()
def test_logits_are_those_of_frozen_encoders_and_the_fusion_network(speech, text, tmp_path):
    fusion, processor, inputs = parts_of(speech, text, tmp_path, num_hidden_layers=1)
    model = TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor)
    texts = token_ids()[:4]
    for without_audio, without_text in (([], []), ([1], [2]), ([0, 1, 2, 3], []), ([], [0, 1, 2, 3])):
        heard = [None if i in without_audio else x for i, x in enumerate(inputs)]
        read = [None if i in without_text else x for i, x in enumerate(texts)]
        features = {}
        for name, encoder, items in (("a", processor.audio_encoder, heard), ("t", processor.text_encoder, read)):
            there = [x for x in items if x is not None]
            if there:
                of_items = iter(encoder.encode(there))
                rows = [None if x is None else next(of_items) for x in items]
                features[f"h_{name}"], features[f"mask_{name}"] = pad_features(rows)
        expected = fusion(**features)
        found = model(**batch_of(processor.audio_encoder, heard, read))
        assert (found.logits - expected.logits).abs().max() < 1e-5 * expected.logits.abs().max()
        assert (found.beta - expected.beta).abs().max() < 1e-5


def switch_dropout_off(model: torch.nn.Module) -> None:
    """All that draws numbers in training."""
    for config in (model.config.audio_config, model.config.text_config):
        for name, value in vars(config).items():
            if ("drop" in name or name == "apply_spec_augment") and value:
                setattr(config, name, type(value)(0))
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(module, torch.nn.Dropout))):
                setattr(module, name, 0.0)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("speech", ["wavlm-base", "wav2vec2-large", "hubert-base", "whisper, not padded"])
def test_gradients_of_an_utterance_do_not_depend_on_its_batch(speech, checkpointing, tmp_path):
    fusion, processor, inputs = parts_of(speech, "bert", tmp_path, num_hidden_layers=1, **NO_DROPOUT)
    model = TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor).double()
    switch_dropout_off(model)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    texts = token_ids()[:4]

    def gradients(chosen: list[int]) -> dict[str, torch.Tensor]:
        model.zero_grad()
        batch = batch_of(processor.audio_encoder, [inputs[i] for i in chosen], [texts[i] for i in chosen])
        if "input_values" in batch:
            batch["input_values"] = batch["input_values"].double()
        model(**batch).logits[0].square().sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    alone, together = gradients([0]), gradients([0, 1, 2, 3])
    assert alone.keys() == together.keys()
    assert sum(gradient.abs().max() > 1e-9 for gradient in alone.values()) > 0.8 * len(alone)
    largest = max(gradient.abs().max() for gradient in alone.values())
    for name, gradient in alone.items():
        assert (gradient - together[name]).abs().max() < 1e-8 * largest, name


@torch.no_grad()
def test_spec_augment_masks_frames_in_training_alone(tmp_path):
    fusion, processor, inputs = parts_of("wavlm-base", "bert", tmp_path, num_hidden_layers=1, **NO_DROPOUT)
    model = TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor)
    switch_dropout_off(model)
    batch = batch_of(processor.audio_encoder, [inputs[1]], token_ids()[:1])

    def logits(training: bool, augment: bool) -> torch.Tensor:
        model.audio_encoder.model.config.apply_spec_augment = augment
        return model.train(training)(**batch).logits

    plain = logits(training=False, augment=False)
    assert torch.equal(logits(training=False, augment=True), plain)
    assert torch.allclose(logits(training=True, augment=False), plain, atol=1e-5)
    once, again = logits(training=True, augment=True), logits(training=True, augment=True)
    assert (once - plain).abs().max() > 1e-3
    assert (once - again).abs().max() > 1e-3


@torch.no_grad()
def test_saved_and_loaded_by_the_auto_classes(tmp_path):
    fusion, processor, inputs = parts_of("wavlm-base", "bert", tmp_path)
    model = TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor)
    model.save_pretrained(tmp_path / "model")
    batch = batch_of(processor.audio_encoder, inputs, token_ids()[:4])
    expected = model(**batch).logits
    assert AutoConfig.from_pretrained(tmp_path / "model").audio_config.model_type == "wavlm"
    for auto_class in (AutoModel, AutoModelForSequenceClassification):
        loaded = auto_class.from_pretrained(tmp_path / "model")
        assert type(loaded) is TacfnDualEncoderForSequenceClassification
        assert torch.equal(loaded(**batch).logits, expected)


def test_tokens_that_are_padded_in_front_are_refused(tmp_path):
    fusion, processor, _ = parts_of("wavlm-base", "bert", tmp_path)
    model = TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor)
    with pytest.raises(ValueError, match="attention_mask must be 1 up to the length"):
        model(input_ids=torch.ones(1, 3, dtype=torch.long), attention_mask=torch.tensor([[0, 1, 1]]))


def test_a_text_encoder_that_mixes_padding_is_refused(tmp_path):
    fusion, processor, _ = parts_of("wavlm-base", "bert", tmp_path)
    processor.text_encoder = TextEncoder(text_model("fnet"), [2])
    with pytest.raises(ValueError, match="The text encoder is a fnet model, which mixes padding"):
        TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor)


@pytest.fixture(scope="module")
def made(encoders, tmp_path_factory):
    """A model with its encoders, and the fusion network and the processor that it was made of, each in a folder."""
    text, audio = encoders
    processor = TacfnProcessor.from_encoders(text, audio, audio_layer=2)
    fusion = TacfnForSequenceClassification(config_for(processor)).eval()
    model = TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor)
    folders = tmp_path_factory.mktemp("made")
    fusion.save_pretrained(folders / "fusion")
    processor.save_pretrained(folders / "fusion")
    model.save_pretrained(folders / "model")
    processor.from_model(model).save_pretrained(folders / "model")
    return folders


def test_the_pipeline_opens_both_and_the_model_runs_its_own_encoders(made):
    waveform = np.random.default_rng(0).normal(size=9000).astype(np.float32)
    inputs = [{"audio": waveform, "text": "Hello there!"}, {"text": "Never."}, {"audio": waveform[:4000]}]
    of_parts = pipeline("multimodal-emotion-recognition", model=str(made / "fusion"), trust_remote_code=True)
    of_model = pipeline("multimodal-emotion-recognition", model=str(made / "model"), trust_remote_code=True)
    assert not (made / "model" / "audio_encoder").exists()

    def scores(recognizer) -> np.ndarray:
        found = recognizer(inputs, sampling_rate=16000)
        return np.array([[row["score"] for row in sorted(one["scores"], key=itemgetter("label"))] for one in found])

    expected = scores(of_parts)
    assert np.abs(scores(of_model) - expected).max() < 1e-5
    with torch.no_grad():
        of_model.model.audio_encoder.model.feature_projection.projection.weight.mul_(-3)
    moved = np.abs(scores(of_model) - expected).max(axis=1)
    assert moved[[0, 2]].min() > 1e-4 > 1e-5 > moved[1]


WITHOUT_THE_PACKAGE = """
import json, sys
sys.modules["tacfn_hf"] = None  # an import of it raises
import numpy as np
from transformers import AutoModelForSequenceClassification, AutoProcessor, pipeline
folder = sys.argv[1]
recognizer = pipeline("multimodal-emotion-recognition", model=folder, trust_remote_code=True, device="cpu")
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True).from_model(model)
waveform = np.sin(np.arange(9000, dtype=np.float32))
features = processor(text="Hello there!", audio=waveform, sampling_rate=16000)
found = {
    "modules": [type(of).__module__ for of in (recognizer, recognizer.model, model, processor)],
    "logits": model(**features).logits[0].tolist(),
    "scores": recognizer({"audio": waveform, "text": "Hello there!"}, sampling_rate=16000)["scores"],
}
print(json.dumps(found))
"""


@pytest.mark.slow
def test_it_gives_the_same_without_the_package(made, tmp_path):
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_", "PYTHONP"))
    }
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(made / "model")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=inherited | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        check=False,
        timeout=100,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    found = json.loads(process.stdout.splitlines()[-1])
    assert all(module.startswith("transformers_modules.") for module in found["modules"])
    waveform = np.sin(np.arange(9000, dtype=np.float32))
    processor = TacfnProcessor.from_pretrained(made / "fusion")
    fusion = TacfnForSequenceClassification.from_pretrained(made / "fusion").eval()
    with torch.no_grad():
        logits = fusion(**processor(text="Hello there!", audio=waveform, sampling_rate=16000)).logits[0]
    assert np.allclose(found["logits"], logits, rtol=0, atol=1e-5)
    scores = {row["label"]: row["score"] for row in found["scores"]}
    assert np.allclose([scores[f"LABEL_{i}"] for i in range(4)], logits.softmax(dim=0), rtol=0, atol=1e-5)


def test_a_processor_whose_encoders_are_in_the_model_says_so(made):
    processor = TacfnProcessor.from_pretrained(made / "model")
    with pytest.raises(ValueError, match=r"text encoder of this processor is part of its model: take processor.from_m"):
        processor(text="Hello!")
    model = TacfnDualEncoderForSequenceClassification.from_pretrained(made / "model")
    h_t = processor.from_model(model)(text="Hello!")["h_t"]
    assert torch.equal(h_t, TacfnProcessor.from_pretrained(made / "fusion")(text="Hello!")["h_t"])


def test_from_encoders(encoders):
    text, audio = encoders
    torch.manual_seed(0)
    model = TacfnDualEncoderForSequenceClassification.from_encoders(audio, text, audio_layer=[1, 2], num_labels=5)
    assert (model.config.num_labels, model.config.audio_layer, model.config.text_layer) == (5, [1, 2], [2])
    assert len(model.audio_encoder.model.encoder.layers) == 2
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_options_of_from_encoders_arrive_or_are_refused(encoders, tmp_path):
    text, audio = encoders
    make = TacfnDualEncoderForSequenceClassification.from_encoders
    whisper = save_whisper(tmp_path / "whisper", 3)
    given = {"pad_to_30s": False, "add_special_tokens": False, "dtype": "bfloat16", "hidden_size": 16}
    model = make(whisper, text, **given, num_attention_heads=2, num_labels=3)
    assert model.audio_encoder.options == {"pad_to_30s": False}
    assert model.config.text_provenance["add_special_tokens"] is False
    assert (model.config.hidden_size, model.config.num_labels, model.dtype) == (16, 3, torch.float32)
    weight = model.text_encoder.model.embeddings.word_embeddings.weight
    assert torch.equal(weight, weight.bfloat16().float())
    for unknown in ("pad_to_30", "max_audio_seconds", "audio_feature_size", "learn_layer_weights"):
        with pytest.raises(TypeError, match=f"^from_encoders of the model does not take {unknown}: it takes"):
            make(audio, text, **{unknown: 1})
    with pytest.raises(TypeError, match=r"TacfnProcessor.from_encoders\(\) got an unexpected keyword .*'pad_to_30'"):
        TacfnProcessor.from_encoders(text, audio, pad_to_30=False)


def test_a_processor_of_other_features_is_refused(encoders):
    text, audio = encoders
    fusion = TacfnForSequenceClassification(config_for(TacfnProcessor.from_encoders(text, audio, audio_layer=2)))
    other = TacfnProcessor.from_encoders(text, audio, audio_layer=1)
    with pytest.raises(ValueError, match="the processor has features of .*layer 1.* but the model was trained on .*"):
        TacfnDualEncoderForSequenceClassification.from_fusion(fusion, other)
    model = TacfnDualEncoderForSequenceClassification.from_encoders(audio, text, audio_layer=2)
    with pytest.raises(ValueError, match="The processor is for features of .* take the processor that the model was"):
        other.from_model(model)


def test_features_of_a_tuned_model_say_whose_they_are(encoders):
    text, audio = encoders
    processor = TacfnProcessor.from_encoders(text, audio)
    model = TacfnDualEncoderForSequenceClassification.from_encoders(audio, text)
    assert model.training
    before = processor.from_model(model)
    with torch.no_grad():
        model.text_encoder.model.embeddings.word_embeddings.weight.mul_(1.5)
    after = processor.from_model(model)
    assert before.audio_provenance == after.audio_provenance
    assert before.text_provenance["revision"] != after.text_provenance["revision"]
    once, again = after(text="Hello there!")["h_t"], after(text="Hello there!")["h_t"]
    assert torch.equal(once, again)  # without dropout, though the model is in training
    assert model.training


@pytest.mark.parametrize("layer", [0, 2])
def test_encoders_of_a_model_give_the_layers_that_it_takes(layer, encoders, tmp_path):
    """Also layer 0, the input of the first layer."""
    text, audio = encoders
    model = TacfnDualEncoderForSequenceClassification.from_encoders(audio, text, audio_layer=layer, text_layer=layer)
    model.save_pretrained(tmp_path)
    processor = TacfnProcessor.from_encoders(text, audio, audio_layer=layer, text_layer=layer).from_model(model)
    processor.save_pretrained(tmp_path)
    taken = TacfnProcessor.from_encoders(tmp_path, tmp_path)
    assert (taken.audio_provenance["layer"], taken.text_provenance["layer"]) == (layer, layer)
    inputs = {"text": "Hello there!", "audio": np.sin(np.arange(5000, dtype=np.float32)), "sampling_rate": 16000}
    found, expected = taken(**inputs), processor(**inputs)
    assert torch.equal(found["h_a"], expected["h_a"])
    assert torch.equal(found["h_t"], expected["h_t"])


def test_the_processor_of_the_untuned_encoders_beside_a_tuned_model_is_not_taken(made, tmp_path):
    model = TacfnDualEncoderForSequenceClassification.from_pretrained(made / "model")
    model.save_pretrained(tmp_path)
    TacfnProcessor.from_pretrained(made / "fusion").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is part of its model: take processor.from_model"):
        TacfnProcessor.from_pretrained(tmp_path)(text="Hello!")


@torch.no_grad()
def test_what_can_not_be_told_is_refused(tmp_path):
    fusion, processor, inputs = parts_of("whisper", "bert", tmp_path)
    model = TacfnDualEncoderForSequenceClassification.from_fusion(fusion, processor)
    values, lengths = processor.audio_encoder.collate(inputs)
    with pytest.raises(ValueError, match="input_lengths is None: Whisper"):
        model(values)
    with pytest.raises(ValueError, match="h_t is given beside input_values or input_ids"):
        model(values, lengths, h_t=torch.zeros(4, 24))
    with pytest.raises(TypeError, match="has its encoders already"):
        TacfnDualEncoderForSequenceClassification.from_fusion(model, processor)
