"""Exported programs answer as the model does: all lengths, all numbers of utterances, a modality missing."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from stock_encoders import save_whisper
from tiny import config_for

from tacfn_hf import TacfnConfig, TacfnDualEncoderForSequenceClassification, TacfnForSequenceClassification
from tacfn_hf.cli.main import main
from tacfn_hf.deployment.export import NetworkProgram, export_model
from tacfn_hf.model import EmotionRecognitionPipeline, TacfnProcessor


TEXT = "Hello there, how are you?"
NETWORKS = {
    "default": {"num_hidden_layers": 0},
    "cross-attention": {"num_hidden_layers": 2, "head": "mlp", "gate_reads_distance": False},
    "queries": {"num_hidden_layers": 1, "head": "queries"},
    "several labels": {"num_hidden_layers": 0, "problem_type": "multi_label_classification"},
    "values": {"num_hidden_layers": 0, "problem_type": "regression", "value_range": [-1.0, 0.0]},
}


def network(config: TacfnConfig, **settings) -> TacfnForSequenceClassification:
    """Far from its start: statistics of features, temperatures, and logits of several units."""
    content = {**config.to_dict(), **settings, "temperatures": {"both": 1.5, "audio": 0.7, "text": 2.0}}
    model = TacfnForSequenceClassification(TacfnConfig(**content)).eval()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith(("mean", "std", "scale")):
                buffer.add_(torch.rand_like(buffer))
        for parameter in model.classifier.parameters():
            parameter.mul_(3)
    return model


def features(batch_size: int, audio_length: int, text_length: int) -> dict[str, torch.Tensor]:
    """The first sample lacks text, the last one audio; others are padded, with NaN behind the mask."""
    mask_a = torch.arange(audio_length)[None] >= torch.arange(1, batch_size + 1).clamp(max=audio_length)[:, None]
    mask_t = torch.arange(text_length)[None] >= torch.arange(1, batch_size + 1).clamp(max=text_length)[:, None]
    mask_t[0] = True
    if batch_size > 1:
        mask_a[-1] = True
    h_a = torch.randn(batch_size, audio_length, 12).masked_fill(mask_a.unsqueeze(-1), float("nan"))
    h_t = torch.randn(batch_size, text_length, 16).masked_fill(mask_t.unsqueeze(-1), float("nan"))
    return {"h_a": h_a, "mask_a": mask_a, "h_t": h_t, "mask_t": mask_t}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "dynamo"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_an_exported_network_equals_the_model(config, kind, format, tmp_path):
    import onnxruntime

    model = network(config, **NETWORKS[kind])
    export_model(model, None, tmp_path / "made", format)
    if format == "onnx":
        session = onnxruntime.InferenceSession(tmp_path / "made" / "network" / "model.onnx")
    else:
        program = torch.export.load(tmp_path / "made" / "network" / "model.pt2").module(check_guards=False)
    for sizes in ((1, 1, 1), (1, 9, 4), (2, 50, 3), (7, 2, 9), (33, 17, 17)):
        given = features(*sizes)
        with torch.no_grad():
            expected = NetworkProgram(model)(**given)
            if format == "onnx":
                got = session.run(list(expected), {name: value.numpy() for name, value in given.items()})
            else:
                got = [program(**given)[name] for name in expected]
        for name, value in zip(expected, got):
            torch.testing.assert_close(torch.as_tensor(value), expected[name], atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def recognizers(encoders, processor, tmp_path_factory) -> dict[str, EmotionRecognitionPipeline]:
    """Of WavLM frozen, of WavLM in the model, and of Whisper."""
    torch.manual_seed(0)
    settings = {"num_labels": 3, "num_hidden_layers": 1, "temperatures": {"both": 1.5, "audio": 0.7, "text": 2.0}}
    plain = TacfnForSequenceClassification(config_for(processor, **settings)).eval()
    tuned = TacfnDualEncoderForSequenceClassification.from_fusion(plain, processor).eval()
    with torch.no_grad():
        for parameter in tuned.audio_encoder.parameters():
            parameter.mul_(1.1)
    whisper = TacfnProcessor.from_encoders(encoders[0], save_whisper(tmp_path_factory.mktemp("whisper"), 3))
    heard = TacfnForSequenceClassification(config_for(whisper, **settings)).eval()
    folder = tmp_path_factory.mktemp("short")
    short = TacfnProcessor.from_encoders(encoders[0], save_whisper(folder, 3), pad_to_30s=False)
    short_heard = TacfnForSequenceClassification(config_for(short, **settings)).eval()
    return {
        "frozen": EmotionRecognitionPipeline(plain, processor),
        "tuned": EmotionRecognitionPipeline(tuned, processor),
        "whisper": EmotionRecognitionPipeline(heard, whisper),
        "whisper, not padded": EmotionRecognitionPipeline(short_heard, short),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frozen", "tuned", "whisper", "whisper, not padded"])
def test_the_example_answers_without_torch_as_the_pipeline_does(recognizers, kind, tmp_path):
    recognizer = recognizers[kind]
    path = tmp_path / "hello.wav"
    soundfile.write(path, np.random.default_rng(0).normal(scale=0.1, size=(40_000, 2)), 22_050)
    recognizer.model.save_pretrained(tmp_path / "model")
    recognizer.processor.save_pretrained(tmp_path / "model")
    main(["export", str(tmp_path / "model"), "--output_dir", str(tmp_path / "made")])

    def example(*arguments) -> subprocess.CompletedProcess:
        code = "import runpy, sys; sys.argv = sys.argv[1:]; sys.modules['torch'] = None; "
        code += "runpy.run_path(sys.argv[0], run_name='__main__')"
        command = [sys.executable, "-c", code, tmp_path / "made" / "recognize.py", *arguments]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    for arguments in (["--audio", path, "--text", TEXT], ["--audio", path, "--text", "  "], ["--text", TEXT]):
        done = example(*arguments)
        assert done.returncode == 0, done.stderr
        got, given = json.loads(done.stdout), dict(zip(arguments[::2], map(str, arguments[1::2])))
        expected = recognizer({"audio": given.get("--audio"), "text": given.get("--text")})
        assert got["beta"] == pytest.approx(expected["beta"], abs=1e-5)
        assert got["scores"] == pytest.approx({of["label"]: of["score"] for of in expected["scores"]}, abs=1e-5)
    soundfile.write(tmp_path / "long.wav", np.full(61 * 8000, 0.1), 8000)
    soundfile.write(tmp_path / "opposite.wav", np.outer(np.full(8000, 0.1), [1, -1]), 8000)
    for arguments, sentence in (
        (["--text", " "], "Give audio, text or both."),
        (["--audio", tmp_path / "opposite.wav"], "cancel each other"),
        (["--audio", tmp_path / "long.wav"], "61.000 s long: it must be from "),
        (["--text", "word " * 600], "The text has 602 tokens: it must have from 1 to 512."),
    ):
        done = example(*arguments)
        assert done.returncode == 2
        assert sentence in done.stderr


@pytest.mark.slow
def test_encoders_are_programs_of_torch_export_too(recognizers, tmp_path):
    recognizer = recognizers["frozen"]
    found = export_model(recognizer.model, recognizer.processor, tmp_path / "made", "dynamo")
    assert max(found.values()) < 1e-5
    program = torch.export.load(tmp_path / "made" / "audio_encoder" / "model.pt2").module(check_guards=False)
    waveform = torch.randn(2, 7777)
    with torch.no_grad():
        expected = recognizer.processor.audio_encoder(waveform, torch.tensor([7777, 7777]))[0]
        torch.testing.assert_close(program(input_values=waveform)["h_a"], expected, atol=1e-5, rtol=1e-5)


def test_a_program_that_differs_is_not_written(model, tmp_path, monkeypatch):
    import tacfn_hf.deployment.export as export

    def wrong(program, inputs, folder, format):
        return lambda given: {name: value + 2e-5 * value.abs().max() for name, value in program(**given).items()}

    monkeypatch.setattr(export, "write_program", wrong)
    with pytest.raises(ValueError, match=r"The network was exported to onnx, and its \w+ is off by .* on h_a \[3, 7"):
        export_model(model, None, tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_named_with_the_reason(recognizers, tmp_path, monkeypatch):
    processor, model = recognizers["frozen"].processor, recognizers["frozen"].model
    reason = "no such operator"

    class Unknown(torch.nn.Module):
        def forward(self, *args, **kwargs):
            raise NotImplementedError(reason)

    monkeypatch.setattr(processor.audio_encoder.model, "forward", Unknown().forward)
    with pytest.raises(ValueError, match=rf"The audio encoder \(wavlm\) can't be exported to onnx: .*{reason}"):
        export_model(model, processor, tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_a_processor_of_another_model_is_refused(recognizers, tmp_path):
    model, processor = recognizers["frozen"].model, copy.copy(recognizers["frozen"].processor)
    processor.audio_provenance = {**processor.audio_provenance, "layer": 0}
    with pytest.raises(ValueError, match="layer 0"):
        export_model(model, processor, tmp_path / "made")


def test_encoders_in_half_precision_are_refused_by_name(encoders, tmp_path):
    processor = TacfnProcessor.from_encoders(*encoders, dtype="bfloat16")
    model = TacfnForSequenceClassification(config_for(processor)).eval()
    with pytest.raises(ValueError, match="The audio encoder computes in torch.bfloat16: only float32"):
        export_model(model, processor, tmp_path / "made")


def test_a_folder_with_files_is_left_alone(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="or not empty"):
        export_model(model, None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_missing_package_is_named_with_the_line_that_installs_it(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"onnxscript .*: pip install 'tacfn-hf\[onnx\]'"):
        export_model(model, None, tmp_path / "made")
