"""
What one training step costs: forward, objective and backward with the options of training at their defaults, without
the optimizer. Batches are padded, and one sample lacks audio.

    python scripts/benchmarks/training_step.py
    python scripts/benchmarks/training_step.py --device cuda

Timed for the network without cross-modal blocks and with two, in float32 and under bfloat16 autocast, as it is and
compiled into one graph. Counted besides: how often the host waits for the device. Below that, the implementations of
attention, alone and in the network with two blocks: their time, and how far they are from float32.
"""

import json
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer
from transformers import HfArgumentParser

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification
from tacfn_hf.training.arguments import TrainingOptions
from tacfn_hf.training.objective import Objective


BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH)
IMPLEMENTATIONS = ("eager", "sdpa", "flash_attention_2")
WAITS = ("aten::_local_scalar_dense", "aten::nonzero")


@dataclass
class BenchmarkArguments:
    batch_size: int = field(default=64, metadata={"help": "Utterances in a batch."})
    audio_length: int = field(default=499, metadata={"help": "Audio frames of the longest utterance (50 a second)."})
    text_length: int = field(default=40, metadata={"help": "Text tokens of the longest utterance."})
    hidden_size: int = field(default=768, metadata={"help": "Size of the network and of the features."})
    min_run_time: float = field(default=1.0, metadata={"help": "Seconds for which each thing is timed."})
    compile: bool = field(default=True, metadata={"help": "Also compile the step."})
    device: str = field(default="cpu", metadata={"help": "Device of all."})
    output: str | None = field(default=None, metadata={"help": "Also write the figures to this JSON file."})


def make_model(args: BenchmarkArguments, num_hidden_layers: int) -> TacfnForSequenceClassification:
    torch.manual_seed(0)
    size = args.hidden_size
    config = TacfnConfig(
        audio_feature_size=size, text_feature_size=size, hidden_size=size, num_hidden_layers=num_hidden_layers
    )
    return TacfnForSequenceClassification(config).to(args.device).train()


def make_batch(args: BenchmarkArguments, padding: bool) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch = {}
    for suffix, length in (("a", args.audio_length), ("t", args.text_length)):
        batch[f"h_{suffix}"] = torch.randn(args.batch_size, length, args.hidden_size, generator=generator)
        if padding:
            valid = torch.randint(length // 2, length + 1, (args.batch_size, 1), generator=generator)
            valid[0] = length if suffix == "t" else 0  # the first sample has no audio
            batch[f"mask_{suffix}"] = torch.arange(length)[None] >= valid
    return {name: value.to(args.device) for name, value in batch.items()}


def median_seconds(call: Callable[[], Any], args: BenchmarkArguments) -> float:
    call()
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=args.min_run_time).median


