"""The processor gives what plain encoders give, alone and in any batch, is whole when saved, and names bad input."""

import copy
import io
import json
import os
import pickle
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from tiny import save_speech_encoder, save_text_encoder
from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor, AutoTokenizer

from tacfn_hf import TacfnProcessor
from tacfn_hf.model.decoding_tacfn import AudioError


RATE = 16000
TEXTS = [
    "Kids are talking by the door.",
    "No.",
    None,
    "Dogs are sitting by the door, and nobody minds, for it rains.",
    "What?",
    "A",
]


def waveform(i: int, size: int | None = None) -> np.ndarray:
    """0.1 to 0.8 s of noise, another for each i, of another loudness and mean."""
    generator = np.random.default_rng(i)
    size = generator.integers(1600, 12800) if size is None else size
    return (0.02 * (i + 1) * generator.normal(size=size) + 0.01 * i).astype(np.float32)


AUDIOS = [waveform(0), None, waveform(2), waveform(3, 400), waveform(4), waveform(5)]
SUFFIXES = {"a": AUDIOS, "t": TEXTS}


def flac(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return file.getvalue()


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative, by norm; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).norm() / expected.norm())


def features_of(batch: dict, suffix: str, i: int) -> torch.Tensor:
    """Row i without its padding."""
    return batch[f"h_{suffix}"][i][~batch[f"mask_{suffix}"][i]]


def assert_same(found: dict, expected: dict) -> None:
    """Bitwise."""
    assert list(found) == list(expected)
    for name in expected:
        assert torch.equal(found[name], expected[name])


@pytest.fixture(scope="module")
def alone(processor) -> list[dict]:
    """Each utterance in a batch of its own."""
    return [processor(text=text, audio=audio, sampling_rate=RATE) for text, audio in zip(TEXTS, AUDIOS)]


@pytest.fixture(scope="module")
def batch(processor) -> dict:
    return processor(text=TEXTS, audio=AUDIOS, sampling_rate=RATE)


@pytest.fixture
def own(encoders, tmp_path) -> tuple[Path, Path]:
    """Copies of both encoders' folders, which a test may change."""
    return tuple(Path(shutil.copytree(folder, tmp_path / "own" / Path(folder).name)) for folder in encoders)


def test_keys_types_and_shapes(processor, batch):
    assert list(batch) == ["h_a", "mask_a", "h_t", "mask_t"] == processor.model_input_names
    frames = [0 if audio is None else (len(audio) - 400) // 320 + 1 for audio in AUDIOS]
    tokens = [0 if text is None else len(processor.tokenizer(text)["input_ids"]) for text in TEXTS]
    assert min(max(frames), max(tokens)) > 10
    for suffix, lengths, size in (("a", frames, 32), ("t", tokens, 24)):
        h, mask = batch[f"h_{suffix}"], batch[f"mask_{suffix}"]
        assert (h.dtype, mask.dtype) == (torch.float32, torch.bool)
        assert h.shape == (len(TEXTS), max(lengths), size)
        assert mask.tolist() == [[k >= length for k in range(max(lengths))] for length in lengths]
        assert not h[mask].any()
        assert h[~mask].isfinite().all()
        assert not h.requires_grad


def test_one_is_a_batch_of_one(processor):
    single = processor(text="Yes.", audio=waveform(1), sampling_rate=RATE)
    assert single["h_a"].shape[0] == single["h_t"].shape[0] == 1
    assert_same(processor(text=["Yes."], audio=[waveform(1)], sampling_rate=RATE), single)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0], [2, 3, 5], [1, 5, 0, 3]])
def test_an_utterance_is_the_same_in_any_batch(processor, alone, order):
    batch = processor(text=[TEXTS[i] for i in order], audio=[AUDIOS[i] for i in order], sampling_rate=RATE)
    for suffix, given in SUFFIXES.items():
        for row, i in enumerate(order):
            if given[i] is None:
                assert batch[f"mask_{suffix}"][row].all()
                assert not batch[f"h_{suffix}"][row].any()
            else:
                assert difference(features_of(batch, suffix, row), alone[i][f"h_{suffix}"][0]) < 1e-5


def test_utterances_differ(batch):
    for suffix, given in SUFFIXES.items():
        firsts = [features_of(batch, suffix, i)[0] for i, item in enumerate(given) if item is not None]
        for i, one in enumerate(firsts):
            assert all(difference(one, other) > 1e-3 for other in firsts[i + 1 :])


