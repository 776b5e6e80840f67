"""
Where the time of an encoder goes, by kind of operation, against what this machine could do.

    python scripts/benchmarks/encoder_profile.py
    python scripts/benchmarks/encoder_profile.py --device cuda --dtype bfloat16 --seconds 10

WavLM base-plus, or the encoder that --audio_encoder names, encodes one utterance as the project does it. Every operator
is written down with the shapes of its inputs, and timed again alone, by each kernel that is at hand:

- linear layers: MKL (or the device's own), oneDNN;
- convolutions: torch's own, the same in the layout channels-last, one matrix product of unfolded inputs;
- attention: scaled_dot_product_attention, or two matrix products with a softmax in between;
- all else by its bytes, at the speed of a copy of as many bytes.

The limit of an operation is its fastest kernel, and the limit of the encoder is their sum. Beside it stands the time
that the FLOPs alone would take at the speed of the fastest 2048 x 2048 product.
"""

import json
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from encoder_speed import fastest_product, synchronize
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, HfArgumentParser, WavLMConfig

from tacfn_hf.cli.memory import keep_freed_memory
from tacfn_hf.model.cpu_kernels_tacfn import CpuKernels, cpu_kernels, has_onednn
from tacfn_hf.model.exact_speech_encoders_tacfn import SPEECH_ENCODERS


RATE = 16_000


@dataclass
class BenchmarkArguments:
    audio_encoder: str | None = field(default=None, metadata={"help": "Folder or Hub id, for its configuration."})
    seconds: float = field(default=4.0, metadata={"help": "Of the utterance."})
    batch_size: int = field(default=1, metadata={"help": "Utterances of this length in the batch."})
    repeats: int = field(default=10, metadata={"help": "Times that each thing is timed; the best one counts."})
    dtype: Literal["float32", "bfloat16", "float16"] = field(default="float32", metadata={"help": "Of the encoder."})
    device: str = field(default="cpu", metadata={"help": "Device of all."})
    threads: int = field(default=0, metadata={"help": "Of the CPU (0: torch's own choice)."})
    output: str | None = field(default=None, metadata={"help": "Also write the figures to this JSON file."})


class Operators(TorchDispatchMode):
    """Writes down each operator with its arguments, tensors by shape."""

    def __init__(self):
        super().__init__()
        self.seen: Counter = Counter()
        self.examples: dict[Any, tuple] = {}
        self.bytes: dict[Any, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        tensors = [x for x in args if isinstance(x, torch.Tensor)]
        results = [x for x in (result if isinstance(result, tuple | list) else [result]) if isinstance(x, torch.Tensor)]
        storages = {x.untyped_storage().data_ptr() for x in tensors}
        if results and all(x.untyped_storage().data_ptr() in storages for x in results) and not name.endswith("_"):
            return result  # a view
        key = (name, tuple(tuple(x.shape) if isinstance(x, torch.Tensor) else repr(x) for x in args))
        self.seen[key] += 1
        self.examples[key] = tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in args)
        self.bytes[key] = sum(x.numel() * x.element_size() for x in (*tensors, *results))
        return result


def kind_of(name: str) -> str:
    if "conv" in name and "weight" not in name:
        return "convolutions"
    if name in ("addmm", "mm", "_linear_pointwise", "linear"):
        return "linear layers"
    if "scaled_dot_product" in name or name in ("bmm", "baddbmm", "_softmax"):
        return "attention"
    if "norm" in name:
        return "norms"
    return "activations" if name in ("gelu", "relu", "silu") else "all else"


def best_of(call: Callable[[], Any], args: BenchmarkArguments) -> float:
    call()
    times = []
    for _ in range(args.repeats):
        synchronize(args.device)
        start = time.perf_counter()
        call()
        synchronize(args.device)
        times.append(time.perf_counter() - start)
    return min(times)


def kernels_of(kind: str, name: str, given: tuple, args: BenchmarkArguments) -> dict[str, Callable[[], Any]]:
    """What computes the same, by a name."""
    if kind == "linear layers":
        x, weight, bias = (given[1], given[2].mT, given[0]) if name == "addmm" else (*given[:2], None)
        if name == "mm":
            weight = weight.mT
        elif name != "addmm":
            bias = given[2]
        weight = weight.contiguous()
        kernels = {"MKL" if args.device == "cpu" else "torch": lambda: F.linear(x, weight, bias)}
        if args.device == "cpu" and x.dtype == torch.float32 and has_onednn():
            kernels["oneDNN"] = lambda: CpuKernels(True).__torch_function__(F.linear, (), (x, weight, bias))
        return kernels
    if kind == "convolutions":
        x, weight, bias, stride, padding, dilation, _, _, groups = given[:9]
        if x.dim() == 4:  # an image of one row
            x, weight = x.squeeze(2), weight.squeeze(2)
        step, pad, dilated = stride[-1], padding[-1], dilation[-1]
        contiguous, as_it_is = x.contiguous(), weight.contiguous()
        last = torch.channels_last
        wide, kernel = x.unsqueeze(2).contiguous(memory_format=last), weight.unsqueeze(2).contiguous(memory_format=last)
        kernels = {
            "torch": lambda: F.conv1d(contiguous, as_it_is, bias, step, pad, dilated, groups),
            "channels-last": lambda: F.conv2d(wide, kernel, bias, (1, step), (0, pad), (1, dilated), groups),
        }
        if groups == 1 and pad == 0:
            flat = as_it_is.flatten(1)

            def product():
                rows = contiguous.unfold(-1, weight.shape[-1], step).transpose(1, 2).flatten(2)
                if args.device == "cpu" and x.dtype == torch.float32 and has_onednn():
                    return CpuKernels(True).__torch_function__(F.linear, (), (rows, flat, bias))
                return F.linear(rows, flat, bias)

            kernels["matrix product"] = product
        return kernels
    if "scaled_dot_product" in name:
        q, k, v = given[:3]
        bias = next((x for x in given[3:] if isinstance(x, torch.Tensor)), None)

        def products():
            scores = q @ k.mT * q.shape[-1] ** -0.5
            return (scores if bias is None else scores + bias).softmax(-1) @ v

        return {"sdpa": lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias), "two products": products}
    return {}


