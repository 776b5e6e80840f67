import copy

import numpy as np
import pytest
import torch
from reference import logits_beta_gate
from safetensors.torch import load_file, save_file
from transformers import AttentionInterface, AutoModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import find_labels

from tacfn_hf import CrossModalTransformer, TacfnConfig, TacfnForSequenceClassification, TacfnModel
from tacfn_hf.model.beta_gate_tacfn import masked_mean
from tacfn_hf.model.distance_tacfn import FeatureDistance
from tacfn_hf.model.standardization_tacfn import FeatureStandardizer


LENGTHS = [(9, 4), (1, 6), (30, 1), (5, 5)]


def samples():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 12, generator=generator), torch.randn(m, 16, generator=generator)) for n, m in LENGTHS]


def place(sequences, length, where, content):
    """`[B, length, d]` with each sequence left, right or scattered, `content` elsewhere; and its mask, True = PAD."""
    h = torch.full((len(sequences), length, sequences[0].shape[-1]), content)
    mask = torch.ones(len(sequences), length, dtype=torch.bool)
    for i, sequence in enumerate(sequences):
        n = len(sequence)
        positions = {
            "right-padded": torch.arange(n),
            "left-padded": torch.arange(length - n, length),
            "holes": torch.randperm(length)[:n].sort().values,
        }[where]
        h[i, positions], mask[i, positions] = sequence, False
    return h, mask


