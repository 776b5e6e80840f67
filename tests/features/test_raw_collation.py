"""Rows of audio and text as a batch for the network with its encoders, which the ordinary Trainer trains on."""

import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from tacfn_hf import TacfnDualEncoderForSequenceClassification, TacfnProcessor
from tacfn_hf.features.raw_collation import TacfnRawDataCollator


torch.set_num_threads(1)


def model_and_processor(encoders, **fusion):
    text, audio = encoders
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "gate_hidden_size": 8}
    model = TacfnDualEncoderForSequenceClassification.from_encoders(audio, text, **sizes, **fusion)
    return model, TacfnProcessor.from_encoders(text, audio).from_model(model)


def struct(samples: np.ndarray) -> dict:
    return {"array": samples.astype(np.float32), "sampling_rate": 16000}


@torch.no_grad()
def test_a_batch_gives_what_the_processor_and_the_network_give(encoders):
    model, processor = model_and_processor(encoders)
    generator = np.random.default_rng(0)
    clips = [generator.normal(size=size) for size in (4000, 9000, 2000)]
    rows = [
        {"id": "a", "audio": struct(clips[0]), "text": "Hello!", "label": 1},
        {"id": "b", "audio": struct(clips[1]), "text": " ", "label": 0},
        {"id": "c", "audio": None, "text": "Why would you say such a thing?", "label": 2},
        {"id": "d", "audio": struct(clips[2]), "text": "No.", "label": 3},
    ]
    model.eval()
    batch = TacfnRawDataCollator(processor)(rows)
    assert batch.pop("labels").tolist() == [1, 0, 2, 3]
    features = processor(text=[row["text"] for row in rows], audio=[row["audio"] for row in rows])
    assert (model(**batch).logits - model(**features).logits).abs().max() < 1e-5
    assert model(**batch).has_audio.tolist() == [True, True, False, True]
    assert set(TacfnRawDataCollator(processor)(rows[2:3])) == {"input_ids", "attention_mask", "labels"}
    assert set(TacfnRawDataCollator(processor)([{"text": "No."}])) == {"input_ids", "attention_mask"}


def test_crops_are_drawn_windows(encoders):
    processor = model_and_processor(encoders)[1]
    collator = TacfnRawDataCollator(processor, crop_seconds=0.1)
    waveform = np.arange(4000, dtype=np.float32)
    torch.manual_seed(0)
    starts = {int(window[0]) for window in (collator.cropped(waveform) for _ in range(300))}
    assert len(starts) > 200
    assert 0 <= min(starts) < 200 < 2200 < max(starts) <= 2400
    assert all(np.array_equal(collator.cropped(waveform[:n]), waveform[:n]) for n in (700, 1600))
    assert len(collator.cropped(waveform)) == 1600
    with pytest.raises(ValueError, match="crop_seconds is 0: it must be at least 0.1"):
        TacfnRawDataCollator(processor, crop_seconds=0)


def test_a_row_with_nothing_is_named(encoders):
    processor = model_and_processor(encoders)[1]
    with pytest.raises(ValueError, match="the row with id 'x' has neither audio nor text"):
        TacfnRawDataCollator(processor)([{"id": "x", "audio": None, "text": "", "label": 0}])


def test_the_ordinary_trainer_tunes_the_encoders_and_the_network(encoders, tmp_path):
    """What is high and what is low is heard where the words are all the same, by encoders that began as noise."""
    model, processor = model_and_processor(encoders, num_labels=2, hidden_dropout_prob=0.1, feature_dropout_prob=0.0)
    generator = np.random.default_rng(0)
    time = np.arange(3200) / 16000
    rows = [
        {"audio": struct(np.sin(2 * np.pi * pitch * time) + 0.1 * generator.normal(size=3200)), "text": "Yes."}
        for pitch in [*generator.uniform(200, 400, 16), *generator.uniform(1600, 2600, 16)]
    ]
    dataset = Dataset.from_list([{**row, "label": i // 16} for i, row in enumerate(rows)])
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    args = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=15,
        per_device_train_batch_size=8,
        learning_rate=2e-3,
        remove_unused_columns=False,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        label_names=["labels"],
    )
    trainer = Trainer(model, args, data_collator=TacfnRawDataCollator(processor), train_dataset=dataset)
    trainer.train()
    predicted = trainer.predict(dataset)
    logits = next(part for part in predicted.predictions if part.shape == (32, 2))
    assert (logits.argmax(axis=1) == predicted.label_ids).mean() > 0.9
    moved = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])]
    for part in (
        "audio_encoder.model.feature_extractor",
        "audio_encoder.model.encoder",
        "text_encoder.",
        "classifier.",
    ):
        assert any(name.startswith(part) for name in moved), part


@pytest.mark.slow
def test_workers_in_processes_of_their_own_prepare_the_same(encoders):
    processor = model_and_processor(encoders)[1]
    collator = TacfnRawDataCollator(processor)
    generator = np.random.default_rng(0)
    rows = [{"audio": struct(generator.normal(size=900 + 300 * i)), "text": "Yes.", "label": 0} for i in range(4)]
    travelled = pickle.loads(pickle.dumps(collator)).processor
    for encoder in (travelled.audio_encoder, travelled.text_encoder):
        assert all(parameter.is_meta for name, parameter in encoder.named_parameters() if "masked_spec" not in name)
    loader = DataLoader(rows, 2, collate_fn=collator, num_workers=1, multiprocessing_context="spawn")
    for made, expected in zip(loader, (collator(rows[:2]), collator(rows[2:])), strict=True):
        assert made.keys() == expected.keys()
        assert all(torch.equal(made[name], expected[name]) for name in made)


def test_rows_that_stream_are_trained_on(encoders, tmp_path):
    model, processor = model_and_processor(encoders, num_labels=2)
    before = model.classifier.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    rows = Dataset.from_list([{"audio": struct(np.ones(2000)), "text": "Yes.", "label": i % 2} for i in range(8)])
    args = TrainingArguments(output_dir=str(tmp_path), max_steps=2, remove_unused_columns=False, save_strategy="no",
        per_device_train_batch_size=4, report_to="none", use_cpu=True, disable_tqdm=True)  # fmt: skip
    trainer = Trainer(
        model, args, data_collator=TacfnRawDataCollator(processor), train_dataset=rows.to_iterable_dataset()
    )
    assert trainer.train().global_step == 2
    assert any(not torch.equal(before[name], value) for name, value in model.classifier.state_dict().items())