@torch.no_grad()
def main() -> None:
    (args,) = HfArgumentParser(BenchmarkArguments, description=__doc__).parse_args_into_dataclasses()
    keep_freed_memory()  # as `tacfn extract` does
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    dtype = getattr(torch, args.dtype)
    config = WavLMConfig() if args.audio_encoder is None else AutoConfig.from_pretrained(args.audio_encoder)
    encoder = SPEECH_ENCODERS[config.model_type](AutoModel.from_config(config).eval(), [config.num_hidden_layers])
    encoder.to(args.device, dtype)
    waveforms = 0.1 * torch.randn(args.batch_size, round(RATE * args.seconds), device=args.device)
    lengths = torch.full((args.batch_size,), waveforms.shape[1], device=args.device)

    def encode() -> Any:
        with cpu_kernels(None, encoder.device):
            return encoder(waveforms, lengths)

    actual = best_of(encode, args)
    with Operators() as operators:
        encode()
    with FlopCounterMode(display=False) as counter:
        encoder(waveforms, lengths)
    product = fastest_product(args.device, dtype)

    of_kind: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"calls": 0, "as it is": 0.0, "limit": 0.0, "by": Counter()}
    )
    for key, count in operators.seen.items():
        name, given = key[0], operators.examples[key]
        kind = kind_of(name)
        size = max(operators.bytes[key] // 8, 1)  # read and written
        one, other = (torch.empty(size, dtype=torch.float32, device=args.device) for _ in range(2))
        times = {name: best_of(call, args) for name, call in kernels_of(kind, name, given, args).items()}
        copied = best_of(lambda one=one, other=other: one.copy_(other), args)
        row = of_kind[kind]
        row["calls"] += count
        row["limit"] += count * min(times.values(), default=copied)
        row["by"][min(times, key=times.__getitem__) if times else "bytes"] += count
    actual = min(actual, best_of(encode, args))  # again, since the clock of a CPU drifts
    timed = profiled(encode, args)
    for kind, seconds in timed.items():
        of_kind[kind]["as it is"] = seconds
    limit = sum(row["limit"] for row in of_kind.values())
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{config.model_type}, {args.batch_size} x {args.seconds:g} s, {args.dtype}, {where}")
    print(f"{'':<22}{'calls':>6}{'ms':>9}{'limit, ms':>11}  fastest kernels")
    for kind, row in sorted(of_kind.items(), key=lambda item: -item[1]["limit"]):
        by = ", ".join(f"{name} {count}" for name, count in row["by"].most_common())
        print(f"{kind:<22}{row['calls']:>6}{1e3 * row['as it is']:>9.1f}{1e3 * row['limit']:>11.1f}  {by}")
    flops = counter.get_total_flops()
    print(f"{'sum':<22}{'':>6}{1e3 * actual:>9.1f}{1e3 * limit:>11.1f}  reached to {limit / actual:.0%}")
    speed = f"{flops / 1e9:.0f} GFLOP at {product / 1e9:.0f} GFLOP/s"
    print(f"{speed}: {1e3 * flops / product:.1f} ms, reached to {flops / product / actual:.0%}")
    if args.output:
        content = {
            "machine": platform.processor() or platform.machine(),
            "where": where,
            "milliseconds": 1e3 * actual,
            "limit": 1e3 * limit,
            "products_alone": 1e3 * flops / product,
            "kinds": {kind: {**row, "by": dict(row["by"])} for kind, row in of_kind.items()},
        }
        Path(args.output).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def profiled(encode: Callable[[], Any], args: BenchmarkArguments) -> dict[str, float]:
    """Seconds of each kind in one encoding, by torch's profiler: an operator without those that it calls. The best."""
    activity = torch.profiler.ProfilerActivity
    best: dict[str, float] = {}
    for _ in range(args.repeats):
        with torch.profiler.profile(
            activities=[activity.CPU, *([activity.CUDA] if args.device == "cuda" else [])]
        ) as found:
            encode()
        seconds: dict[str, float] = defaultdict(float)
        for event in found.key_averages(group_by_input_shape=False):
            name = event.key.split("::")[-1]
            on_device = args.device == "cuda"
            taken = getattr(event, "self_device_time_total", 0) if on_device else event.self_cpu_time_total
            seconds[kind_of(name)] += 1e-6 * taken
        best = {kind: min(taken, best.get(kind, taken)) for kind, taken in seconds.items()}
    return best


if __name__ == "__main__":
    main()
