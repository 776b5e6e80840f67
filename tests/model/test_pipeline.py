"""The pipeline gives what processor and model give, in any batch, and refuses features that the model doesn't know."""

import copy
import io

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset, DatasetDict, Features, IterableDataset, Value
from tiny import config_for, save_speech_encoder
from transformers import pipeline

from tacfn_hf import EmotionRecognitionPipeline, TacfnForSequenceClassification, TacfnProcessor


TASK = "multimodal-emotion-recognition"
LABELS = ["angry", "happy", "sad"]


def waveform(i: int) -> np.ndarray:
    generator = np.random.default_rng(i)
    return 0.1 * generator.normal(size=3000 * (i + 1)).astype(np.float32)


def flac(i: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform(i), 16000, format="FLAC")
    return file.getvalue()


INPUTS = [
    {"audio": flac(0), "text": "Hello there."},
    {"audio": {"bytes": flac(1), "path": None}},
    {"text": "What a day, and what a night it was."},
    {"audio": None, "text": "No."},
    {"audio": waveform(4), "sampling_rate": 16000, "text": None},
]


@pytest.fixture(scope="module")
def folder(processor, tmp_path_factory) -> str:
    """A trained model's folder: the classifier and the processor."""
    torch.manual_seed(0)
    config = config_for(processor, id2label=dict(enumerate(LABELS)), problem_type="single_label_classification")
    folder = tmp_path_factory.mktemp("model")
    TacfnForSequenceClassification(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def recognizer(folder) -> EmotionRecognitionPipeline:
    return pipeline(TASK, model=folder, device="cpu")


def assert_equal(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert [row["label"] for row in one["scores"]] == [row["label"] for row in other["scores"]]
        assert np.allclose(
            [row["score"] for row in one["scores"]], [row["score"] for row in other["scores"]], atol=1e-6
        )
        assert one["beta"] == pytest.approx(other["beta"], abs=1e-6)


@pytest.fixture(scope="module")
def alone(recognizer) -> list[dict]:
    return [recognizer(one) for one in INPUTS]


def test_gives_what_processor_and_model_give(recognizer, processor, folder):
    model = TacfnForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model(**processor(text=INPUTS[0]["text"], audio=INPUTS[0]["audio"]))
    found = recognizer(INPUTS[0])
    scores = {row["label"]: row["score"] for row in found["scores"]}
    assert np.allclose([scores[label] for label in LABELS], output.logits[0].softmax(-1).numpy(), atol=1e-6)
    assert found["beta"] == pytest.approx(float(output.beta), abs=1e-6)
    assert [row["score"] for row in found["scores"]] == sorted(scores.values(), reverse=True)


def test_scores_are_those_of_the_temperatures(recognizer, folder, processor, alone):
    settings = {"both": 2.5, "audio": 1.5, "text": 3.5}
    model = TacfnForSequenceClassification.from_pretrained(folder, temperatures=settings).eval()
    calibrated = pipeline(TASK, model=model, processor=processor, device="cpu")
    used = set()
    for given, plain in zip(INPUTS, alone):
        with torch.no_grad():
            logits = model(**processor(text=given.get("text"), audio=given.get("audio"), **rate(given))).logits[0]
        found = calibrated(given)
        scores = {row["label"]: row["score"] for row in found["scores"]}
        silent, mute = (given.get(name) is None for name in ("audio", "text"))
        own = settings["text" if silent else "audio" if mute else "both"]
        used.add(own)
        expected = (logits.double() / own).softmax(-1).numpy()
        assert np.allclose([scores[label] for label in LABELS], expected, atol=1e-6)
        assert [row["label"] for row in found["scores"]] == [row["label"] for row in plain["scores"]]
        assert found["scores"][0]["score"] < plain["scores"][0]["score"] - 1e-3
        assert found["beta"] == plain["beta"]
    assert used == set(settings.values())


def test_the_temperature_goes_by_what_is_there_and_not_by_beta(folder, processor, monkeypatch):
    """A gate may give a beta of exactly 1 to a sample that has text."""
    model = TacfnForSequenceClassification.from_pretrained(
        folder, temperatures={"both": 2.0, "audio": 9.0, "text": 9.0}
    ).eval()
    with torch.no_grad():
        output = model(**processor(text=INPUTS[0]["text"], audio=INPUTS[0]["audio"]))
    output.beta = torch.ones(1, 1)
    monkeypatch.setattr(model, "forward", lambda **features: output)
    found = pipeline(TASK, model=model, processor=processor, device="cpu")(INPUTS[0])
    assert found["beta"] == 1.0
    scores = {row["label"]: row["score"] for row in found["scores"]}
    assert np.allclose([scores[label] for label in LABELS], (output.logits[0] / 2.0).softmax(-1).numpy(), atol=1e-6)


def rate(given: dict) -> dict:
    return {name: given[name] for name in ("sampling_rate",) if name in given}


def test_scores_differ_between_inputs(alone):
    assert len({found["scores"][0]["score"] for found in alone}) == len(INPUTS)


def test_beta_is_on_the_modality_that_is_there(alone):
    assert 0 < alone[0]["beta"] < 1
    assert [found["beta"] for found in alone[1:]] == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batches_give_what_single_inputs_give(recognizer, alone, batch_size):
    assert_equal(recognizer(INPUTS, batch_size=batch_size), alone)


def test_a_generator_and_workers(recognizer, alone):
    assert_equal(list(recognizer((one for one in INPUTS), batch_size=3)), alone)
    assert_equal(recognizer(INPUTS, batch_size=2, num_workers=2), alone)


def test_a_dataset_and_its_columns(recognizer, alone, tmp_path):
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", waveform(i), 16000)
    rows = {
        "id": ["a", "b", "c"],
        "audio": [str(tmp_path / f"{i}.wav") for i in range(3)],
        "text": ["Yes.", None, "No."],
    }
    dataset = Dataset.from_dict(rows).cast_column("audio", Audio())
    expected = [recognizer({"audio": waveform(i), "text": rows["text"][i], "sampling_rate": 16000}) for i in range(3)]
    found = list(recognizer(dataset, batch_size=2))
    assert np.allclose([one["beta"] for one in found], [one["beta"] for one in expected], atol=1e-4)  # 16 bits
    undecoded = dataset.cast_column("audio", Audio(decode=False))
    audio_alone = list(recognizer(undecoded["audio"], batch_size=3))
    assert [one["beta"] for one in audio_alone] == [1.0] * 3


def test_a_mapping_of_lists_gets_an_answer_for_each_row(recognizer, alone, tmp_path):
    """Which is what a slice of a dataset is."""
    texts = [one.get("text") for one in INPUTS]
    assert_equal(recognizer({"text": texts[2:4]}, batch_size=2), alone[2:4])
    rows = Dataset.from_dict(
        {"id": [0, 1, 2, 3], "text": texts[:4], "audio": [flac(0), {"bytes": flac(1)}["bytes"], None, None]}
    )
    assert_equal(recognizer(rows[:4]), alone[:4])
    assert_equal(recognizer(rows[1:2]), alone[1:2])
    waves = [waveform(i) for i in range(3)]
    expected = [recognizer({"audio": wave, "sampling_rate": 16000}) for wave in waves]
    assert_equal(recognizer({"audio": waves, "sampling_rate": [16000] * 3}), expected)
    assert_equal(recognizer({"audio": [wave.tolist() for wave in waves], "sampling_rate": 16000}), expected)
    assert_equal([recognizer({"audio": waves[0].tolist(), "sampling_rate": 16000})], expected[:1])
    assert_equal(recognizer({"audio": waves}, sampling_rate=16000), expected)


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_a_slice_of_any_format_gets_an_answer_for_each_row(recognizer, form):
    """Waveforms of one length come as one array, which is not one waveform of three channels."""
    waves = np.stack([waveform(0), waveform(1)[:3000], waveform(2)[:3000]])
    rows = Dataset.from_dict({"audio": waves, "text": ["Yes.", "No.", "So."], "sampling_rate": [16000] * 3})
    found = recognizer(rows.with_format(form)[:3])
    expected = [
        recognizer({"audio": wave, "text": text, "sampling_rate": 16000}) for wave, text in zip(waves, rows["text"])
    ]
    assert_equal(found, expected)
    alone = recognizer(rows.remove_columns("text").with_format(form)[:3])  # told apart by the column of rates
    assert_equal(alone, [recognizer({"audio": wave, "sampling_rate": 16000}) for wave in waves])


def test_a_struct_may_have_a_text_beside_it(recognizer, alone):
    row = {"array": waveform(0), "sampling_rate": 16000, "path": None, "id": 7}
    both = recognizer({"audio": waveform(0), "sampling_rate": 16000, "text": "Hello there."})
    assert_equal([recognizer(row | {"text": "Hello there."})], [both])
    assert_equal([recognizer({"bytes": flac(1), "path": None, "text": None})], alone[1:2])
    assert_equal([recognizer({"audio": "", "text": INPUTS[2]["text"]})], alone[2:3])
    assert_equal(
        [recognizer({"audio": waveform(0), "sampling_rate": None, "text": "Hello there."}, sampling_rate=16000)], [both]
    )


@pytest.mark.parametrize("nothing", [[], {"text": []}, {"audio": []}, {"audio": [], "text": []}])
def test_nothing_gets_no_answer(recognizer, nothing):
    assert recognizer(nothing) == []


@pytest.mark.parametrize("blank", ["", "  ", "\n\t", "\ufeff", "\u200b \u00ad", "\x01"])
def test_a_text_of_white_space_is_missing_as_in_a_corpus(recognizer, alone, blank):
    assert_equal([recognizer({"audio": flac(1), "text": blank})], alone[1:2])
    assert_equal(recognizer([{"audio": flac(1), "text": blank}, INPUTS[2]], batch_size=2), alone[1:3])


STREAMS = {
    "known features": lambda rows: rows.to_iterable_dataset(),
    "after a map": lambda rows: rows.to_iterable_dataset().map(lambda row: row | {"more": 1}),
    "of a generator": lambda rows: IterableDataset.from_generator(lambda: (dict(row) for row in INPUTS[:4])),
}


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_a_streaming_dataset_whether_its_features_are_known_or_not(recognizer, alone, make):
    rows = Dataset.from_list([{"text": one.get("text"), "audio": None} for one in INPUTS[:4]])
    if make is STREAMS["of a generator"]:
        assert_equal(list(recognizer(make(rows), batch_size=2)), alone[:4])
    else:
        expected = [alone[2], alone[3]]
        stream = make(rows.select([2, 3]))
        assert_equal(list(recognizer(stream, batch_size=2)), expected)
        if stream.features is not None:  # only then has it columns
            rows = stream.map(
                lambda row: {"input": {"text": row["text"]}},
                features=Features({"input": {"text": Value("string")}}),
                remove_columns=["text", "audio"],
            )
            assert_equal(list(recognizer(rows["input"])), expected)


def test_top_k(recognizer, folder):
    assert len(recognizer(INPUTS[0])["scores"]) == 3
    assert recognizer(INPUTS[0], top_k=2)["scores"] == recognizer(INPUTS[0])["scores"][:2]
    assert len(recognizer(INPUTS[0], top_k=9)["scores"]) == 3
    assert len(pipeline(TASK, model=folder, top_k=1, device="cpu")(INPUTS[0])["scores"]) == 1


@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_scores_follow_the_problem_type(folder, processor, problem_type):
    settings = {"problem_type": problem_type, "temperatures": {"both": 2.5}}
    model = TacfnForSequenceClassification.from_pretrained(folder, **settings).eval()
    found = pipeline(TASK, model=model, processor=processor, device="cpu")(INPUTS[2])
    with torch.no_grad():
        logits = model(**processor(text=INPUTS[2]["text"])).logits[0]
    expected = logits.sigmoid() if problem_type == "multi_label_classification" else logits
    scores = {row["label"]: row["score"] for row in found["scores"]}
    assert np.allclose([scores[label] for label in LABELS], expected.numpy(), atol=1e-6)


def test_one_value_is_a_regression_also_where_the_config_does_not_say_so(folder, processor):
    settings = {"problem_type": None, "num_labels": 1, "ignore_mismatched_sizes": True}
    model = TacfnForSequenceClassification.from_pretrained(folder, **settings).eval()
    found = pipeline(TASK, model=model, processor=processor, device="cpu")(INPUTS[2])
    with torch.no_grad():
        logits = model(**processor(text=INPUTS[2]["text"])).logits[0]
    assert found["scores"][0]["score"] == pytest.approx(logits.item())


def test_features_are_standardised_before_they_are_rounded(folder, processor):
    """A deviation that is smaller than the steps of bfloat16 around the mean."""
    model = TacfnForSequenceClassification.from_pretrained(folder)
    h_t = processor(text=INPUTS[2]["text"])["h_t"][0]
    model.model.text_standardizer.set_statistics(h_t.mean(0) + 100, torch.full_like(h_t[0], 0.01))
    processor = copy.copy(processor)
    encode = processor.encode_text
    processor.encode_text = lambda *args, **kwargs: [h + 100 for h in encode(*args, **kwargs)]
    expected = pipeline(TASK, model=model, processor=processor, device="cpu")(INPUTS[2])
    found = pipeline(TASK, model=copy.deepcopy(model).bfloat16(), processor=processor, device="cpu")(INPUTS[2])
    scores = [{row["label"]: row["score"] for row in answer["scores"]} for answer in (expected, found)]
    assert all(scores[1][label] == pytest.approx(scores[0][label], abs=0.02) for label in LABELS)


def test_another_encoder_is_refused_and_both_are_named(folder, encoders, tmp_path):
    model = TacfnForSequenceClassification.from_pretrained(folder)
    save_speech_encoder(tmp_path / "other", initializer_range=0.05)
    for arguments, message in (
        ({"text_layer": 1}, r"layer 1, .* but the model was trained on features of bert \(.*layer 2"),
        ({"audio_encoder": tmp_path / "other"}, r"processor has features of other \(.*model was .* of wavlm \("),
    ):
        other = TacfnProcessor.from_encoders(**{"text_encoder": encoders[0], "audio_encoder": encoders[1], **arguments})
        with pytest.raises(ValueError, match=message):
            pipeline(TASK, model=model, processor=other, device="cpu")


def test_the_processor_of_the_caller_stays_where_it_is(folder, processor):
    recognizer = pipeline(TASK, model=folder, processor=processor, device="cpu")
    assert recognizer.processor is not processor
    assert recognizer.processor.audio_encoder is processor.audio_encoder  # the weights are shared


def test_a_saved_pipeline_is_whole(recognizer, tmp_path, alone):
    recognizer.save_pretrained(tmp_path)
    model = TacfnForSequenceClassification.from_pretrained(tmp_path)
    again = pipeline(TASK, model=model, processor=TacfnProcessor.from_pretrained(tmp_path), device="cpu")
    assert_equal(again(INPUTS), alone)


BAD_INPUTS = {
    "a string": ("hello.wav", TypeError, "input is a str: give a mapping"),
    "neither": ({"audio": None, "text": None}, ValueError, "neither audio nor text"),
    "other keys": ({"speech": b""}, ValueError, "input has speech: it needs audio, text or both"),
    "no rate": ({"audio": np.zeros(4000, np.float32)}, ValueError, "without sampling_rate"),
    "no file": ({"audio": "nowhere.wav"}, ValueError, r"audio \(nowhere.wav\) is not a file"),
    "another case": ({"Audio": flac(0), "text": "Yes."}, ValueError, "has the key 'Audio': write 'audio'"),
    "white space in a key": ({"audio": flac(0), "text ": "Yes."}, ValueError, "has the key 'text ': write 'text'"),
    "a path beside a text": ({"path": "nowhere.wav", "text": "Yes."}, ValueError, r"\(nowhere.wav\) is not a file"),
    "NaN of pandas": ([{"audio": flac(0), "text": float("nan")}], TypeError, "Input 0 has NaN as text"),
    "rates of others": (
        {"audio": [flac(0)] * 2, "sampling_rate": [16000]},
        ValueError,
        "has 2 of audio, 1 of sampling_rate",
    ),
    "empty text": ({"text": " "}, ValueError, "The input has neither audio nor text"),
    "texts in a list of inputs": ([{"text": "Yes."}, {"text": ["a", "b"]}], TypeError, "Input 1 has a list as text"),
    "one text for three": (
        {"text": ["a", "b", "c"], "audio": flac(0)},
        ValueError,
        "has 1 of audio, 3 of text: the counts must",
    ),
    "other counts": ({"text": ["a"], "audio": [flac(0), flac(1)]}, ValueError, "has 2 of audio, 1 of text: the"),
    "splits": (
        DatasetDict(test=Dataset.from_dict({"text": ["a"]})),
        TypeError,
        "is a DatasetDict of test: give one of",
    ),
    "the third": (
        [{"text": "a"}] * 2 + [{"audio": "nowhere.wav"}],
        ValueError,
        r"audio 2 \(nowhere.wav\) is not a file",
    ),
    "the third, too short": (
        ({"audio": audio, "sampling_rate": 16000} for audio in [waveform(0), waveform(1), np.zeros(10, np.float32)]),
        ValueError,
        "audio 2 has 10 samples at 16000 Hz",
    ),
    "the second, too long": ([{"text": "a"}, {"text": "so " * 600}], ValueError, "text 1 has 602 tokens"),
    "the second of a column": (
        Dataset.from_dict({"c": [{"path": "a"}]})["c"],
        ValueError,
        r"audio 0 \(a\) is not a file",
    ),
}


@pytest.mark.parametrize(("given", "error", "message"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_bad_inputs(recognizer, given, error, message):
    with pytest.raises(error, match=message):
        list(recognizer(given))


@pytest.mark.parametrize("top_k", [0, -1, 2.5, "2", True])
def test_no_label_can_be_asked_for(recognizer, top_k):
    with pytest.raises(ValueError, match=f"top_k is {top_k!r}: it must be a whole number of at least 1, or None"):
        recognizer(INPUTS[0], top_k=top_k)


@pytest.mark.parametrize("truncation", ["False", 1])
def test_whether_to_cut_is_yes_or_no(recognizer, truncation):
    with pytest.raises(TypeError, match=f"truncation is {truncation!r}: it must be True or False"):
        recognizer({"audio": flac(0)}, truncation=truncation)


def test_unknown_arguments_are_named(recognizer):
    with pytest.raises(TypeError, match="does not know top_p"):
        recognizer(INPUTS[0], top_p=1)


def test_long_audio_is_an_error_or_is_cut(folder, processor):
    recognizer = pipeline(TASK, model=folder, device="cpu")
    recognizer.processor.max_audio_seconds = 0.5
    long = {"audio": waveform(7), "sampling_rate": 16000}
    with pytest.raises(ValueError, match="1.5 s long, more than max_audio_seconds 0.5"):
        recognizer(long)
    cut = {"audio": waveform(7)[:8000], "sampling_rate": 16000}
    assert_equal([recognizer(long, truncation=True)], [recognizer(cut)])
