"""The network written straight from its formulas: one sample, float64, no padding, no batching."""

import torch
from torch.nn import functional as F


def linear(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights, name, x, eps):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + eps).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(weights, name, heads, x, memory):
    q, k, v = (linear(weights, f"{name}.{p}_proj", s) for p, s in (("q", x), ("k", memory), ("v", memory)))
    size = q.shape[-1] // heads
    outputs = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        outputs.append(torch.softmax(q[:, part] @ k[:, part].T / size**0.5, dim=-1) @ v[:, part])
    return linear(weights, f"{name}.out_proj", torch.cat(outputs, dim=-1))


def logits_beta_gate(model, h_a, h_t):
    """`h_a [L_a, d_a]` or None, `h_t [L_t, d_t]` or None -> `logits [C]`, `beta []`, `gate [d]`, `h_fused [d]`."""
    config = model.config
    eps, heads = config.layer_norm_eps, config.num_attention_heads
    weights = {name: value.double() for name, value in model.state_dict().items()}
    state = {"audio": h_a, "text": h_t}
    state = {name: h.double() for name, h in state.items() if h is not None}
    distances = []
    for name, h in state.items():
        mean, std = (weights[f"model.{name}_standardizer.{kind}"] for kind in ("mean", "std"))
        state[name] = (h - mean) / std
        if config.gate_reads_distance:
            whitened = linear(weights, f"model.{name}_distance", state[name].mean(0))
            distances.append((whitened**2).mean().clamp(min=0.5).log())
        if config.num_hidden_layers == 0:
            state[name] = state[name].mean(0, keepdim=True)
        if f"model.{name}_projection.weight" in weights:
            state[name] = linear(weights, f"model.{name}_projection", state[name])

    for i in range(config.num_hidden_layers):
        layer = f"model.cross_modal.layers.{i}"

        def norm(name, kind, x, layer=layer):
            return layer_norm(weights, f"{layer}.{name}_{kind}_norm.norm", x, eps)

        for name, h in state.items():
            update = attention(weights, f"{layer}.{name}_self_attention", heads, h, h)
            state[name] = norm(name, "self", h + update)
        before = dict(state)
        for name, h in before.items():
            update = 0.0
            for other, memory in before.items():
                if other != name:
                    update = attention(weights, f"{layer}.{name}_cross_attention", heads, h, memory)
            state[name] = norm(name, "cross", h + update)
        for name, h in state.items():
            inner = F.relu(linear(weights, f"{layer}.{name}_feed_forward.0", h))
            state[name] = norm(name, "feed_forward", h + linear(weights, f"{layer}.{name}_feed_forward.2", inner))

    means = {n: layer_norm(weights, f"model.beta_gate.{n}_norm", h, eps).mean(0) for n, h in state.items()}
    if len(means) == 2:
        a, t = means["audio"], means["text"]
        g = torch.cat([a, t, (a - t).abs(), a * t, *(8 * distance.view(1) for distance in distances)])
        gate = torch.sigmoid(
            linear(weights, "model.beta_gate.mlp.2", F.relu(linear(weights, "model.beta_gate.mlp.0", g)))
        )
        fused = gate * a + (1 - gate) * t
    else:
        (name, fused), *_ = means.items()
        gate = torch.full_like(fused, 1.0 if name == "audio" else 0.0)
    hidden = fused
    if config.head == "mlp":
        hidden = linear(weights, "classifier.dense", layer_norm(weights, "classifier.norm", fused, eps))
    return linear(weights, "classifier.out_proj", F.relu(hidden)), gate.mean(), gate, fused