def count_waits(step: Callable[[], Any], device: str) -> dict[str, int]:
    """Operators for which the host waits; on a GPU also the warnings of torch's own search for such places."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    waits = {"operators": sum(event.count for event in recorded.key_averages() if event.key in WAITS)}
    if device != "cpu":
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
        torch.cuda.set_sync_debug_mode("default")
        waits["sync_debug_mode"] = sum("synchronizing" in str(warning.message) for warning in caught)
    return waits


def measure_steps(args: BenchmarkArguments) -> list[dict[str, Any]]:
    options = TrainingOptions(output_dir="")
    shared = {f.name for f in fields(Objective)} & {f.name for f in fields(options)} - {"class_weights"}
    objective = Objective(**{name: getattr(options, name) for name in shared})
    batch, rows = make_batch(args, padding=True), []
    for num_hidden_layers in (0, 2):
        model = make_model(args, num_hidden_layers)
        labels = torch.arange(args.batch_size, device=args.device) % model.config.num_labels
        for dtype in ("float32", "bfloat16"):

            def loss(model=model, labels=labels, dtype=dtype):
                autocast = torch.autocast(args.device, torch.bfloat16) if dtype == "bfloat16" else nullcontext()
                with autocast:
                    return objective(model, batch, labels)[0]

            for compiled in (False, True)[: 1 + args.compile]:
                torch.compiler.reset()
                run = torch.compile(loss, fullgraph=True) if compiled else loss

                def step(run=run, model=model):
                    model.zero_grad()
                    run().backward()

                step()
                if args.device != "cpu":
                    torch.cuda.reset_peak_memory_stats()
                row = {"blocks": num_hidden_layers, "dtype": dtype, "compiled": compiled}
                row["milliseconds"] = 1000 * median_seconds(step, args)
                row["samples_per_second"] = 1000 * args.batch_size / row["milliseconds"]
                row["peak_MiB"] = torch.cuda.max_memory_allocated() / 2**20 if args.device != "cpu" else None
                rows.append(row | {"waits": count_waits(step, args.device)})
    return rows


def compare(call: Callable[[], torch.Tensor], expected: torch.Tensor, args: BenchmarkArguments) -> dict[str, Any]:
    """The time of a call and how far its result is from the expected one, or why it can't be called."""
    try:
        result = call().float()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return {"refused": str(error).split(".")[0]}
    difference = ((result - expected).norm() / expected.norm()).item()
    return {"milliseconds": 1000 * median_seconds(call, args), "relative_difference": difference}


@torch.no_grad()
def measure_attention(args: BenchmarkArguments) -> list[dict[str, Any]]:
    rows = []
    config = TacfnConfig(hidden_size=args.hidden_size)
    head_dim = args.hidden_size // config.num_attention_heads
    torch.manual_seed(0)
    shape = (3, args.batch_size, config.num_attention_heads, args.audio_length, head_dim)
    whole = torch.randn(shape, device=args.device)
    half = whole.to(torch.bfloat16)
    keep = ~make_batch(args, padding=True)["mask_a"]
    keep[0] = True
    for what, mask in (("audio on audio", None), ("audio on audio, padded", keep[:, None, None, :])):
        expected = F.scaled_dot_product_attention(*whole, attn_mask=mask)
        for backend in BACKENDS:

            def attend(backend=backend, mask=mask):
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(*half, attn_mask=mask)

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # why a kernel can't be used; the error says so as well
                rows.append({"what": what, "by": backend.name.lower()} | compare(attend, expected, args))

    model = make_model(args, 2).eval()
    for what, padding in (("network", False), ("network, padded", True)):
        batch = make_batch(args, padding)
        expected = model(**batch).logits
        for name in IMPLEMENTATIONS:

            def logits(name=name, batch=batch):
                if model.config._attn_implementation != name:
                    model.set_attn_implementation(name)
                with torch.autocast(args.device, torch.bfloat16):
                    return model(**batch).logits

            rows.append({"what": what, "by": name} | compare(logits, expected, args))
            model.set_attn_implementation("sdpa")
    return rows


def main() -> None:
    (args,) = HfArgumentParser(BenchmarkArguments, description=__doc__).parse_args_into_dataclasses()
    found = {"steps": measure_steps(args), "attention": measure_attention(args)}
    print(f"d {args.hidden_size}, B {args.batch_size}, L_a {args.audio_length}, L_t {args.text_length}, {args.device}")
    print("blocks  dtype     compiled        ms   samples/s  peak MiB  waits")
    for row in found["steps"]:
        print(
            f"{row['blocks']:>6}  {row['dtype']:<8}  {'yes' if row['compiled'] else 'no':<8} "
            f"{row['milliseconds']:>9.2f} {row['samples_per_second']:>11.0f}  {row['peak_MiB'] or 0:>8.0f}  "
            + ", ".join(f"{count} {name}" for name, count in row["waits"].items())
        )
    for row in found["attention"]:
        figures = row.get("refused") or f"{row['milliseconds']:9.3f} ms   {row['relative_difference']:.1e} from float32"
        print(f"{row['what']:<24} {row['by']:<20} {figures}")
    if args.output:
        Path(args.output).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
