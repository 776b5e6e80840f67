"""
Cost of one training step of the fusion network (forward and backward) against the same computation written with bare
torch.nn.functional, timed alternately in one run, and against this machine's own matrix product.

    python scripts/benchmarks/fusion_cost.py
    python scripts/benchmarks/fusion_cost.py --num_hidden_layers 2
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import HfArgumentParser

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification
from tacfn_hf.model.beta_gate_tacfn import DISTANCE_SCALE
from tacfn_hf.model.distance_tacfn import NEAREST


@dataclass
class BenchmarkArguments:
    batch_size: int = field(default=16, metadata={"help": "Utterances in a batch."})
    audio_length: int = field(default=499, metadata={"help": "Audio frames of an utterance (50 a second)."})
    text_length: int = field(default=40, metadata={"help": "Text tokens of an utterance."})
    hidden_size: int = field(default=768, metadata={"help": "Size of the network and of the features."})
    num_hidden_layers: int = field(default=0, metadata={"help": "Cross-modal blocks."})
    hidden_dropout_prob: float = field(default=0.2, metadata={"help": "Dropout, in both."})
    padding: bool = field(default=False, metadata={"help": "Give every utterance a length of its own, and masks."})
    repeats: int = field(default=7, metadata={"help": "Timed pairs, after one that is not counted."})
    device: str = field(default="cpu", metadata={"help": "Device of both."})
    output: str | None = field(default=None, metadata={"help": "Also write the figures to this JSON file."})


def bare_logits(
    config: TacfnConfig,
    weights: dict[str, torch.Tensor],
    h_a: torch.Tensor,
    h_t: torch.Tensor,
    mask_a: torch.Tensor | None = None,
    mask_t: torch.Tensor | None = None,
) -> torch.Tensor:
    """The network's formulas on its weights and statistics, for complete samples; no class, no check, no interface."""
    d, heads, p = config.hidden_size, config.num_attention_heads, config.hidden_dropout_prob

    def linear(name, x):
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, (d,), weights[f"{name}.weight"], weights[f"{name}.bias"], config.layer_norm_eps)

    def attend(name, x, memory, mask):
        q, k, v = (
            linear(f"{name}.{part}_proj", s).view(s.shape[0], -1, heads, d // heads).transpose(1, 2)
            for part, s in (("q", x), ("k", memory), ("v", memory))
        )
        mask = None if mask is None else ~mask[:, None, None, :]
        update = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return F.dropout(linear(f"{name}.out_proj", update.transpose(1, 2).reshape(x.shape)), p)

    def feed_forward(name, x):
        return F.dropout(linear(f"{name}.2", F.relu(linear(f"{name}.0", x))), p)

    def mean(x, mask):
        if mask is None:
            return x.mean(1)
        keep = (~mask).unsqueeze(-1)
        return (x * keep).sum(1) / keep.sum(1)

    def prepare(name, x, mask):
        x = (x - weights[f"model.{name}_standardizer.mean"]) / weights[f"model.{name}_standardizer.std"]
        distance = linear(f"model.{name}_distance", mean(x, mask)).square().mean(-1, keepdim=True)
        x = F.dropout1d(x.mT, config.feature_dropout_prob).mT
        if not config.num_hidden_layers:  # else features of the size of the network are not projected
            x = linear(f"model.{name}_projection", mean(x, mask).unsqueeze(1))
        return x, DISTANCE_SCALE * distance.clamp(min=NEAREST).log()

    h_a, distance_a = prepare("audio", h_a, mask_a)
    h_t, distance_t = prepare("text", h_t, mask_t)
    if not config.num_hidden_layers:
        mask_a = mask_t = None
    for i in range(config.num_hidden_layers):
        layer = f"model.cross_modal.layers.{i}"
        h_a = norm(f"{layer}.audio_self_norm.norm", h_a + attend(f"{layer}.audio_self_attention", h_a, h_a, mask_a))
        h_t = norm(f"{layer}.text_self_norm.norm", h_t + attend(f"{layer}.text_self_attention", h_t, h_t, mask_t))
        cross_a = attend(f"{layer}.audio_cross_attention", h_a, h_t, mask_t)
        cross_t = attend(f"{layer}.text_cross_attention", h_t, h_a, mask_a)
        h_a = norm(f"{layer}.audio_cross_norm.norm", h_a + cross_a)
        h_t = norm(f"{layer}.text_cross_norm.norm", h_t + cross_t)
        h_a = norm(f"{layer}.audio_feed_forward_norm.norm", h_a + feed_forward(f"{layer}.audio_feed_forward", h_a))
        h_t = norm(f"{layer}.text_feed_forward_norm.norm", h_t + feed_forward(f"{layer}.text_feed_forward", h_t))
    a = mean(norm("model.beta_gate.audio_norm", h_a), mask_a)
    t = mean(norm("model.beta_gate.text_norm", h_t), mask_t)
    g = torch.cat([a, t, (a - t).abs(), a * t, distance_a, distance_t], -1)
    w = torch.sigmoid(linear("model.beta_gate.mlp.2", F.relu(linear("model.beta_gate.mlp.0", g))))
    return linear("classifier.out_proj", F.dropout(F.relu(w * a + (1 - w) * t), p))


def seconds(call: Callable[[], None], device: str) -> float:
    """What one call takes, until the device is done."""
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def matrix_product_flops(device: str, size: int = 2048) -> float:
    """FLOP/s of this machine's float32 matrix product, the best of five."""
    x = torch.randn(size, size, device=device)
    return max(2 * size**3 / seconds(lambda: x @ x, device) for _ in range(5))


def main() -> None:
    (args,) = HfArgumentParser(BenchmarkArguments, description=__doc__).parse_args_into_dataclasses()
    torch.manual_seed(0)
    config = TacfnConfig(
        audio_feature_size=args.hidden_size,
        text_feature_size=args.hidden_size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.num_hidden_layers,
        hidden_dropout_prob=args.hidden_dropout_prob,
    )
    model = TacfnForSequenceClassification(config).to(args.device)
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    lengths = {"h_a": args.audio_length, "h_t": args.text_length}
    batch = {n: torch.randn(args.batch_size, length, args.hidden_size) for n, length in lengths.items()}
    if args.padding:
        for suffix, length in (("a", args.audio_length), ("t", args.text_length)):
            valid = torch.randint(length // 2, length + 1, (args.batch_size, 1))
            valid[0] = length
            batch[f"mask_{suffix}"] = torch.arange(length)[None] >= valid
    batch = {name: value.to(args.device) for name, value in batch.items()}
    labels = torch.randint(config.num_labels, (args.batch_size,), device=args.device)

    def ours():
        model.zero_grad()
        model(**batch, labels=labels).loss.backward()

    def bare():
        model.zero_grad()
        F.cross_entropy(bare_logits(config, weights, **batch), labels).backward()

    dropout = config.hidden_dropout_prob, config.feature_dropout_prob
    config.hidden_dropout_prob = config.feature_dropout_prob = 0.0
    with torch.no_grad():
        difference = (model.eval()(**batch).logits - bare_logits(config, weights, **batch)).abs().max().item()
    config.hidden_dropout_prob, config.feature_dropout_prob = dropout
    model.train()
    if difference > 1e-4:
        raise SystemExit(f"The two computations differ by {difference:.1e}: they must be the same to be compared.")

    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for i in tqdm(range(args.repeats + 1), desc="pairs"):
        pair = (("ours", ours), ("bare", bare))
        for name, call in pair if i % 2 else reversed(pair):
            elapsed = seconds(call, args.device)
            if i:
                times[name].append(elapsed)
    with FlopCounterMode(display=False) as counter:
        bare()
    flops, peak = counter.get_total_flops(), matrix_product_flops(args.device)
    figures = {
        "largest_difference_of_logits": difference,
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "ours_to_bare": statistics.median(a / b for a, b in zip(times["ours"], times["bare"])),
        "flops_of_step": flops,
        "flops_per_second_of_matrix_product": peak,
    }
    print(f"d {args.hidden_size}, {args.num_hidden_layers} blocks, B {args.batch_size}, ", end="")
    print(f"L_a {args.audio_length}, L_t {args.text_length}, padding {args.padding}, forward + backward")
    print(f"largest difference of the logits   {difference:.1e}")
    for name, median in figures["seconds"].items():
        print(f"{name:<5} {median:8.4f} s  {flops / median / 1e9:8.1f} GFLOP/s  {flops / median / peak:6.1%} of matmul")
    print(f"matmul of 2048 x 2048              {peak / 1e9:.1f} GFLOP/s")
    print(f"ours / bare, median of {args.repeats} pairs     {figures['ours_to_bare']:.3f}")
    if args.output:
        Path(args.output).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
