"""
A model as programs that run without its code: its two encoders, and its network.

A folder of an export has a folder for each program, `audio_encoder`, `text_encoder` and `network`; the tokenizer and
the feature extractor, whose outputs the encoders take; `about.json`, which says what else belongs to an answer; and, of
ONNX, `recognize.py`, which gives the scores of an utterance without torch.
"""

import io
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..features.labels import label_names_of
from ..features.targets import CLASSES
from ..model.exact_text_encoders_tacfn import EXACT_WITH_PADDING
from ..model.exact_whisper_encoder_tacfn import FRAMES_OF_SILENCE, WhisperSpeechEncoder
from ..model.modeling_dual_encoder_tacfn import TacfnDualEncoderForSequenceClassification
from ..model.modeling_tacfn import TacfnForSequenceClassification
from ..model.pretrained_encoders_tacfn import PretrainedEncoder, padding_mask
from ..model.processing_tacfn import TacfnProcessor
from ..model.provenance_tacfn import check_provenance
from ..model.scores_tacfn import is_regression, label_scores
from ..writing import write_json


FORMATS = {"onnx": "model.onnx", "dynamo": "model.pt2"}  # transformers' names, and the file of a program
EXTRA = "pip install 'tacfn-hf[onnx]'"
# How far a program may be from the model, as a share of the largest value (of at least 1).
TOLERANCE = {"audio_encoder": 1e-4, "text_encoder": 1e-4, "network": 1e-5}

Inputs = dict[str, torch.Tensor]


class WaveformProgram(nn.Module):
    """A speech encoder on the waveforms `[B, S]` of a feature extractor, all of one length."""

    def __init__(self, encoder: PretrainedEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_values: torch.Tensor) -> Inputs:
        """`h_a [B, L, d]`, float32."""
        output = self.encoder.model(input_values.to(self.encoder.model.dtype), output_hidden_states=True)
        return {"h_a": self.encoder.select(output.hidden_states)}


class SpectrumProgram(nn.Module):
    """A speech encoder on log-mel spectra of one length: of Whisper one window each, `[B, mel, 2 * L]`."""

    def __init__(self, encoder: PretrainedEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_features: torch.Tensor) -> Inputs:
        """`h_a [B, L, d]`, float32."""
        model, inputs = self.encoder.model, input_features.to(self.encoder.model.dtype)
        if isinstance(self.encoder, WhisperSpeechEncoder):
            return {"h_a": self.encoder.select(model(inputs))}
        return {"h_a": self.encoder.select(model(inputs, output_hidden_states=True).hidden_states)}


class TextProgram(nn.Module):
    """A text encoder."""

    def __init__(self, encoder: PretrainedEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Inputs:
        """`h_t [B, L, d]`, float32, of tokens and their mask, 1 = token, both int64 `[B, L]`."""
        output = self.encoder.model(input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return {"h_t": self.encoder.select(output.hidden_states)}


class NetworkProgram(nn.Module):
    """The fusion network. A modality that is missing is one position that is masked, True = PAD."""

    def __init__(self, model: TacfnForSequenceClassification):
        super().__init__()
        self.network = model

    def forward(self, h_a: torch.Tensor, mask_a: torch.Tensor, h_t: torch.Tensor, mask_t: torch.Tensor) -> Inputs:
        """`scores [B, C]` of `label_scores`, `beta [B, 1]` and `logits [B, C]`."""
        output = self.network(h_a=h_a, h_t=h_t, mask_a=mask_a, mask_t=mask_t)
        scores = label_scores(self.network.config, output.logits.float(), output.has_audio, output.has_text)
        return {"scores": scores, "beta": output.beta, "logits": output.logits}


def export_model(
    model: TacfnForSequenceClassification,
    processor: TacfnProcessor | None,
    output_dir: str | os.PathLike,
    format: str = "onnx",
) -> dict[str, float]:
    """
    Writes the programs of a model, and compares each with the model, on other lengths and numbers of utterances than
    those that it was made with, without either modality, and with NaN behind the mask.

    Args:
        model: the fusion network, with or without its encoders.
        processor: the model's. None: the network alone is written, which takes features.
        output_dir: a new or an empty folder.
        format: "onnx", or "dynamo", which is `torch.export`'s own.

    Returns:
        For each program, how far it is from the model at most, as a share of the largest value (of at least 1).

    Raises:
        ValueError: a program that can't be made, or that is not equal to the model; a processor of another model; or an
            encoder in half precision. Then nothing is written.
        ImportError: what ONNX needs is not installed.
    """
    output_dir = Path(output_dir).resolve()
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise ValueError(f"{output_dir} is a file, or not empty: choose a new folder, or an empty one.")
    if format not in FORMATS:
        raise ValueError(f"The format is {format!r}: it must be one of {', '.join(FORMATS)}.")
    check_installed(format)
    if isinstance(model, TacfnDualEncoderForSequenceClassification) and processor is not None:
        processor = processor.from_model(model)
    elif processor is not None:
        for name in ("audio_provenance", "text_provenance"):
            check_provenance(getattr(processor, name), getattr(model.config, name), "the processor", "the model")
    parts = list(parts_of(model, processor, format))
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=f".{output_dir.name}-") as made:
        folder, found = Path(made, "export"), {}
        for name, program, inputs in tqdm(parts, desc="programs"):
            found[name] = export_program(name, program, inputs, folder / name, format)
        write_json(folder / "about.json", {**about(model, processor), "format": format, "largest_difference": found})
        if processor is not None:
            processor.feature_extractor.save_pretrained(folder)
            processor.tokenizer.save_pretrained(folder)
            if format == "onnx":
                shutil.copy(Path(__file__).with_name("recognize.py"), folder)
        if output_dir.is_dir():
            output_dir.rmdir()
        folder.rename(output_dir)
    return found


def check_installed(format: str) -> None:
    """An ImportError that names the line that installs what is missing."""
    if format != "onnx":
        return
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error.name} is needed for an export to ONNX, and is not installed: {EXTRA}") from error