def assert_same(output, expected, i, atol=1e-5):
    for name, value in zip(("logits", "beta", "gate", "h_fused"), expected):
        got = getattr(output, name)[i].double().squeeze()
        torch.testing.assert_close(
            got, value.squeeze().double(), atol=atol, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("content", [0.0, float("nan"), 1e30, float("inf")])
@pytest.mark.parametrize("where", ["right-padded", "left-padded", "holes"])
def test_padding_and_batch_mates_change_nothing(model, implementation, content, where):
    model.set_attn_implementation(implementation)
    pairs = samples()
    h_a, mask_a = place([a for a, _ in pairs], 37, where, content)
    h_t, mask_t = place([t for _, t in pairs], 11, where, content)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        batch = model(h_a, h_t, mask_a, mask_t)
        shuffled = model(h_a[order], h_t[order], mask_a[order], mask_t[order])
        for i, (a, t) in enumerate(pairs):
            expected = logits_beta_gate(model, a, t)
            assert_same(batch, expected, i)
            assert_same(shuffled, expected, order.tolist().index(i))
            assert_same(model(a[None], t[None]), expected, 0)


@pytest.mark.parametrize("num_hidden_layers", [0, 2])
@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("where", ["right-padded", "left-padded", "holes"])
def test_standardised_features_go_the_way_of_the_formula(config, where, head, num_hidden_layers):
    config.num_hidden_layers, config.head = num_hidden_layers, head
    model = TacfnForSequenceClassification(config).eval()
    pairs = [(7 * a + 3, 0.01 * t - 2) for a, t in samples()]
    for i, name in enumerate(("audio", "text")):
        positions = torch.cat([pair[i] for pair in pairs])
        getattr(model.model, f"{name}_standardizer").set_statistics(positions.mean(dim=0), positions.std(dim=0))
        distance = getattr(model.model, f"{name}_distance")
        distance.set_statistics(torch.full((positions.shape[1],), 0.1), positions.T.corrcoef(), len(positions))
    h_a, mask_a = place([a for a, _ in pairs], 37, where, float("nan"))
    h_t, mask_t = place([t for _, t in pairs], 11, where, float("nan"))
    mask_t[1] = True
    pairs[1] = (pairs[1][0], None)
    with torch.no_grad():
        batch = model(h_a, h_t, mask_a, mask_t, output_fused_sequence=True)
        for i, (a, t) in enumerate(pairs):
            assert_same(batch, logits_beta_gate(model, a, t), i)
    assert batch.has_audio.tolist() == [True, True, True, True]
    assert batch.has_text.tolist() == [True, False, True, True]
    assert batch.beta[1] == 1.0
    torch.testing.assert_close(masked_mean(batch.fused_sequence, batch.fused_mask), batch.h_fused)
    model.train()(h_a, h_t, mask_a, mask_t, labels=torch.tensor([0, 1, 2, 3])).loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_new_network_without_blocks_sees_how_far_positions_agree(config):
    """Two sequences whose means point the same way: layer norm alone would make them equal."""
    config.num_hidden_layers = 0
    model = TacfnForSequenceClassification(config).eval()
    direction, across = torch.zeros(16), torch.zeros(16)
    direction[0], across[1] = 4.0, 8.0
    agreeing = torch.stack([direction, direction])[None]
    disagreeing = torch.stack([direction + across, -across])[None]
    with torch.no_grad():
        difference = model(h_t=agreeing).h_fused - model(h_t=disagreeing).h_fused
    assert difference.abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sees_features_whose_mean_is_large(config, dtype, tmp_path):
    """More than float16 holds, and a deviation that is smaller than its steps there."""
    model = TacfnForSequenceClassification(config).eval()
    model.model.audio_standardizer.set_statistics(torch.full((12,), 1e5), torch.full((12,), 30.0))
    model.save_pretrained(tmp_path)
    half = TacfnForSequenceClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    assert half.classifier.out_proj.weight.dtype == dtype
    h_a = torch.randn(6, 5, 12) * 30 + 1e5
    with torch.no_grad():
        expected = model(h_a=h_a).h_fused
        assert torch.allclose(half(h_a=h_a).h_fused.float(), expected, atol=0.05 * expected.std().item() + 0.02)


@pytest.mark.parametrize("cast", [lambda model: model.bfloat16(), lambda model: model.to(torch.float16)])
def test_statistics_are_not_rounded_where_a_model_is_cast(config, cast, tmp_path):
    config.gate_reads_distance = True
    model = TacfnForSequenceClassification(config).eval()
    model.model.audio_standardizer.set_statistics(torch.full((12,), 3.01), torch.full((12,), 0.02))
    expected = {name: buffer.clone() for name, buffer in model.named_buffers()}
    cast(model).save_pretrained(tmp_path)
    assert model.classifier.out_proj.weight.dtype != torch.float32
    saved = TacfnForSequenceClassification.from_pretrained(tmp_path)
    for name, buffer in expected.items():
        assert torch.equal(model.get_buffer(name), buffer), name
        assert torch.equal(saved.get_buffer(name), buffer), name


def test_shapes_without_values(config):
    """On the meta device, where counters of operations and of memory run a model."""
    config.gate_reads_distance = True
    with torch.device("meta"):
        output = TacfnForSequenceClassification(config)(h_a=torch.empty(2, 5, 12), h_t=torch.empty(2, 3, 16))
    assert output.logits.shape == (2, config.num_labels)


def test_labels_that_are_refused_leave_the_config_as_it_was(config):
    config.problem_type, config.num_labels = None, 4
    model = TacfnForSequenceClassification(config)
    with pytest.raises(ValueError, match="labels has shape"):
        model(h_a=torch.randn(2, 12), labels=torch.rand(2, 3))
    assert model.config.problem_type is None
    assert model(h_a=torch.randn(2, 12), labels=torch.tensor([0, 3], dtype=torch.int16)).loss > 0
    assert model.config.problem_type == "single_label_classification"


def test_whitened_features_of_the_training_part_have_no_covariance():
    z = torch.randn(4000, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 1
    distance = FeatureDistance(6)
    distance.set_statistics(z.mean(dim=0), z.T.cov(), len(z), shrinkage=0.0)
    whitened = torch.nn.functional.linear(z.float(), distance.weight, distance.bias)
    torch.testing.assert_close(whitened.T.cov(), torch.eye(6), atol=1e-3, rtol=0)
    far, near = (
        distance(values.float(), torch.zeros(4000, 1, dtype=torch.bool))
        for values in (z[:, None, torch.randperm(6)], z[:, None])
    )
    assert far.mean() > near.mean()


@pytest.mark.parametrize("num_rows", [60, 15])
def test_the_distance_of_a_training_row_is_that_to_the_others(num_rows):
    """By a covariance without that row, in float64; also where the row was damaged, and with fewer rows than sizes."""
    z = torch.randn(num_rows, 20, dtype=torch.float64) @ torch.randn(20, 20, dtype=torch.float64)
    damaged = 0.5 * z + 0.5 * torch.randn_like(z)
    distance = FeatureDistance(20)
    distance.set_statistics(z.mean(dim=0), z.T.cov(correction=0), len(z))
    mask = torch.zeros(num_rows, 1, dtype=torch.bool)

    def expected(values: torch.Tensor) -> torch.Tensor:
        found = []
        for i, value in enumerate(values):
            others = torch.cat([z[:i], z[i + 1 :]])
            covariance = others.T.cov(correction=0)
            shrunk = 0.98 * covariance + 0.02 * covariance.diagonal().mean() * torch.eye(20)
            centred = value - others.mean(dim=0)
            found.append((centred @ torch.linalg.solve(shrunk, centred) / 20).clamp(min=0.5).log())
        return torch.stack(found)

    rows = z[:, None].float()
    new, old = distance(rows, mask)[:, 0], distance.eval()(rows, mask)[:, 0]
    assert (new - expected(z)).abs().mean() < 3 / num_rows
    assert (old - expected(z)).abs().mean() > 0.3
    of_damaged = distance.train()(damaged[:, None].float(), mask, rows)[:, 0]
    assert (of_damaged - expected(damaged)).abs().mean() < 3 / num_rows


def test_features_that_are_the_same_in_all_rows_have_a_distance():
    distance = FeatureDistance(6)
    distance.set_statistics(torch.zeros(6), torch.full((6, 6), -1e-18), 9)
    assert torch.isfinite(distance(torch.randn(4, 3, 6), torch.zeros(4, 3, dtype=torch.bool))).all()


def test_a_constant_dimension_is_not_scaled():
    """Constant: to the last bit, but for float32's steps at 1e4, but for float16's steps at 0. Not constant: two."""
    standardizer = FeatureStandardizer(5)
    mean, std = torch.tensor([5.0, 1e4, 1e-7, 1e4, 1e-3]), torch.tensor([0.0, 1e-3, 2e-8, 0.5, 1e-4])
    standardizer.set_statistics(mean, std)
    expected = torch.tensor([[1.0, 1.0, 1.0, 2.0, 1e4]])
    assert torch.allclose(standardizer(mean + 1), expected, rtol=1e-3)


@pytest.mark.parametrize("load", [AutoModel.from_pretrained, TacfnForSequenceClassification.from_pretrained])
def test_a_checkpoint_without_statistics_says_so(model, tmp_path, load):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {name: w for name, w in weights.items() if "standardizer.std" not in name}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ValueError, match="lacks model.audio_standardizer.std, model.text_standardizer.std"):
        load(tmp_path)


def test_a_dropped_dimension_is_dropped_at_all_positions(config):
    config.num_hidden_layers, config.feature_dropout_prob = 1, 0.25
    seen = []
    model = TacfnModel(config).train()
    model.audio_projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(h_a=torch.ones(800, 7, 12))
    (dropped,) = seen
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs((dropped == 0).float().mean().item() - 0.25) < 4 * (0.25 * 0.75 / (800 * 12)) ** 0.5


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("modality", ["audio", "text"])
def test_a_missing_modality_is_the_same_everywhere(model, implementation, modality):
    model.set_attn_implementation(implementation)
    pairs = samples()
    h_a, mask_a = place([a for a, _ in pairs], 30, "right-padded", 0.0)
    h_t, mask_t = place([t for _, t in pairs], 6, "right-padded", 0.0)
    h, mask = (h_a, mask_a) if modality == "audio" else (h_t, mask_t)
    mask[[1, 3]] = True
    h[[1, 3]] = float("nan")
    with torch.no_grad():
        mixed = model(h_a, h_t, mask_a, mask_t)
        h[[1, 3]] = 7.0
        other_content = model(h_a, h_t, mask_a, mask_t)
        assert torch.equal(mixed.logits, other_content.logits)
        for i, (a, t) in enumerate(pairs):
            if i in (1, 3):
                a, t = (None, t) if modality == "audio" else (a, None)
                assert_same(
                    model(None if a is None else a[None], None if t is None else t[None]), mixed_row(mixed, i), 0
                )
                assert mixed.beta[i] == (0.0 if modality == "audio" else 1.0)
            assert_same(mixed, logits_beta_gate(model, a, t), i)


def mixed_row(output, i):
    return [getattr(output, name)[i] for name in ("logits", "beta", "gate", "h_fused")]


def test_gradients_stay_finite_and_behind_the_mask_there_are_none(model):
    model.train()
    mask_a, mask_t = torch.zeros(3, 6, dtype=torch.bool), torch.zeros(3, 5, dtype=torch.bool)
    mask_a[0] = mask_t[1] = True
    mask_a[2, 4:] = True
    # NaN behind the mask: a projection's weight gradient is a product with its input, padding included.
    h_a = torch.randn(3, 6, 12).masked_fill(mask_a.unsqueeze(-1), float("nan")).requires_grad_()
    h_t = torch.randn(3, 5, 16).masked_fill(mask_t.unsqueeze(-1), float("nan")).requires_grad_()
    model(h_a, h_t, mask_a, mask_t, labels=torch.tensor([0, 1, 2])).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert (h_a.grad[mask_a] == 0).all()
    assert (h_t.grad[mask_t] == 0).all()
    assert (h_a.grad[1].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("model_class", [TacfnModel, TacfnForSequenceClassification])
@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("attention_mask", "mask_a = attention_mask == 0"),
        ("mask_audio", "mask_a of audio"),
        ("text_attention_mask", "mask_t of text"),
        ("padding_mask", "True = PAD"),
        ("output_attention", r"did you mean output_attentions\?"),
        ("h_audio", r"did you mean h_a\?"),
        ("input_ids", "its arguments are h_a, h_t, mask_a, mask_t, "),
        ("anything", "its arguments are h_a, h_t, mask_a, mask_t, "),
    ],
)
def test_no_argument_is_lost(config, model_class, name, right):
    with pytest.raises(TypeError, match=f"forward has no argument {name}: .*{right}"):
        model_class(config)(h_a=torch.zeros(2, 5, 12), **{name: torch.zeros(2, 5)})