@pytest.mark.parametrize("given", [{"text": ["Yes.", "No."]}, {"text": ["Yes.", "No."], "audio": [None, None]}])
def test_audio_that_nobody_has_has_no_keys(processor, given):
    assert list(processor(**given)) == ["h_t", "mask_t"]


@pytest.mark.parametrize("text", [None, [None, None]])
def test_text_that_nobody_has_has_no_keys(processor, text):
    batch = processor(text=text, audio=[waveform(0), waveform(1)], sampling_rate=RATE)
    assert list(batch) == ["h_a", "mask_a"]


def test_numpy_is_given_on_request(processor, batch):
    found = processor(text=TEXTS, audio=AUDIOS, sampling_rate=RATE, return_tensors="np")
    assert {name: value.dtype for name, value in found.items()} == {
        "h_a": np.float32,
        "mask_a": bool,
        "h_t": np.float32,
        "mask_t": bool,
    }
    for name, value in found.items():
        assert isinstance(value, np.ndarray)
        assert np.array_equal(value, batch[name].numpy())


def test_a_batch_can_be_cast_and_moved(processor):
    batch = processor(text="Yes.", audio=waveform(0), sampling_rate=RATE).to(torch.bfloat16)
    assert [value.dtype for value in batch.values()] == [torch.bfloat16, torch.bool] * 2
    assert {value.device.type for value in batch.to("meta").values()} == {"meta"}


FORMS = {
    "array": lambda folder: (waveform(7), RATE),
    "tensor": lambda folder: (torch.from_numpy(waveform(7)), RATE),
    "list of floats": lambda folder: (waveform(7).tolist(), RATE),
    "list of numpy's floats": lambda folder: (list(waveform(7)), RATE),
    "tuple of floats": lambda folder: (tuple(waveform(7).tolist()), RATE),
    "two channels": lambda folder: (np.stack([waveform(7), waveform(7)]), RATE),
    "struct": lambda folder: ({"array": waveform(7), "sampling_rate": RATE}, None),
    "float WAV": lambda folder: (str(folder / "u.wav"), None),
    "path": lambda folder: (folder / "u.wav", None),
    "bytes": lambda folder: ((folder / "u.wav").read_bytes(), None),
    "struct of bytes": lambda folder: ({"bytes": (folder / "u.wav").read_bytes(), "path": None}, None),
}