def parts_of(
    model: TacfnForSequenceClassification, processor: TacfnProcessor | None, format: str
) -> Iterator[tuple[str, nn.Module, list[Inputs]]]:
    """Each program's name, its module, and inputs of several shapes: it is made with the first ones."""
    generator = torch.Generator().manual_seed(0)
    if processor is not None:
        speech, text = processor.audio_encoder, processor.text_encoder
        for name, encoder in (("audio", speech), ("text", text)):
            if encoder.model.dtype != torch.float32:
                raise ValueError(f"The {name} encoder computes in {encoder.model.dtype}: only float32 can be exported.")
        shortest = speech.min_samples(speech.model.config)
        if format == "dynamo":  # torch.export takes for granted that there are two frames, and refuses one
            shortest *= 2
        sizes = [(2, shortest + 8000), (1, shortest), (3, shortest + 16_000), (1, shortest + 100_000)]
        if isinstance(speech, WhisperSpeechEncoder):  # one window is a program's input
            window = speech.window * 2 * processor.feature_extractor.hop_length
            sizes = [(count, min(samples, window)) for count, samples in sizes]
        inputs = [spectra_of(processor, *size, generator) for size in sizes]
        waveforms = next(iter(inputs[0])) == "input_values"
        yield "audio_encoder", (WaveformProgram if waveforms else SpectrumProgram)(speech), inputs
        limit = min(text.max_tokens or 40, 40)
        yield (
            "text_encoder",
            TextProgram(text),
            [
                tokens_of(text, batch_size, min(length, limit), generator)
                for batch_size, length in ((2, 7), (1, 1), (1, 40), (5, 20))
            ],
        )
    shapes = ((3, 7, 5), (1, 1, 1), (1, 30, 2), (9, 4, 11), (2, 1, 40))
    yield "network", NetworkProgram(model), [features_of(model, *shape, generator) for shape in shapes]


def spectra_of(processor: TacfnProcessor, batch_size: int, samples: int, generator: torch.Generator) -> Inputs:
    """What the speech encoder takes, of noise."""
    waveforms = 0.1 * torch.randn(batch_size, samples, generator=generator)
    prepared = processor.prepare_audio(list(waveforms.numpy()))
    if isinstance(processor.audio_encoder, WhisperSpeechEncoder):
        return {"input_features": torch.stack([window for of_one in prepared for window in of_one.spectra])}
    name = "input_values" if prepared[0].dim() == 1 else "input_features"
    return {name: torch.stack(prepared)}


def tokens_of(encoder: PretrainedEncoder, batch_size: int, length: int, generator: torch.Generator) -> Inputs:
    """Tokens of several lengths, where the encoder's mask keeps padding out."""
    lengths = torch.full((batch_size,), length)
    if encoder.model.config.model_type in EXACT_WITH_PADDING:
        lengths[1:] = torch.randint(1, length + 1, (batch_size - 1,), generator=generator)
    ids = torch.randint(0, encoder.model.config.vocab_size, (batch_size, length), generator=generator)
    mask = padding_mask(lengths, length)
    return {
        "input_ids": ids.masked_fill(mask, encoder.model.config.pad_token_id or 0),
        "attention_mask": (~mask).long(),
    }