def test_a_network_without_a_head_takes_no_labels(config):
    with pytest.raises(TypeError, match="forward has no argument labels"):
        TacfnModel(config)(h_a=torch.zeros(2, 5, 12), labels=torch.tensor([0, 1]))


@pytest.mark.parametrize("model_class", [TacfnModel, TacfnForSequenceClassification])
def test_what_others_pass_for_their_own_ends(config, model_class):
    """Trainer passes a number, where labels go to a loss function of the user; PEFT names a language model's inputs."""
    model, h_a = model_class(config).eval(), torch.randn(2, 5, 12)
    peft = {"input_ids": None, "attention_mask": None, "inputs_embeds": None, "return_dict": None}
    got = model(h_a=h_a, num_items_in_batch=2, **peft, output_attentions=None, output_hidden_states=None)
    assert torch.equal(got.h_fused, model(h_a=h_a).h_fused)
    assert model.get_input_embeddings() is None


def test_trainer_finds_the_labels():
    """It takes every argument that has "label" in its name for one."""
    assert find_labels(TacfnForSequenceClassification) == ["labels"]


def test_vectors_are_sequences_of_one(model):
    h_a, h_t = torch.randn(3, 12), torch.randn(3, 16)
    with torch.no_grad():
        assert torch.equal(model(h_a, h_t).logits, model(h_a[:, None], h_t[:, None]).logits)


