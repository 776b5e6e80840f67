"""
Seconds of speech encoded in a second by WavLM base-plus with BERT base, at their real sizes with seeded random weights,
timed alternately in one run against two ways of doing it with plain transformers:

- cut: every clip padded or cut to 10 s, every text to 128 tokens, one at a time, as is common practice;
- alone: one at a time, without padding.

On a CPU in float32 the project is timed twice: as it is (tacfn_hf), and with `use_onednn` (onednn).

    python scripts/benchmarks/encoder_speed.py
    python scripts/benchmarks/encoder_speed.py --device cuda --num_utterances 256 --dtype bfloat16

Lengths are those of two corpora: uniform from 3 to 4.5 s with 10 tokens, like RAVDESS, and log-normal with median 3.7 s
between 1 and 15 s with about 3.8 tokens a second, like IEMOCAP. Printed besides: the limit that this machine's fastest
matrix product sets, with the FLOPs counted in transformers' own models, and where the time goes.
"""

import copy
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import BertConfig, BertModel, HfArgumentParser, WavLMConfig, WavLMModel

from tacfn_hf.cli.memory import keep_freed_memory
from tacfn_hf.model.cpu_kernels_tacfn import cpu_kernels, has_onednn
from tacfn_hf.model.exact_speech_encoders_tacfn import WaveformEncoder
from tacfn_hf.model.exact_text_encoders_tacfn import TextEncoder


RATE = 16_000
CUT_SECONDS, CUT_TOKENS = 10, 128


@dataclass
class BenchmarkArguments:
    """Arguments of the command line."""

    num_utterances: int = field(default=16, metadata={"help": "Utterances of each distribution."})
    repeats: int = field(default=5, metadata={"help": "Timed rounds, after one that is not counted."})
    dtype: Literal["float32", "bfloat16"] = field(default="float32", metadata={"help": "What the project computes in."})
    device: str = field(default="cpu", metadata={"help": "Device of all."})
    seed: int = field(default=0, metadata={"help": "Of weights and lengths."})
    output: str | None = field(default=None, metadata={"help": "Also write the figures to this JSON file."})


def utterances(distribution: str, count: int, generator: torch.Generator) -> tuple[list[torch.Tensor], list[list[int]]]:
    """Waveforms and token ids."""
    if distribution == "uniform 3-4.5 s":
        seconds = 3 + 1.5 * torch.rand(count, generator=generator)
        tokens = torch.full((count,), 10)
    else:  # 0.6: the standard deviation of the logarithm in IEMOCAP
        seconds = (3.7 * (0.6 * torch.randn(count, generator=generator)).exp()).clamp(1, 15)
        tokens = (2 + 3.8 * seconds).long()
    clips = [0.1 * torch.randn(int(RATE * s), generator=generator) for s in seconds.tolist()]
    return clips, [torch.randint(1000, 30000, (n,), generator=generator).tolist() for n in tokens.tolist()]


class Stock:
    """The encoders as transformers gives them, one utterance at a time."""

    def __init__(self, speech: WavLMModel, text: BertModel, device: str):
        self.speech, self.text, self.device = speech, text, device

    @torch.no_grad()
    def alone(self, clips: list[torch.Tensor], texts: list[list[int]]) -> None:
        """Encodes each as it is."""
        for clip, ids in zip(clips, texts):
            self.speech(clip[None].to(self.device)).last_hidden_state.cpu()
            self.text(torch.tensor([ids], device=self.device)).last_hidden_state.cpu()

    @torch.no_grad()
    def cut(self, clips: list[torch.Tensor], texts: list[list[int]]) -> None:
        """Encodes each padded or cut to one length."""
        for clip, ids in zip(clips, texts):
            clip = F.pad(clip, (0, max(0, CUT_SECONDS * RATE - len(clip))))[: CUT_SECONDS * RATE]
            self.speech(clip[None].to(self.device)).last_hidden_state.cpu()
            ids = torch.tensor([(ids + [0] * CUT_TOKENS)[:CUT_TOKENS]], device=self.device)
            self.text(ids, attention_mask=(ids != 0).long()).last_hidden_state.cpu()


def synchronize(device: str) -> None:
    """Waits for an accelerator."""
    if device != "cpu":
        torch.accelerator.synchronize()


def seconds_of(function: Callable[[], object], device: str) -> float:
    """The time of one call."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


@torch.no_grad()
def fastest_product(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest matrix product of 2048 x 2048 that is at hand, the best of ten."""
    x = torch.randn(2048, 2048, device=device, dtype=dtype)
    layer = nn.Linear(2048, 2048, bias=False, device=device, dtype=dtype)
    times = []
    for use_onednn in (False, True) if takes_onednn(device, dtype) else (False,):
        with cpu_kernels(use_onednn, layer.weight.device):
            times += [seconds_of(lambda: layer(x), device) for _ in range(10)]
    return 2 * 2048**3 / min(times)


def takes_onednn(device: str, dtype: torch.dtype) -> bool:
    """Whether `use_onednn` changes anything."""
    return device == "cpu" and dtype == torch.float32 and has_onednn()


