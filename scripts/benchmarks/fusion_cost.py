"""
Cost of one training step of the fusion network (forward and backward) against the same computation written with bare
torch.nn.functional, timed alternately in one run, and against this machine's own matrix product.

    python scripts/benchmarks/fusion_cost.py
"""

import statistics
import time
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F
from tqdm import tqdm
from transformers import HfArgumentParser

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification


@dataclass
class BenchmarkArguments:
    batch_size: int = field(default=16, metadata={"help": "Utterances in a batch."})
    audio_length: int = field(default=499, metadata={"help": "Audio frames of an utterance (50 a second)."})
    text_length: int = field(default=40, metadata={"help": "Text tokens of an utterance."})
    hidden_size: int = field(default=768, metadata={"help": "Size of the network and of the features."})
    num_hidden_layers: int = field(default=2, metadata={"help": "Cross-modal blocks."})
    hidden_dropout_prob: float = field(default=0.2, metadata={"help": "Dropout, in both."})
    padding: bool = field(default=False, metadata={"help": "Give every utterance a length of its own, and masks."})
    repeats: int = field(default=7, metadata={"help": "Timed pairs, after one that is not counted."})
    device: str = field(default="cpu", metadata={"help": "Device of both."})


def bare_logits(config, weights, h_a, h_t, mask_a=None, mask_t=None):
    """The network's formulas on a dict of weights, for complete samples; no class, no check, no interface."""
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
    hidden = F.relu(linear("model.beta_gate.mlp.0", torch.cat([a, t, (a - t).abs(), a * t], -1)))
    w = torch.sigmoid(linear("model.beta_gate.mlp.2", hidden))
    hidden = F.relu(linear("classifier.dense", norm("classifier.norm", w * a + (1 - w) * t)))
    return linear("classifier.out_proj", F.dropout(hidden, p))


def matrix_product_flops(device: str, size: int = 2048) -> float:
    """FLOP/s of this machine's float32 matrix product, the best of five."""
    x = torch.randn(size, size, device=device)
    return max(2 * size**3 / seconds(lambda: x @ x, device) for _ in range(5))


def step_flops(args: BenchmarkArguments) -> float:
    """Matrix-product FLOPs of the forward pass of one batch, times three for forward and backward."""
    d, total = args.hidden_size, 0
    for length, other in ((args.audio_length, args.text_length), (args.text_length, args.audio_length)):
        linears = 4 * length + 2 * length + 2 * other  # self: q k v out; cross: q out on one, k v on the other
        total += 2 * linears * d * d + 2 * 8 * length * d * d  # and the feed-forward, d -> 4d -> d
        total += 4 * length * (length + other) * d  # scores and weighted sums, self and cross
    return 3.0 * args.batch_size * args.num_hidden_layers * total


def seconds(call, device: str) -> float:
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    (args,) = HfArgumentParser(BenchmarkArguments).parse_args_into_dataclasses()
    torch.manual_seed(0)
    config = TacfnConfig(
        audio_feature_size=args.hidden_size,
        text_feature_size=args.hidden_size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.num_hidden_layers,
        hidden_dropout_prob=args.hidden_dropout_prob,
    )
    model = TacfnForSequenceClassification(config).to(args.device).train()
    weights = dict(model.named_parameters())
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

    config.hidden_dropout_prob = 0.0
    with torch.no_grad():
        difference = (model.eval()(**batch).logits - bare_logits(config, weights, **batch)).abs().max().item()
    config.hidden_dropout_prob = args.hidden_dropout_prob
    model.train()
    if difference > 1e-4:
        raise SystemExit(f"The two computations differ by {difference:.1e}: they must be the same to be compared.")

    times = {"ours": [], "bare": []}
    for i in tqdm(range(args.repeats + 1), desc="pairs"):
        pair = (("ours", ours), ("bare", bare))
        for name, call in pair if i % 2 else reversed(pair):
            elapsed = seconds(call, args.device)
            if i:
                times[name].append(elapsed)
    ratio = statistics.median(a / b for a, b in zip(times["ours"], times["bare"]))
    peak, flops = matrix_product_flops(args.device), step_flops(args)
    print(f"d {args.hidden_size}, {args.num_hidden_layers} layers, B {args.batch_size}, ", end="")
    print(f"L_a {args.audio_length}, L_t {args.text_length}, padding {args.padding}, forward + backward")
    print(f"largest difference of the logits   {difference:.1e}")
    for name in times:
        median = statistics.median(times[name])
        print(f"{name:<5} {median:8.3f} s  {flops / median / 1e9:8.1f} GFLOP/s  {flops / median / peak:6.1%} of matmul")
    print(f"matmul of 2048 x 2048              {peak / 1e9:.1f} GFLOP/s")
    print(f"ours / bare, median of {args.repeats} pairs     {ratio:.3f}")


if __name__ == "__main__":
    main()