def test_compiled_equals_eager(config):
    config.num_hidden_layers = 1  # the time to compile grows with them
    model = TacfnForSequenceClassification(config).eval()
    pairs = samples()
    h_a, mask_a = place([a for a, _ in pairs], 30, "right-padded", 0.0)
    h_t, mask_t = place([t for _, t in pairs], 6, "right-padded", 0.0)
    mask_t[1] = True
    labels = torch.tensor([0, 1, 2, 3])
    compiled = torch.compile(model, fullgraph=True)
    expected = model(h_a, h_t, mask_a, mask_t, labels=labels)
    got = compiled(h_a, h_t, mask_a, mask_t, labels=labels)
    for name in ("loss", "logits", "beta", "gate"):
        torch.testing.assert_close(got[name], expected[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_single(model, dtype):
    pairs = samples()
    h_a, mask_a = place([a for a, _ in pairs], 30, "right-padded", 1e30)
    h_t, mask_t = place([t for _, t in pairs], 6, "right-padded", 1e30)
    mask_t[1] = True
    labels = torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        expected = model(h_a, h_t, mask_a, mask_t).logits
    with torch.autocast("cpu", dtype=dtype):
        output = model(h_a, h_t, mask_a, mask_t, labels=labels, output_fused_sequence=True)
    output.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    half = copy.deepcopy(model).to(dtype)
    with torch.no_grad():
        cast = half(h_a, h_t, mask_a, mask_t, output_fused_sequence=True)
    assert cast.logits.dtype == dtype
    # Half of the digits of a 16-bit mantissa, over two blocks.
    tolerance = 30 * torch.finfo(dtype).eps
    for logits in (output.logits, cast.logits):
        assert (logits.float() - expected).norm() < tolerance * expected.norm()


def test_gradient_checkpointing_changes_no_gradient(model):
    h_a, h_t, labels = torch.randn(2, 6, 12), torch.randn(2, 5, 16), torch.tensor([0, 3])
    model.config.hidden_dropout_prob = 0.0
    plain = TacfnForSequenceClassification(model.config).train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.gradient_checkpointing_enable()
    calls = []
    layer = checkpointed.model.cross_modal.layers[0]
    layer.audio_self_attention.register_forward_hook(lambda *_: calls.append(1))
    for m in (plain, checkpointed):
        m(h_a, h_t, labels=labels).loss.backward()
    assert len(calls) == 2  # forward, and once more for the backward pass
    for (name, p), q in zip(plain.named_parameters(), checkpointed.parameters()):
        torch.testing.assert_close(p.grad, q.grad, msg=name)


def test_gradient_checkpointing_of_a_network_without_blocks(config):
    config.num_hidden_layers = 0
    model = TacfnForSequenceClassification(config).train()
    model.gradient_checkpointing_enable()
    model(h_a=torch.randn(2, 5, 12), labels=torch.tensor([0, 1])).loss.backward()
    assert model.classifier.out_proj.weight.grad.abs().sum() > 0


def test_attentions_and_hidden_states_by_name(config):
    model = TacfnModel._from_config(config, attn_implementation="eager").eval()
    h_a, h_t = torch.randn(2, 7, 12), torch.randn(2, 4, 16)
    mask_a, mask_t = torch.zeros(2, 7, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    mask_a[0, 5:] = True
    mask_t[1] = True
    output = model(h_a, h_t, mask_a, mask_t, output_attentions=True, output_hidden_states=True)
    for name, query, key, mask in (
        ("audio_attentions", 7, 7, mask_a),
        ("text_attentions", 4, 4, mask_t),
        ("audio_cross_attentions", 7, 4, mask_t),
        ("text_cross_attentions", 4, 7, mask_a),
    ):
        assert len(output[name]) == config.num_hidden_layers
        for weights in output[name]:
            assert weights.shape == (2, 4, query, key)
            assert (weights.masked_select(mask[:, None, None]) == 0).all()
            total = torch.where(mask.all(1), 0.0, 1.0)[:, None, None].expand(2, 4, query)
            torch.testing.assert_close(weights.sum(-1), total)
    assert len(output.audio_hidden_states) == len(output.text_hidden_states) == config.num_hidden_layers + 1
    assert torch.equal(output.audio_hidden_states[-1], output.h_a_tilde)
    assert torch.equal(output.text_hidden_states[-1], output.h_t_tilde)


def test_the_order_of_the_tuple(model):
    h_a, h_t, labels = torch.randn(2, 6, 12), torch.randn(2, 5, 16), torch.tensor([0, 3])
    named = model(h_a, h_t, labels=labels)
    logits, beta, h_fused = model(h_a, h_t, return_dict=False)
    loss, *rest = model(h_a, h_t, labels=labels, return_dict=False)
    assert [len(rest), loss.item()] == [3, named.loss.item()]
    for got, name in ((logits, "logits"), (beta, "beta"), (h_fused, "h_fused")):
        assert torch.equal(got, named[name])
    assert named.gate.shape == (2, 16)


def test_cross_modal_transformer_stands_alone(config):
    stack = CrossModalTransformer(config).eval()
    h_a, h_t = stack(torch.randn(2, 7, 16), torch.randn(2, 4, 16))
    assert (h_a.shape, h_t.shape) == ((2, 7, 16), (2, 4, 16))


def test_flash_attention_sees_no_cross_attention_with_padding(model, monkeypatch):
    # transformers' flash interface drops queries by the mask of the keys; here it is replaced by a witness.
    seen = []

    def witness(module, query, key, value, attention_mask, **kwargs):
        seen.append((query.shape[2], key.shape[2], attention_mask is not None))
        keep = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, keep, **kwargs)

    pairs = samples()
    h_a, mask_a = place([a for a, _ in pairs], 37, "holes", 0.0)
    h_t, mask_t = place([t for _, t in pairs], 11, "holes", 0.0)
    expected = model(h_a, h_t, mask_a, mask_t).logits
    monkeypatch.setitem(AttentionInterface._global_mapping, "flash_attention_2", witness)
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2")
    torch.testing.assert_close(model(h_a, h_t, mask_a, mask_t).logits, expected, atol=1e-5, rtol=1e-5)
    assert set(seen) == {(37, 37, True), (11, 11, True)}
    seen.clear()
    model(h_a, h_t)
    assert set(seen) == {(37, 37, False), (11, 11, False), (37, 11, False), (11, 37, False)}


def loss_of(config, logits_model, labels, **kwargs):
    return logits_model(torch.ones(3, 2, 12) * torch.arange(1, 4)[:, None, None], labels=labels, **kwargs)


def test_single_label_loss(config):
    model = TacfnForSequenceClassification(config).eval()
    output = loss_of(config, model, torch.tensor([3, -100, 1]))
    log_p = torch.log_softmax(output.logits.double(), dim=-1)
    expected = -(log_p[0, 3] + log_p[2, 1]) / 2
    torch.testing.assert_close(output.loss.double(), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        loss_of(config, model, torch.tensor([3, -100, 1]), num_items_in_batch=8).loss.double(), expected * 2 / 8
    )
    assert model.config.problem_type == "single_label_classification"


def test_multi_label_loss(config):
    model = TacfnForSequenceClassification(config).eval()
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0.25], [1, 1, 1, 1]])
    output = loss_of(config, model, labels)
    p = torch.sigmoid(output.logits.double())
    terms = -(labels * p.log() + (1 - labels) * (1 - p).log())
    torch.testing.assert_close(output.loss.double(), terms.mean(), atol=1e-6, rtol=1e-6)
    assert model.config.problem_type == "multi_label_classification"