def flops(stock: Stock, clips: list[torch.Tensor], texts: list[list[int]]) -> int:
    """Of one pass over the utterances: matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        stock.alone(clips, texts)
    return counter.get_total_flops()


def shares(speech: WaveformEncoder, text: TextEncoder, clips, texts, device: str) -> dict[str, float]:
    """The share of each part in the time of one pass."""
    spent, started, handles = defaultdict(float), {}, []

    def watch(module: nn.Module, part: str) -> None:
        def begin(module, args):
            synchronize(device)
            started[module] = time.perf_counter()

        def end(module, args, output):
            synchronize(device)
            spent[part] += time.perf_counter() - started[module]

        handles.extend((module.register_forward_pre_hook(begin), module.register_forward_hook(end)))

    watch(speech.model.feature_extractor, "convolutions")
    watch(speech.model.encoder.pos_conv_embed, "positions")
    for layer in speech.model.encoder.layers:
        watch(layer.attention, "attention")
        watch(layer.feed_forward, "feed-forward")
    watch(text, "text")
    biases = speech.model.encoder.layers[0].attention
    compute_bias = biases.compute_bias

    def timed_bias(*args):
        began = time.perf_counter()
        bias = compute_bias(*args)
        spent["position bias"] += time.perf_counter() - began
        return bias

    biases.compute_bias = timed_bias
    total = seconds_of(lambda: (speech.encode(clips), text.encode(texts)), device)
    del biases.compute_bias
    for handle in handles:
        handle.remove()
    spent["attention"] -= spent["position bias"]
    return {part: time / total for part, time in spent.items()} | {"rest": 1 - sum(spent.values()) / total}


def measure(
    stock: Stock,
    speech: WaveformEncoder,
    text: TextEncoder,
    distribution: str,
    product: float,
    args: BenchmarkArguments,
) -> dict[str, object]:
    """Times every way over the utterances of one distribution."""
    clips, texts = utterances(distribution, args.num_utterances, torch.Generator().manual_seed(args.seed))
    seconds = sum(map(len, clips)) / RATE
    ways = {
        "cut": lambda: stock.cut(clips, texts),
        "alone": lambda: stock.alone(clips, texts),
        "tacfn_hf": lambda: (speech.encode(clips), text.encode(texts)),
    }
    if takes_onednn(args.device, speech.model.dtype):
        ways["onednn"] = lambda: (speech.encode(clips, use_onednn=True), text.encode(texts, use_onednn=True))
    times = {name: [] for name in ways}
    for _ in tqdm(range(args.repeats + 1), desc=distribution):
        for name, run in ways.items():
            times[name].append(seconds_of(run, args.device))
    work = flops(stock, clips, texts)
    return {
        "utterances": args.num_utterances,
        "seconds_of_speech": seconds,
        "speech_per_second": {name: seconds / statistics.median(values[1:]) for name, values in times.items()},
        "times_as_fast_as": {
            name: statistics.median(a / b for a, b in zip(values[1:], times["tacfn_hf"][1:]))
            for name, values in times.items()
            if name != "tacfn_hf"
        },
        "gflop_per_second_of_speech": work / seconds / 1e9,
        "limit_speech_per_second": seconds * product / work,
        "shares": shares(speech, text, clips, texts, args.device),
    }


def main() -> None:
    """Prints the speeds, and writes them where `--output` says."""
    (args,) = HfArgumentParser(BenchmarkArguments, description=__doc__).parse_args_into_dataclasses()
    keep_freed_memory()  # as `tacfn extract` does; the other ways gain by it, too
    torch.manual_seed(args.seed)
    dtype = getattr(torch, args.dtype)
    models = WavLMModel(WavLMConfig()), BertModel(BertConfig())
    stock = Stock(*(model.eval().to(args.device) for model in models), args.device)
    speech = WaveformEncoder(copy.deepcopy(stock.speech), [12]).to(dtype)
    text = TextEncoder(copy.deepcopy(stock.text), [12]).to(dtype)
    product = fastest_product(args.device, dtype)
    print(f"matrix product 2048 x 2048 in {args.dtype}: {product / 1e9:.0f} GFLOP/s")

    found = {}
    for distribution in ("uniform 3-4.5 s", "log-normal, median 3.7 s"):
        row = found[distribution] = measure(stock, speech, text, distribution, product, args)
        print(f"{distribution}: {row['utterances']} utterances, {row['seconds_of_speech']:.0f} s of speech")
        for name, speed in row["speech_per_second"].items():
            ratios = row["times_as_fast_as"]
            ratio = f"   tacfn_hf is {ratios[name]:.2f} times as fast" if name in ratios else ""
            print(f"  {name:<9} {speed:7.1f} s of speech/s{ratio}")
        reached = max(row["speech_per_second"].values()) / row["limit_speech_per_second"]
        print(
            f"  limit     {row['limit_speech_per_second']:7.1f} s of speech/s   reached to {reached:.0%}"
            f"   ({row['gflop_per_second_of_speech']:.1f} GFLOP a second of speech)"
        )
        print("  time      " + ", ".join(f"{part} {share:.0%}" for part, share in row["shares"].items()))
    if args.output:
        Path(args.output).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
