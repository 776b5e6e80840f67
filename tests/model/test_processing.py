"""The processor's features are the same alone and in any batch, and bad input is named."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny import save_text_encoder
from utterances import AUDIOS, RATE, SUFFIXES, TEXTS, assert_same, difference, features_of, waveform

from tacfn_hf import TacfnProcessor
from tacfn_hf.model.decoding_tacfn import AudioError


def flac(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def alone(processor) -> list[dict]:
    """Each utterance in a batch of its own."""
    return [processor(text=text, audio=audio, sampling_rate=RATE) for text, audio in zip(TEXTS, AUDIOS)]


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
        "audio 0 is 61.0 s long, more than max_audio_seconds 60: raise that in the processor, or cut it",
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


def test_padding_is_to_the_longest_sample_or_refused(processor):
    texts = ["Hello!", "What a day, and what a night!"]
    assert_same(processor(text=texts, padding="longest"), processor(text=texts))
    for padding in ("max_length", False, None):
        with pytest.raises(ValueError, match=f"padding is {padding!r}: features are padded to the longest sample"):
            processor(text=texts, padding=padding)