def test_regression_loss(config):
    config.problem_type = "regression"
    model = TacfnForSequenceClassification(config).eval()
    labels = torch.randn(3, 4)
    output = loss_of(config, model, labels)
    terms = (output.logits.double() - labels) ** 2
    torch.testing.assert_close(output.loss.double(), terms.mean(), atol=1e-6, rtol=1e-6)

    one = TacfnForSequenceClassification(TacfnConfig.from_dict({**config.to_dict(), "id2label": {0: "v"}}))
    output = loss_of(config, one.eval(), labels[:, 0])
    torch.testing.assert_close(output.loss, (output.logits[:, 0] - labels[:, 0]).square().mean())


A, T = torch.zeros(2, 5, 12), torch.zeros(2, 3, 16)


@pytest.mark.parametrize(
    ("inputs", "error", "sentence"),
    [
        ({}, ValueError, "h_a and h_t are both None"),
        ({"h_a": A[..., :7]}, ValueError, r"h_a has shape \[2, 5, 7\].*audio_feature_size.*12"),
        ({"h_t": T[..., :7]}, ValueError, r"h_t has shape \[2, 3, 7\].*text_feature_size.*16"),
        ({"h_a": A[None]}, ValueError, r"h_a has shape \[1, 2, 5, 12\]"),
        ({"h_a": A[:, :0]}, ValueError, r"h_a has shape \[2, 0, 12\].*length of at least 1"),
        ({"h_a": A, "h_t": T[:1]}, ValueError, "h_a has 2 samples and h_t has 1"),
        ({"h_a": A, "mask_a": torch.zeros(2, 4, dtype=torch.bool)}, ValueError, r"mask_a has shape \[2, 4\].*\[2, 5\]"),
        ({"h_t": T, "mask_t": torch.ones(2, 3).long()}, TypeError, "mask_t = attention_mask == 0"),
        ({"h_a": A, "mask_t": torch.zeros(2, 3, dtype=torch.bool)}, ValueError, "mask_t was given without h_t"),
        ({"h_a": A, "labels": torch.tensor([0, 4])}, ValueError, r"labels holds 4: it must be in 0\.\.3"),
        ({"h_a": A, "labels": torch.tensor([0, -1])}, ValueError, "labels holds -1"),
        ({"h_a": A, "labels": torch.tensor([[0], [1]])}, ValueError, r"labels has shape \[2, 1\]"),
        ({"h_a": A, "labels": torch.zeros(2, 3)}, ValueError, r"labels has shape \[2, 3\].*\[2, 4\]"),
        ({"h_a": A, "output_attentions": True}, ValueError, r'set_attn_implementation\("eager"\)'),
        ({"h_a": A.numpy()}, TypeError, r"h_a is of type ndarray: .* torch\.as_tensor\(h_a\)"),
        ({"h_t": T.tolist()}, TypeError, r"h_t is of type list: .* torch\.as_tensor\(h_t\)"),
        ({"h_a": A, "mask_a": np.zeros((2, 5), bool)}, TypeError, r"mask_a is of type ndarray: .*as_tensor\(mask_a\)"),
        ({"h_a": A, "labels": np.array([0, 1])}, TypeError, r"labels is of type ndarray: .*as_tensor\(labels\)"),
        ({"h_a": A, "labels": ["sad", "angry"]}, TypeError, r"labels is of type list: .*label2id\[name\]"),
    ],
)
def test_bad_input_has_its_sentence(model, inputs, error, sentence):
    with pytest.raises(error, match=sentence):
        model(**inputs)