def features_of(
    model: TacfnForSequenceClassification, batch_size: int, audio: int, text: int, generator: torch.Generator
) -> Inputs:
    """Features of all lengths, with NaN behind the mask. The first utterance lacks text, the last one audio."""
    made: Inputs = {}
    for letter, length, size, lacking in (
        ("a", audio, model.config.audio_feature_size, -1),
        ("t", text, model.config.text_feature_size, 0),
    ):
        lengths = torch.randint(1, length + 1, (batch_size,), generator=generator)
        if batch_size > 1:
            lengths[lacking] = 0
        mask = padding_mask(lengths, length)
        h = torch.randn(batch_size, length, size, generator=generator)
        made |= {f"h_{letter}": h.masked_fill(mask.unsqueeze(-1), float("nan")), f"mask_{letter}": mask}
    return made


@torch.no_grad()
def export_program(name: str, program: nn.Module, inputs: list[Inputs], folder: Path, format: str) -> float:
    """Writes a program into a folder, and says how far it is from its module; see `export_model`."""
    program.eval()
    part = f"The {name.replace('_', ' ')}"
    if hasattr(program, "encoder"):
        part += f" ({program.encoder.model.config.model_type})"
    try:
        with quiet():
            run = write_program(program, inputs[0], folder, format)
    except Exception as error:  # of torch, onnx and transformers, each with classes of its own
        reason = str(error).strip().splitlines() or [""]
        raise ValueError(f"{part} can't be exported to {format}: {type(error).__name__}: {reason[0]}") from error
    worst = 0.0
    for given in inputs:
        shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in given.items())
        try:
            answer = run(given)
        except Exception as error:
            raise ValueError(f"{part} was exported to {format}, and fails on {shapes}: {error}") from error
        for key, expected in program(**given).items():
            difference = (answer[key] - expected).abs().max().item() / max(1.0, expected.abs().max().item())
            if not difference <= TOLERANCE[name]:  # NaN too
                raise ValueError(
                    f"{part} was exported to {format}, and its {key} is off by {difference:.1e} of the largest value "
                    f"on {shapes}: at most {TOLERANCE[name]:.0e} is allowed."
                )
            worst = max(worst, difference)
    return worst


def write_program(program: nn.Module, inputs: Inputs, folder: Path, format: str) -> Callable[[Inputs], Inputs]:
    """Exports a module by transformers, and gives what runs the file that was written."""
    folder.mkdir(parents=True)
    path = folder / FORMATS[format]
    if format == "dynamo":
        from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter

        exported: Any = DynamoExporter().export(program, inputs, DynamoConfig(dynamic=True))
        exported = getattr(exported, "program", exported)  # transformers before 5.23 gives the program itself
        torch.export.save(exported, path)
        # Some guards say no more than that an axis was longer than 1. What they would keep out is compared below.
        module = torch.export.load(path).module(check_guards=False)
        return lambda given: module(**given)
    import onnxruntime
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    exported = OnnxExporter().export(program, inputs, OnnxConfig(dynamic=True))
    if hasattr(exported, "save_pretrained"):
        exported.save_pretrained(folder)
    else:
        exported.save(path, external_data=True)
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]

    def run(given: Inputs) -> Inputs:
        found = session.run(None, {key: value.numpy() for key, value in given.items()})
        return {key: torch.from_numpy(np.asarray(value)) for key, value in zip(names, found)}

    return run


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters say of their steps, and of packages that are not needed here."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def about(model: TacfnForSequenceClassification, processor: TacfnProcessor | None) -> dict[str, Any]:
    """What belongs to an answer beside the programs."""
    config = model.config
    content: dict[str, Any] = {
        "labels": label_names_of(config),
        "problem_type": "regression" if is_regression(config) else config.problem_type or CLASSES,
        "thresholds": config.thresholds,
        "value_range": config.value_range,
        "audio": {"feature_size": config.audio_feature_size},
        "text": {"feature_size": config.text_feature_size},
    }
    if processor is None:
        return content
    speech, extractor = processor.audio_encoder, processor.feature_extractor
    content["audio"] |= {
        "sampling_rate": processor.sampling_rate,
        "min_samples": speech.min_samples(speech.model.config),
        "max_seconds": processor.max_audio_seconds,
        "samples_per_frame": None,
        "silence_frames": None,
    }
    if isinstance(speech, WhisperSpeechEncoder):  # one window, and of its frames those that are of the utterance
        window = speech.window * 2 * extractor.hop_length
        content["audio"] |= {
            "max_seconds": min(processor.max_audio_seconds, window / extractor.sampling_rate),
            "samples_per_frame": 2 * extractor.hop_length,
            "silence_frames": None if speech.pad_to_30s else FRAMES_OF_SILENCE,
        }
    made: Any = processor.text_provenance
    content["text"] |= {
        "add_special_tokens": made["add_special_tokens"],
        "max_tokens": processor.max_tokens,
    }
    return content
