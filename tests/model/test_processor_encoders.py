"""The encoders of a processor: they give what plain transformers gives, are shared, and are saved with it or named."""

import copy
import json
import os
import pickle
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny import save_speech_encoder
from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor, AutoTokenizer
from utterances import AUDIOS, RATE, TEXTS, assert_same, difference, features_of, waveform

from tacfn_hf import TacfnProcessor
from tacfn_hf.model import cpu_kernels_tacfn


@pytest.mark.parametrize(
    ("layer", "special"), [(-1, True), (-1, False), (1, True), (-3, True), ([0, 2], True), ([1, -1], False)]
)
def test_text_features_are_those_of_plain_transformers(encoders, layer, special):
    processor = TacfnProcessor.from_encoders(*encoders, text_layer=layer, add_special_tokens=special)
    tokenizer, model = AutoTokenizer.from_pretrained(encoders[0]), AutoModel.from_pretrained(encoders[0]).eval()
    texts = [text for text in TEXTS if text]
    batch = processor(text=texts)
    for i, text in enumerate(texts):
        ids = tokenizer(text, add_special_tokens=special, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden_states = model(ids, output_hidden_states=True).hidden_states
        expected = torch.stack([hidden_states[k] for k in ([layer] if isinstance(layer, int) else layer)]).mean(0)[0]
        assert difference(features_of(batch, "t", i), expected) < 1e-5
        assert (tokenizer.cls_token_id in ids[0]) == special


@pytest.mark.parametrize("layer", [-1, 2, 0, [0, 3], [1, -1]])
def test_audio_features_are_those_of_plain_transformers(encoders, layer):
    processor = TacfnProcessor.from_encoders(*encoders, audio_layer=layer)
    extractor, model = AutoFeatureExtractor.from_pretrained(encoders[1]), AutoModel.from_pretrained(encoders[1]).eval()
    audios = [audio for audio in AUDIOS if audio is not None]
    batch = processor(audio=audios, sampling_rate=RATE)
    for i, audio in enumerate(audios):
        with torch.no_grad():
            inputs = extractor(audio, sampling_rate=RATE, return_tensors="pt")
            hidden_states = model(inputs["input_values"], output_hidden_states=True).hidden_states
        expected = torch.stack([hidden_states[k] for k in ([layer] if isinstance(layer, int) else layer)]).mean(0)[0]
        assert difference(features_of(batch, "a", i), expected) < 1e-5


def test_provenance_says_what_makes_the_features(encoders):
    processor = TacfnProcessor.from_encoders(
        *encoders, text_layer=-1, audio_layer=[0, -1], add_special_tokens=False, dtype=torch.float16
    )
    text, audio = dict(processor.text_provenance), dict(processor.audio_provenance)
    assert re.fullmatch("sha256:[0-9a-f]{32}", text.pop("revision"))
    assert re.fullmatch("sha256:[0-9a-f]{32}", audio.pop("revision"))
    assert text == {"encoder": "bert", "layer": 2, "dtype": "float16", "add_special_tokens": False}
    assert audio == {"encoder": "wavlm", "layer": [0, 3], "dtype": "float16"}


def test_the_revision_of_a_folder_follows_its_files_and_not_its_place(encoders, own):
    first, moved = TacfnProcessor.from_encoders(*encoders), TacfnProcessor.from_encoders(*own)
    assert moved.text_provenance == first.text_provenance
    assert moved.audio_provenance == first.audio_provenance
    vocabulary = own[0] / "tokenizer_config.json"
    vocabulary.write_text(vocabulary.read_text().replace('"do_lower_case": true', '"do_lower_case": false'))
    changed = TacfnProcessor.from_encoders(*own)
    assert changed.text_provenance["revision"] != first.text_provenance["revision"]
    assert changed.audio_provenance == first.audio_provenance


def test_bfloat16_gives_float32_near_the_others(encoders, batch):
    processor = TacfnProcessor.from_encoders(*encoders, dtype="bfloat16")
    found = processor(text=TEXTS, audio=AUDIOS, sampling_rate=RATE)
    assert processor.text_encoder.model.dtype == processor.audio_encoder.model.dtype == torch.bfloat16
    assert processor.text_provenance["dtype"] == processor.audio_provenance["dtype"] == "bfloat16"
    for name in ("h_a", "h_t"):
        assert found[name].dtype == torch.float32
        assert 0 < difference(found[name], batch[name]) < 0.1


def test_encoders_are_loaded_once_and_shared(encoders, processor):
    other = TacfnProcessor.from_encoders(*encoders)
    assert other.audio_encoder is processor.audio_encoder is processor.audio_encoder
    assert other.text_encoder is processor.text_encoder
    for arguments in ({"audio_layer": 1, "text_layer": 1}, {"dtype": "bfloat16"}):
        another = TacfnProcessor.from_encoders(*encoders, **arguments)
        assert another.audio_encoder is not processor.audio_encoder
        assert another.text_encoder is not processor.text_encoder


def test_encoders_are_frozen(processor):
    for encoder in (processor.audio_encoder, processor.text_encoder):
        assert not encoder.training
        assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_weights_are_no_part_of_the_processor(encoders, processor, batch):
    weights = sum(path.stat().st_size for folder in encoders for path in Path(folder).glob("*.safetensors"))
    pickled = pickle.dumps(processor)
    assert not any(isinstance(value, torch.nn.Module) for value in processor.__dict__.values())
    assert len(pickled) < weights / 2
    for copied in (pickle.loads(pickled), copy.deepcopy(processor), copy.copy(processor)):
        assert copied.audio_encoder is processor.audio_encoder
        assert copied.text_encoder is processor.text_encoder
        assert_same(copied(text=TEXTS, audio=AUDIOS, sampling_rate=RATE), batch)


def test_onednn_is_for_whoever_asks_and_not_saved(encoders, batch, tmp_path, monkeypatch):
    used = []
    kernels = cpu_kernels_tacfn.CpuKernels
    monkeypatch.setattr(cpu_kernels_tacfn, "CpuKernels", lambda use: used.append(use) or kernels(use))
    there = cpu_kernels_tacfn.has_onednn()
    with_it = TacfnProcessor.from_encoders(*encoders, use_onednn=there)
    with_it.save_pretrained(tmp_path)
    loaded = TacfnProcessor.from_pretrained(tmp_path, use_onednn=False)
    assert TacfnProcessor.from_pretrained(tmp_path).use_onednn is None
    again = TacfnProcessor.from_pretrained(tmp_path, use_onednn=there)
    for processor, expected in ((with_it, there), (loaded, False), (again, there)):
        used.clear()
        found = processor(text=TEXTS, audio=AUDIOS, sampling_rate=RATE)
        assert set(used) == {expected}
        assert all(difference(found[name], batch[name]) < 1e-5 for name in ("h_a", "h_t"))


def test_a_token_is_neither_shown_nor_saved(encoders, tmp_path):
    processor = TacfnProcessor.from_encoders(*encoders, token="hf_secret")
    processor.save_pretrained(tmp_path)
    assert "hf_secret" not in repr(processor) + str(processor.to_dict())
    assert not any(b"hf_secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_encoders_are_loaded_once_where_threads_ask_together(own):
    processor = TacfnProcessor.from_encoders(*own)
    with ThreadPoolExecutor(8) as pool:
        assert len({id(encoder) for encoder in pool.map(lambda _: processor.text_encoder, range(8))}) == 1


BAD_ENCODERS = {
    "text not on the Hub": (
        {"text_encoder": "nobody/nothing"},
        "The text encoder 'nobody/nothing' can't be loaded, it is no folder here, and the Hub gave no model",
    ),
    "audio not on the Hub": (
        {"audio_encoder": "nobody/nothing"},
        "The audio encoder 'nobody/nothing' can't be loaded, it is no folder here, and the Hub gave no model",
    ),
    "no folder": ({"audio_encoder": "./no/such/folder"}, "'./no/such/folder' is neither a folder here nor a name"),
    "no name": ({"text_encoder": "a name with blanks"}, "'a name with blanks' is neither a folder here nor a name"),
    "text layer too high": (
        {"text_layer": 3},
        r"text_layer is 3: the encoder has the layers 0 \(the input of the first one\) to 2, or -1",
    ),
    "text layer too low": ({"text_layer": -4}, "text_layer is -4: the encoder has the layers 0"),
    "audio layer too high": ({"audio_layer": 4}, r"audio_layer is 4: the encoder has the layers 0 .* to 3"),
    "one of the layers": ({"audio_layer": [0, 4]}, r"audio_layer is \[0, 4\]: the encoder has the layers 0 .* to 3"),
    "no layers": ({"text_layer": []}, r"text_layer is \[\]: the encoder has the layers"),
    "dtype": ({"dtype": "float8"}, "dtype is 'float8': the encoders compute in float32, bfloat16, float16"),
    "dtype of integers": ({"dtype": torch.int8}, "dtype is 'int8': the encoders compute in"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_ENCODERS.values(), ids=BAD_ENCODERS)
def test_bad_encoders(encoders, arguments, message):
    with pytest.raises(ValueError, match=message):
        TacfnProcessor.from_encoders(**{"text_encoder": encoders[0], "audio_encoder": encoders[1], **arguments})


def test_encoders_of_the_wrong_kind_are_refused(encoders):
    text, audio = encoders
    with pytest.raises(ValueError, match=rf"The audio encoder '{text}' is a bert model: it must be one of .*wavlm"):
        TacfnProcessor.from_encoders(text, text)
    with pytest.raises(ValueError, match=rf"The text encoder '{audio}' is a wavlm model: it must be an encoder like"):
        TacfnProcessor.from_encoders(audio, audio)


def test_a_folder_without_a_model_is_refused(encoders, tmp_path):
    with pytest.raises(ValueError, match=rf"audio encoder '{tmp_path}' can't be loaded, this folder holds no model"):
        TacfnProcessor.from_encoders(encoders[0], tmp_path)
    with pytest.raises(ValueError, match=rf"text encoder '{tmp_path}' can't be loaded, this folder holds no model"):
        TacfnProcessor.from_encoders(tmp_path, encoders[1])


def test_an_audio_encoder_needs_its_feature_extractor(own):
    (own[1] / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=rf"The audio encoder '{own[1]}' has no feature extractor: "):
        TacfnProcessor.from_encoders(*own)


@pytest.mark.parametrize("names", [["tokenizer.json"], ["tokenizer.json", "tokenizer_config.json"]])
def test_a_text_encoder_needs_the_words_of_its_tokenizer(own, names):
    for name in names:
        (own[0] / name).unlink()
    with pytest.raises(ValueError, match=rf"The tokenizer of '{own[0]}' knows special tokens and no others: the file"):
        TacfnProcessor.from_encoders(*own)


def test_a_saved_processor_needs_the_words_of_its_tokenizer(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(
        ValueError, match=rf"The tokenizer of '{tmp_path}' knows special tokens and no others: the file"
    ):
        TacfnProcessor.from_pretrained(tmp_path)


class MakesFolder:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def with_pickle_alone(folder: Path, trace: Path) -> None:
    """Takes the safetensors away and leaves a pickle that, read, leaves a trace."""
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.ones(1), "trap": MakesFolder(trace)}, folder / "pytorch_model.bin")


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_pickled_weights_are_never_read(own, tmp_path, modality):
    folder = own[modality == "audio"]
    with_pickle_alone(folder, tmp_path / "trace")
    with pytest.raises(ValueError, match=rf"{modality} encoder {folder} holds no .safetensors file: .* never read"):
        TacfnProcessor.from_encoders(*own)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_pickled_weights_in_a_saved_folder_are_never_read(own, tmp_path, modality):
    TacfnProcessor.from_encoders(*own).save_pretrained(tmp_path / "saved")
    with_pickle_alone(tmp_path / "saved" / f"{modality}_encoder", tmp_path / "trace")
    loaded = TacfnProcessor.from_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match=f"The weights of the {modality} encoder .* can't be loaded"):
        loaded(text="Yes.", audio=waveform(0), sampling_rate=RATE)
    assert not (tmp_path / "trace").exists()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SETTINGS = {
    "defaults": {},
    "others": {
        "text_layer": 1,
        "audio_layer": [0, 2],
        "add_special_tokens": False,
        "dtype": "bfloat16",
        "max_audio_seconds": 7.5,
    },
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("loader", [TacfnProcessor, AutoProcessor], ids=["TacfnProcessor", "AutoProcessor"])
def test_a_saved_processor_comes_back_the_same(own, tmp_path, loader, settings):
    processor = TacfnProcessor.from_encoders(*own, **settings)
    expected = processor(text=TEXTS, audio=AUDIOS, sampling_rate=RATE)
    processor.save_pretrained(tmp_path / "saved")
    shutil.rmtree(tmp_path / "own")
    os.rename(tmp_path / "saved", tmp_path / "moved")
    loaded = loader.from_pretrained(tmp_path / "moved")
    assert type(loaded) is TacfnProcessor
    assert loaded.text_encoder is not processor.text_encoder
    assert_same(loaded(text=TEXTS, audio=AUDIOS, sampling_rate=RATE), expected)
    assert loaded.text_provenance == processor.text_provenance
    assert loaded.audio_provenance == processor.audio_provenance
    assert loaded.max_audio_seconds == processor.max_audio_seconds == settings.get("max_audio_seconds", 60.0)


def test_a_second_save_is_the_same(processor, tmp_path):
    processor.save_pretrained(tmp_path / "first")
    TacfnProcessor.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    first, second = files_of(tmp_path / "first"), files_of(tmp_path / "second")
    assert {"text_encoder/model.safetensors", "audio_encoder/model.safetensors", "processing_tacfn.py"} < set(first)
    assert second == first


def test_saving_over_the_folder_that_it_came_from_changes_nothing(processor, batch, tmp_path):
    processor.save_pretrained(tmp_path)
    before = files_of(tmp_path)
    loaded = TacfnProcessor.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path)
    assert files_of(tmp_path) == before
    assert_same(loaded(text=TEXTS, audio=AUDIOS, sampling_rate=RATE), batch)


def test_a_saved_processor_holds_only_the_layers_that_it_uses(encoders, tmp_path):
    TacfnProcessor.from_encoders(*encoders, text_layer=0, audio_layer=[2, 0]).save_pretrained(tmp_path)
    for folder, prefix, layers in (("text_encoder", "encoder.layer.", 1), ("audio_encoder", "encoder.layers.", 2)):
        assert json.loads((tmp_path / folder / "config.json").read_text())["num_hidden_layers"] == layers
        with safe_open(tmp_path / folder / "model.safetensors", "pt") as weights:
            kept = {key.removeprefix(prefix).split(".")[0] for key in weights.keys() if key.startswith(prefix)}
        assert kept == {str(k) for k in range(layers)}


@pytest.mark.parametrize("modality", ["text", "audio"])
@pytest.mark.parametrize("by", ["its hash", "its path"])
def test_a_folder_that_is_not_inside_is_never_followed(own, tmp_path, modality, by):
    processor = TacfnProcessor.from_encoders(*own)
    processor.save_pretrained(tmp_path / "saved")
    shutil.rmtree(tmp_path / "saved" / f"{modality}_encoder")
    name = own[modality == "audio"].name
    if by == "its path":
        name = str(own[modality == "audio"])
        config = json.loads((tmp_path / "saved" / "processor_config.json").read_text())
        config[f"{modality}_provenance"] |= {"encoder": name, "revision": "main"}
        (tmp_path / "saved" / "processor_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"saved names a folder, '{name}', as its {modality} encoder and does not ho"):
        TacfnProcessor.from_pretrained(tmp_path / "saved")


def test_an_encoder_with_weights_missing_is_refused(encoders, own):
    deeper = save_speech_encoder(own[1].parent / "deeper", num_hidden_layers=4)
    shutil.copy(Path(encoders[1], "model.safetensors"), deeper / "model.safetensors")
    with pytest.raises(ValueError, match=r"audio encoder .* are not those of its config \(missing: .*layers\.3"):
        TacfnProcessor.from_encoders(own[0], deeper)(audio=waveform(0), sampling_rate=RATE)


def test_a_processor_without_encoders_says_so(processor):
    bare = TacfnProcessor(processor.feature_extractor, processor.tokenizer, {"layer": 1, "dtype": "float32"})
    with pytest.raises(ValueError, match="does not know its audio encoder: make it with from_encoders or from_pretr"):
        bare(audio=waveform(0), sampling_rate=RATE)


def test_a_saved_processor_that_names_no_encoder_is_refused(processor, tmp_path):
    TacfnProcessor(processor.feature_extractor, processor.tokenizer).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="neither holds its audio encoder nor names one"):
        TacfnProcessor.from_pretrained(tmp_path)
