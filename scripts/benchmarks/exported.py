"""
An exported model against the same model in torch: seconds for one utterance, size, and how far the answers are apart;
and what dynamic int8 quantisation of the linear layers would change.

    tacfn export runs/my-model --output_dir my-model-onnx
    python scripts/benchmarks/exported.py --model runs/my-model --exported my-model-onnx --output exported.json

The utterances are noise of the lengths that --seconds names, with as many words as people say in that time. Both
sides get the same inputs of the encoders, take turns, and have the same number of threads. Times are the median and the
95th percentile of --repeats turns.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from tacfn_hf.deployment.export import NetworkProgram, SpectrumProgram, TextProgram, WaveformProgram
from tacfn_hf.model import TacfnProcessor
from tacfn_hf.model.exact_whisper_encoder_tacfn import WhisperSpeechEncoder
from tacfn_hf.training.setup import load_model
from tacfn_hf.writing import write_json


PARTS = ("audio_encoder", "text_encoder", "network")
Arrays = dict[str, np.ndarray]


def inputs_of(processor: TacfnProcessor, seconds: float) -> tuple[Arrays, Arrays, int]:
    """The inputs of both encoders, and how many frames are those of the utterance."""
    random = np.random.default_rng(0)
    waveform = random.normal(scale=0.1, size=round(seconds * processor.sampling_rate)).astype(np.float32)
    (prepared,) = processor.prepare_audio([waveform])
    if isinstance(processor.audio_encoder, WhisperSpeechEncoder):
        audio, frames = {"input_features": torch.stack(prepared.spectra).numpy()}, prepared.frames
    else:
        audio, frames = {"input_values" if prepared.dim() == 1 else "input_features": prepared[None].numpy()}, None
    ids = np.array(processor.prepare_text(["and then we went home " * round(max(1, seconds / 2))]))
    return audio, {"input_ids": ids, "attention_mask": np.ones_like(ids)}, frames


def run_all(run: Callable[[str, Arrays], list[np.ndarray]], audio: Arrays, text: Arrays, frames: int | None) -> Arrays:
    """Scores, beta and logits of an utterance by `run`, which runs one part."""
    h_a, h_t = run("audio_encoder", audio)[0][:, :frames], run("text_encoder", text)[0]
    masks = {"mask_a": np.zeros(h_a.shape[:2], bool), "mask_t": np.zeros(h_t.shape[:2], bool)}
    return dict(zip(("scores", "beta", "logits"), run("network", {"h_a": h_a, "h_t": h_t, **masks})))


def in_torch(model, processor) -> Callable[[str, Arrays], list[np.ndarray]]:
    speech = processor.audio_encoder
    spectra = "input_features" in inputs_of(processor, 1.0)[0]
    parts = {
        "audio_encoder": (SpectrumProgram if spectra else WaveformProgram)(speech).eval(),
        "text_encoder": TextProgram(processor.text_encoder).eval(),
        "network": NetworkProgram(model).eval(),
    }

    @torch.no_grad()
    def run(part: str, given: Arrays) -> list[np.ndarray]:
        found = parts[part](**{name: torch.from_numpy(value) for name, value in given.items()})
        return [value.numpy() for value in found.values()]

    return run


def in_onnxruntime(folder: Path, threads: int) -> Callable[[str, Arrays], list[np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    sessions = {part: onnxruntime.InferenceSession(folder / part / "model.onnx", options) for part in PARTS}
    return lambda part, given: sessions[part].run(None, given)


def size_of(folder: Path) -> float:
    return sum(path.stat().st_size for part in PARTS for path in (folder / part).glob("model.onnx*")) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model with its processor")
    parser.add_argument("--exported", type=Path, required=True, help="what tacfn export made of it")
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0, 5.0, 15.0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, processor = load_model(args.model).eval(), TacfnProcessor.from_pretrained(args.model)
    if hasattr(model, "audio_encoder"):
        processor = processor.from_model(model)
    with tempfile.TemporaryDirectory() as made:
        for part in PARTS:
            (Path(made) / part).mkdir()
            source, target = args.exported / part / "model.onnx", Path(made) / part / "model.onnx"
            quantize_dynamic(source, target, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
        runs = {
            "torch": in_torch(model, processor),
            "onnxruntime": in_onnxruntime(args.exported, args.threads),
            "onnxruntime, int8": in_onnxruntime(Path(made), args.threads),
        }
        sizes = {"onnxruntime": size_of(args.exported), "onnxruntime, int8": size_of(Path(made))}
        rows = []
        for seconds in args.seconds:
            given = inputs_of(processor, seconds)
            answers = {name: run_all(run, *given) for name, run in runs.items()}  # the first turn is not timed
            taken: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(args.repeats):
                for name, run in runs.items():
                    start = time.perf_counter()
                    run_all(run, *given)
                    taken[name].append(time.perf_counter() - start)
            for name, times in taken.items():
                ratios = np.array(taken["torch"]) / times
                rows.append(
                    {
                        "seconds of speech": seconds,
                        "by": name,
                        "median, ms": 1e3 * float(np.median(times)),
                        "p95, ms": 1e3 * float(np.quantile(times, 0.95)),
                        "times torch's speed": float(np.median(ratios)),
                        "speed, from": float(np.quantile(ratios, 0.25)),
                        "speed, to": float(np.quantile(ratios, 0.75)),
                        "largest difference in logits": float(
                            np.abs(answers[name]["logits"] - answers["torch"]["logits"]).max()
                        ),
                        "in scores": float(np.abs(answers[name]["scores"] - answers["torch"]["scores"]).max()),
                        "MB": sizes.get(name),
                    }
                )
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.3g}".format, na_rep=""))
    if args.output is not None:
        versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
        about = {"machine": platform.processor() or platform.machine(), "threads": args.threads, **versions}
        write_json(args.output, {"about": about, "rows": rows})


if __name__ == "__main__":
    main()
