"""
WavLM base-plus or large as the project runs it in float32 on a CPU, and three variants, timed in turns: torch's own
layout of convolutions, bfloat16, and linear layers in int8 (dynamic quantisation). Their error is the relative norm of
the difference from the features in float32.

    python scripts/benchmarks/encoder_variants.py --threads 1
    python scripts/benchmarks/encoder_variants.py --size large --seconds 10

Weights are random and seeded. Each utterance is noise.
"""

import copy
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import HfArgumentParser, WavLMConfig, WavLMModel

from tacfn_hf.cli.memory import keep_freed_memory
from tacfn_hf.model import cpu_kernels_tacfn
from tacfn_hf.model.cpu_kernels_tacfn import CpuKernels
from tacfn_hf.model.exact_speech_encoders_tacfn import WaveformEncoder


RATE = 16_000
LARGE: dict[str, Any] = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
LARGE |= {"intermediate_size": 4096, "feat_extract_norm": "layer", "do_stable_layer_norm": True}


@dataclass
class BenchmarkArguments:
    size: Literal["base", "large"] = field(default="base", metadata={"help": "Of the encoder."})
    seconds: list[float] = field(default_factory=lambda: [1.0, 4.0, 10.0], metadata={"help": "Lengths of utterances."})
    threads: int = field(default=0, metadata={"help": "Of the CPU (0: torch's own choice)."})
    repeats: int = field(default=7, metadata={"help": "Turns, after one that is not counted."})
    output: str | None = field(default=None, metadata={"help": "Also write the figures to this JSON file."})


class OwnLayout(CpuKernels):
    """The project's kernels but for convolutions, which are torch's."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function is F.conv1d:
            return function(*args, **(kwargs or {}))
        return super().__torch_function__(function, types, args, kwargs)


def own_layout() -> AbstractContextManager:
    return patch.object(cpu_kernels_tacfn, "CpuKernels", OwnLayout)


def main() -> None:
    """Prints the times as ratios, and the errors."""
    (args,) = HfArgumentParser(BenchmarkArguments, description=__doc__).parse_args_into_dataclasses()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = WavLMModel(WavLMConfig(**(LARGE if args.size == "large" else {}))).eval()
    layers = [model.config.num_hidden_layers]
    as_it_is, half, int8 = (WaveformEncoder(copy.deepcopy(model), layers) for _ in range(3))
    half.bfloat16()
    torch.ao.quantization.quantize_dynamic(int8.model, {nn.Linear}, dtype=torch.qint8, inplace=True)
    variants = {
        "float32": (as_it_is, nullcontext),
        "torch's layout": (as_it_is, own_layout),
        "bfloat16": (half, nullcontext),
        "int8": (int8, nullcontext),
    }
    found = []
    for seconds in args.seconds:
        inputs = [0.1 * torch.randn(round(RATE * seconds))]
        times: dict[str, list[float]] = {name: [] for name in variants}
        features = {}
        for _ in tqdm(range(args.repeats + 1), desc=f"{seconds:g} s"):
            for name, (encoder, context) in variants.items():
                with context():
                    start = time.perf_counter()
                    features[name] = encoder.encode(inputs)[0]
                    times[name].append(time.perf_counter() - start)
        exact = features["float32"]
        for name, taken in times.items():
            ratios = [a / b for a, b in zip(times["float32"][1:], taken[1:])]
            row = {
                "seconds": seconds,
                "variant": name,
                "milliseconds": 1e3 * statistics.median(taken[1:]),
                "times_as_fast": statistics.median(ratios),
                "from": min(ratios),
                "to": max(ratios),
                "error": float((features[name] - exact).norm() / exact.norm()),
            }
            found.append(row)
            print(
                f"{seconds:>4g} s  {name:<15}{row['milliseconds']:8.1f} ms   {row['times_as_fast']:.2f} times as fast "
                f"({row['from']:.2f} to {row['to']:.2f})   error {row['error']:.1e}"
            )
    if args.output:
        Path(args.output).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