@pytest.mark.parametrize("many", [False, True], ids=["one", "in a list"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_audio_in_any_form(processor, tmp_path, form, many):
    soundfile.write(tmp_path / "u.wav", waveform(7), RATE, subtype="FLOAT")
    audio, rate = form(tmp_path)
    expected = processor(audio=waveform(7), sampling_rate=RATE)
    assert_same(processor(audio=[audio] if many else audio, sampling_rate=rate), expected)


def test_audio_is_resampled_to_the_rate_of_the_encoder(processor):
    tone = np.sin(2 * np.pi * 220 * np.arange(22050) / 44100).astype(np.float32)
    expected = processor(audio=tone[::2], sampling_rate=22050)["h_a"]  # far below half of either rate
    assert difference(processor(audio=tone, sampling_rate=44100)["h_a"], expected) < 0.05
    assert expected.shape[1] == (8000 - 400) // 320 + 1


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("layer", [-1, 2, 1, 0, -3, [0, 2], [1, -1], [0, 1, 2]])
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


@pytest.mark.parametrize("layer", [-1, 3, 2, 1, 0, -4, [0, 3], [1, -1]])
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


def test_a_token_is_neither_shown_nor_saved(encoders, tmp_path):
    processor = TacfnProcessor.from_encoders(*encoders, token="hf_secret")
    processor.save_pretrained(tmp_path)
    assert "hf_secret" not in repr(processor) + str(processor.to_dict())
    assert not any(b"hf_secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_threads_get_what_one_after_another_gets(encoders):
    processor = TacfnProcessor.from_encoders(*encoders)
    calls = [
        {
            "text": [TEXTS[(i + k) % 6] or "Yes." for k in range(1 + i % 4)],
            "audio": [waveform(i + k) for k in range(1 + i % 4)],
            "sampling_rate": RATE,
        }
        for i in range(24)
    ]
    expected = [processor(**call) for call in calls]
    with ThreadPoolExecutor(8) as pool:
        for found, one in zip(pool.map(lambda call: processor(**call), calls), expected):
            for suffix in ("a", "t"):
                assert torch.equal(found[f"mask_{suffix}"], one[f"mask_{suffix}"])
                assert difference(found[f"h_{suffix}"], one[f"h_{suffix}"]) < 1e-5


def test_threads_that_cut_do_not_disturb_those_that_do_not(processor):
    long, short = "Kids are talking by the door. " * 100, "Kids are talking."

    def tokens(i: int) -> int | str:
        try:
            return processor(text=short if i % 3 == 0 else long, truncation=i % 3 == 1)["h_t"].shape[1]
        except ValueError:
            return "too many"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokens, range(300))) == [tokens(0), 512, "too many"] * 100


def test_encoders_are_loaded_once_where_threads_ask_together(own):
    processor = TacfnProcessor.from_encoders(*own)
    with ThreadPoolExecutor(8) as pool:
        assert len({id(encoder) for encoder in pool.map(lambda _: processor.text_encoder, range(8))}) == 1


# What the processor is called with, the error and its message.
BAD_INPUTS = {
    "counts differ": (
        {"text": ["a", "b"], "audio": [waveform(0)], "sampling_rate": RATE},
        ValueError,
        "given 2 texts and 1 audios: the counts must agree",
    ),
    "one text, two audios": (
        {"text": "a", "audio": [waveform(0)] * 2, "sampling_rate": RATE},
        ValueError,
        "given 1 texts and 2 audios: the counts must agree",
    ),
    "nothing": ({}, ValueError, "neither text nor audio: it needs at least one"),
    "a sample without both": (
        {"text": ["a", None, "b"], "audio": [waveform(0), None, None], "sampling_rate": RATE},
        ValueError,
        "Sample 1 has neither text nor audio: it needs at least one",
    ),
    "only None": ({"text": [None]}, ValueError, "Sample 0 has neither text nor audio"),
    "no texts": ({"text": []}, ValueError, "given an empty list"),
    "no audios": ({"audio": []}, ValueError, "given an empty list"),
    "no texts, one audio": (
        {"text": [], "audio": [waveform(0)], "sampling_rate": RATE},
        ValueError,
        "given 0 texts and 1 audios",
    ),
    "empty text": ({"text": ["a", ""]}, ValueError, "Sample 1 has neither text nor audio"),
    "whitespace": ({"text": " \t\n "}, ValueError, "Sample 0 has neither text nor audio"),
    "number as text": ({"text": ["a", 7]}, TypeError, "text 1 is a int: it must be a string, or None"),
    "bytes as text": ({"text": b"a"}, TypeError, "text 0 is a bytes: it must be a string, or None"),
    "words as text": ({"text": [["a", "b"]]}, TypeError, "text 0 is a list: it must be a string, or None"),
    "text behind None": (
        {"text": [None, ""], "audio": [waveform(0), None], "sampling_rate": RATE},
        ValueError,
        "Sample 1 has neither text nor audio",
    ),
    "too many tokens": (
        {"text": ["a", "a " * 511]},
        ValueError,
        "text 1 has 513 tokens, the text encoder takes 512: shorten it, or cut it with truncation=True",
    ),
    "399 samples": (
        {"audio": [waveform(0), waveform(1, 399)], "sampling_rate": RATE},
        AudioError,
        "audio 1 has 399 samples at 16000 Hz, less than a frame: the encoder needs at least 400",
    ),
    "399 samples of more": (
        {"audio": waveform(1, 797), "sampling_rate": 32000},
        AudioError,
        "audio 0 has 399 samples at 16000 Hz, less than a frame",
    ),
    "no samples": ({"audio": waveform(0, 0), "sampling_rate": RATE}, AudioError, "audio 0 holds no samples"),
    "three dimensions": (
        {"audio": np.zeros((2, 2, 4000), np.float32), "sampling_rate": RATE},
        AudioError,
        r"audio 0 has shape \[2, 2, 4000\]: samples must be \[S\]",
    ),
    "no rate": ({"audio": [waveform(0)]}, AudioError, "audio 0 is given as samples without sampling_rate"),
    "audio behind None": (
        {"text": ["a", None], "audio": [None, waveform(0, 100)], "sampling_rate": RATE},
        AudioError,
        "audio 1 has 100 samples",
    ),
    "NaN": (
        {"audio": [waveform(0), np.full(4000, np.nan, np.float32)], "sampling_rate": RATE},
        AudioError,
        "audio 1 has 4000 NaN or infinite samples",
    ),
    "no file": ({"audio": ["no.wav"]}, AudioError, r"audio 0 \(no\.wav\) is not a file"),
    "number as audio": ({"audio": 7, "sampling_rate": RATE}, TypeError, "audio 0 is a int: give a path"),
    "61 s": (
        {"audio": np.zeros(61 * RATE, np.float32), "sampling_rate": RATE},
        AudioError,
        "audio 0 is 61.0 s long, more than max_audio_seconds 60: raise that, or cut it with truncation=True",
    ),
}


@pytest.mark.parametrize(("given", "error", "message"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_bad_inputs(processor, given, error, message):
    with pytest.raises(error, match=message):
        processor(**given)


def test_a_text_of_white_space_is_missing(processor):
    audio = [waveform(0), waveform(1)]
    found = processor(text=["Yes.", " \n"], audio=audio, sampling_rate=RATE)
    expected = processor(text=["Yes.", None], audio=audio, sampling_rate=RATE)
    assert found["mask_t"][1].all()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_too_short_audio_is_named_by_its_file(processor, tmp_path):
    soundfile.write(tmp_path / "u.wav", waveform(0, 10), RATE)
    with pytest.raises(AudioError, match=r"audio 1 \(.*u\.wav\) has 10 samples"):
        processor(audio=[waveform(0), tmp_path / "u.wav"], sampling_rate=RATE)


def test_the_names_of_the_caller_are_in_the_messages(processor):
    with pytest.raises(AudioError, match="speech of u7 has 100 samples"):
        processor.load_audio(waveform(0, 100), RATE, name="speech of u7")
    with pytest.raises(ValueError, match="words of u7 is empty"):
        processor.encode_text(["a", ""], names=["words of u6", "words of u7"])


def test_the_shortest_audio_has_one_frame(processor):
    batch = processor(audio=waveform(0, 400), sampling_rate=RATE)
    assert batch["h_a"].shape == (1, 1, 32)
    assert batch["mask_a"].tolist() == [[False]]


@pytest.mark.parametrize("special", [True, False])
def test_text_is_cut_to_what_the_encoder_takes(encoders, special):
    processor = TacfnProcessor.from_encoders(*encoders, add_special_tokens=special)
    words = 512 - 2 * special
    exact = processor(text="a " * words)["h_t"]
    assert exact.shape[1] == 512
    with pytest.raises(ValueError, match="text 0 has 513 tokens, the text encoder takes 512"):
        processor(text="a " * (words + 1))
    cut = processor(text=["a " * words + "b c d", "Yes."], truncation=True)
    assert difference(cut["h_t"][0], exact[0]) < 1e-5
    assert difference(features_of(cut, "t", 1), processor(text="Yes.")["h_t"][0]) < 1e-5


def test_the_smaller_limit_holds(own):
    """Of the positions of the encoder and the length that its tokenizer names."""
    save_text_encoder(own[0], max_position_embeddings=20)
    assert processor_limit(own) == 20
    settings = json.loads((own[0] / "tokenizer_config.json").read_text())
    (own[0] / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 9}))
    assert processor_limit(own) == 9


def processor_limit(encoders: tuple[Path, Path]) -> int:
    return TacfnProcessor.from_encoders(*encoders)(text="a " * 600, truncation=True)["h_t"].shape[1]


@pytest.mark.parametrize("seconds", [0.3, 0.57])
def test_audio_seconds_are_limited(encoders, seconds):
    processor = TacfnProcessor.from_encoders(*encoders, max_audio_seconds=seconds)
    allowed = round(seconds * RATE)
    longer = waveform(0, 16000)
    exact = processor(audio=longer[:allowed], sampling_rate=RATE)
    for audio in (longer[: allowed + 1], {"bytes": flac(longer), "path": None}):
        with pytest.raises(AudioError, match=rf"audio 1 is .* s long, more than max_audio_seconds {seconds}: raise"):
            processor(audio=[waveform(1, 1600), audio], sampling_rate=RATE)
    assert_same(processor(audio=longer, sampling_rate=RATE, truncation=True), exact)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_max_audio_seconds_must_be_positive(encoders, seconds):
    with pytest.raises(ValueError, match=f"max_audio_seconds is {seconds}: it must be more than 0"):
        TacfnProcessor.from_encoders(*encoders, max_audio_seconds=seconds)


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
