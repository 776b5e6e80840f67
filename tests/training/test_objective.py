"""The objective against its formulas in float64, and what it must not do."""

import copy

import numpy as np
import pytest
import torch
from sessions import NAMES
from torch.profiler import profile

from tacfn_hf import TacfnForSequenceClassification
from tacfn_hf.evaluation.values import concordance_correlation
from tacfn_hf.training.objective import Objective, balanced_class_weights, damage, positive_weights


LABELS = torch.tensor([0, 1, 2, 3, -100, 1])
WEIGHTS = [1.0, 2.0, 0.5, 3.0]


def build(config, **changes) -> TacfnForSequenceClassification:
    """The fixture's network with other settings, in training, without dropout unless it is asked for."""
    config = copy.deepcopy(config)
    for name, value in {"hidden_dropout_prob": 0.0, "problem_type": "single_label_classification", **changes}.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    return TacfnForSequenceClassification(config).train()


def batch() -> dict[str, torch.Tensor]:
    """Six rows, of which 0 lacks audio and 3 text; 1 and 2 are padded, with NaN behind the mask."""
    generator = torch.Generator().manual_seed(1)
    h_a, h_t = (torch.randn(6, 5, size, generator=generator) for size in (12, 16))
    mask_a = torch.arange(5)[None] >= torch.tensor([0, 3, 5, 2, 4, 1])[:, None]
    mask_t = torch.arange(5)[None] >= torch.tensor([2, 4, 1, 0, 3, 1])[:, None]
    h_a = h_a.masked_fill(mask_a.unsqueeze(-1), float("nan"))
    h_t = h_t.masked_fill(mask_t.unsqueeze(-1), float("nan"))
    return {"h_a": h_a, "h_t": h_t, "mask_a": mask_a, "mask_t": mask_t}


BOTH = torch.tensor([False, True, True, False, True, True])


def alone(model, inputs, name):
    """Logits by one modality, of the samples that have both."""
    return model(**{key: value[BOTH] for key, value in inputs.items() if key.endswith(f"_{name}")}).logits.double()


@pytest.mark.parametrize("num_items", [None, 10])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("num_hidden_layers", [0, 1])
def test_the_loss_is_that_of_the_formula(config, smoothing, num_items, num_hidden_layers):
    inputs, weights = batch(), torch.tensor(WEIGHTS)
    model = build(config, num_hidden_layers=num_hidden_layers)
    count = (LABELS != -100).sum() if num_items is None else num_items

    def loss_of(logits, labels):
        """(1 - eps) times the label's loss, eps times the mean loss of all classes, times the label's weight."""
        losses = -logits.double().log_softmax(-1)[labels != -100]
        labels = labels[labels != -100]
        own = losses.gather(1, labels[:, None])[:, 0]
        return (weights[labels] * ((1 - smoothing) * own + smoothing * losses.mean(-1))).sum() / count

    expected = loss_of(model(**inputs).logits, LABELS)
    of_label = []
    for name in "at":
        logits = alone(model, inputs, name)
        expected = expected + 0.3 * loss_of(logits, LABELS[BOTH])
        of_label.append(logits.softmax(-1).gather(1, LABELS[BOTH].clamp(min=0)[:, None])[:, 0])
    target = of_label[0] / (of_label[0] + of_label[1])
    errors = (model(**inputs).beta[BOTH, 0].double() - target) ** 2
    expected = expected + 4.0 * errors[LABELS[BOTH] != -100].sum() / count
    objective = Objective(WEIGHTS, smoothing, unimodal_loss_weight=0.3, gate_loss_weight=4.0)
    loss, output = objective(model, inputs, LABELS, num_items)
    torch.testing.assert_close(loss.double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(output.logits, model(**inputs).logits)


def test_in_evaluation_it_is_the_loss_of_the_classifier(config):
    model, taught = build(config).eval(), Objective(WEIGHTS, 0.1, 1.0, 5.0, 1.0)
    assert torch.equal(taught(model, batch(), LABELS)[0], Objective(WEIGHTS, 0.1)(model, batch(), LABELS)[0])


def test_only_the_gate_learns_from_the_gate_loss(config):
    gradients = []
    for weight in (0.0, 5.0):
        model = build(config)
        Objective(unimodal_loss_weight=0.5, gate_loss_weight=weight)(model, batch(), LABELS)[0].backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]) == ("beta_gate" not in name), name


def test_the_gate_reads_how_far_damaged_rows_are_from_the_other_rows(config):
    """By the formula of the distance, with the undamaged rows left out of the covariance."""
    model = build(config, gate_reads_distance=True).model
    h_a, h_t = torch.randn(6, 1, 12), torch.randn(6, 1, 16)
    mask = torch.zeros(6, 1, dtype=torch.bool)
    for distance, h in ((model.audio_distance, h_a), (model.text_distance, h_t)):
        distance.set_statistics(h[:, 0].mean(dim=0), h[:, 0].T.cov(correction=0), num_rows=6)
    losses_a, losses_t = torch.rand(6), torch.rand(6)
    torch.manual_seed(3)
    errors = Objective(noise_prob=1.0).gate_errors(model, (h_a, h_t, mask, mask), losses_a, losses_t)
    torch.manual_seed(3)
    damaged, distances, worth = [], [], []
    for distance, h, losses in ((model.audio_distance, h_a, losses_a), (model.text_distance, h_t, losses_t)):
        changed, share = damage(h, 1.0, 1.0)
        w, w_row = (torch.nn.functional.linear(x[:, 0], distance.weight, distance.bias) for x in (changed, h))
        k = 0.98 / 5
        squared = (w**2).sum(-1) + k * (w * w_row).sum(-1) ** 2 / (1 - k * (w_row**2).sum(-1))
        distances.append((squared / h.shape[-1]).clamp(min=0.5).log())
        damaged.append(changed)
        worth.append((1 - share).log() - losses)
    with torch.no_grad():
        states = model.project(*damaged, mask, mask)
        states = (*model.cross_modal(*states)[:2], *states[2:])
        beta = model.beta_gate(*states, torch.stack(distances, dim=-1))[2][:, 0]
    assert torch.allclose(errors, (beta - torch.sigmoid(worth[0] - worth[1])) ** 2, atol=1e-4)


def test_a_batch_has_the_same_loss_however_it_is_split(config):
    inputs, objective = batch(), Objective(WEIGHTS, 0.1, unimodal_loss_weight=0.5, gate_loss_weight=2.0)
    model = build(config)
    whole = objective(model, inputs, LABELS, 5)[0]
    parts = [
        objective(model, {key: value[part] for key, value in inputs.items()}, LABELS[part], 5)[0]
        for part in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    torch.testing.assert_close(whole, sum(parts), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification"])
def test_other_kinds_of_labels_teach_the_gate_too(config, problem_type):
    model, labels = build(config, problem_type=problem_type), torch.rand(6, 4)
    Objective(unimodal_loss_weight=0.5, gate_loss_weight=2.0)(model, batch(), labels)[0].backward()
    assert model.model.beta_gate.mlp[0].weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match=f"label_smoothing_factor is 0.1, but problem_type is {problem_type}"):
        Objective(label_smoothing=0.1)(model, batch(), labels)


def test_the_gate_loss_does_not_depend_on_how_many_labels_a_sample_has(config):
    """Where both modalities say the same, beta's target is a half, whatever the labels are."""
    terms = []
    for problem_type, labels in (("single_label_classification", LABELS.abs() % 4), ("regression", torch.rand(6, 4))):
        model = build(config, problem_type=problem_type)
        with torch.no_grad():
            model.classifier.out_proj.weight.zero_()
        with_gate, without = (Objective(gate_loss_weight=w)(model, batch(), labels)[0] for w in (3.0, 0.0))
        terms.append(with_gate - without)
    assert terms[0] > 1e-4
    torch.testing.assert_close(terms[0], terms[1], rtol=1e-3, atol=0)


def test_the_loss_of_values_is_that_of_the_formula(config):
    """1 - CCC over the rows, by both, by audio and by text, and the gate's, whose target are likelihoods."""
    inputs, labels = batch(), torch.rand(6, 2, generator=torch.Generator().manual_seed(2))
    model = build(config, problem_type="regression", num_labels=2)

    def loss_of(values, references):
        values, references = values.detach().double().numpy(), references.double().numpy()
        return 1 - np.mean([concordance_correlation(x, y) for x, y in zip(values.T, references.T)])

    by_one = [alone(model, inputs, name) for name in "at"]
    expected = loss_of(model(**inputs).logits, labels) + 0.3 * sum(loss_of(of, labels[BOTH]) for of in by_one)
    errors = [(of.detach() - labels[BOTH].double()) ** 2 for of in by_one]
    variance = (errors[0] + errors[1]).mean(0) / 2
    likely = [torch.exp(-(of / (2 * variance)).sum(1)) for of in errors]
    beta = model(**inputs).beta[BOTH, 0].double()
    expected += 4.0 * ((beta - likely[0] / (likely[0] + likely[1])) ** 2).sum().item() / 6
    objective = Objective(unimodal_loss_weight=0.3, gate_loss_weight=4.0, regression_loss="ccc")
    assert objective(model, inputs, labels)[0].item() == pytest.approx(expected, abs=1e-5)
    plain = objective(model.eval(), inputs, labels)[0]  # in evaluation it is the squared error
    assert plain.item() == pytest.approx(((model(**inputs).logits - labels) ** 2).mean().item(), abs=1e-6)


def test_the_loss_of_several_labels_weighs_the_rows_that_have_them(config):
    labels = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1], [0, 1, 0, 1.0]])
    model, weights = build(config, problem_type="multi_label_classification"), torch.tensor(WEIGHTS).double()
    score = model(**batch()).logits.double().sigmoid()
    expected = -(weights * labels * score.log() + (1 - labels) * (1 - score).log()).mean()
    assert Objective(WEIGHTS)(model, batch(), labels)[0].item() == pytest.approx(expected.item(), abs=1e-6)


def test_positive_weights_make_both_sides_of_a_label_alike():
    weights = positive_weights([2, 5], 10, ["rare", "half"])
    assert weights == [4.0, 1.0]
    for counts, sentence in (([0, 5], "No training row has the label rare"), ([2, 10], "All .* have the label half")):
        with pytest.raises(ValueError, match=sentence):
            positive_weights(counts, 10, ["rare", "half"])


def test_labels_out_of_range_are_named(config):
    with pytest.raises(ValueError, match=r"labels holds 4: it must be in 0\.\.3, or -100"):
        Objective()(build(config), batch(), torch.tensor([0, 1, 4, 0, 0, 0]))


@pytest.mark.parametrize("num_hidden_layers", [0, 1])
def test_a_step_waits_for_the_device_once_at_most(config, num_hidden_layers):
    model = build(config, num_hidden_layers=num_hidden_layers, hidden_dropout_prob=0.5, feature_dropout_prob=0.5)
    objective = Objective(WEIGHTS, 0.1, 1.0, 10.0, 1.0)
    with profile() as events:
        objective(model, batch(), LABELS)[0].backward()
    waiting = ("aten::_local_scalar_dense", "aten::nonzero")
    assert sum(event.count for event in events.key_averages() if event.key in waiting) <= 1
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert all(module.training for module in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize("num_hidden_layers", [0, 1])
def test_a_step_compiles_into_one_graph(config, num_hidden_layers):
    model, objective = build(config, num_hidden_layers=num_hidden_layers), Objective(WEIGHTS, 0.1, 1.0, 10.0)
    step = torch.compile(lambda **inputs: objective(model, inputs, LABELS)[0], fullgraph=True)
    expected = objective(model, batch(), LABELS)[0]
    expected.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    loss = step(**batch())
    loss.backward()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4, msg=name)


def test_damage_takes_the_place_of_the_share_that_it_says():
    sequences, share = damage(torch.zeros(200, 60, 80), 0.5, 1.0)
    replaced = sequences != 0
    assert torch.equal(replaced, replaced[:, :, :1].expand_as(replaced))  # a position is noise as a whole
    vectors, share_of_vectors = damage(torch.zeros(200, 1, 80), 0.5, 1.0)
    for found, wanted, size in (
        (replaced[:, :, 0].float().mean(dim=1), share, 60),
        ((vectors[:, 0] != 0).float().mean(dim=1), share_of_vectors, 80),
    ):
        assert ((found - wanted).abs() <= 5 * (wanted * (1 - wanted) / size).sqrt() + 1e-6).all()
    both = torch.cat([share, share_of_vectors])
    assert abs((both > 0).float().mean().item() - 0.5) < 4 * (0.25 / 400) ** 0.5
    assert abs(sequences[replaced].std().item() - 1) < 0.01
    assert torch.equal(damage(torch.ones(3, 4, 5), 0.0, 1.0)[0], torch.ones(3, 4, 5))


def test_damage_of_a_mean_is_that_of_its_positions():
    """Of 20 standard normal positions with one mean: what is left of it, and the deviation of what is added."""
    h, share = damage(torch.full((4000, 1, 50), 2.0), 1.0, 20.0)
    share = share[:, None]
    torch.testing.assert_close(h[:, 0].mean(dim=1, keepdim=True), 2.0 * (1 - share), atol=0.2, rtol=0)
    scaled = (h[:, 0] - 2.0 * (1 - share)) / (share / 20).sqrt().clamp(min=1e-6)
    assert abs(scaled.std().item() - 1) < 0.02


@pytest.mark.parametrize("num_items", [None, 10])
def test_the_loss_of_votes_is_the_divergence_of_the_formula(config, num_items):
    """Unimodal losses and class weights included; a Trainer counts the shares of all classes, 4 a row."""
    inputs, weights = batch(), torch.tensor(WEIGHTS, dtype=torch.float64)
    shares = torch.tensor([[0.5, 0.5, 0, 0], [1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0], [0, 0, 0.25, 0.75],
        [0.25] * 4])  # fmt: skip
    model = build(config).eval()

    def loss_of(logits, p):
        q = logits.double().softmax(-1)
        divergences = torch.where(p > 0, p * (p.double() / q).log(), 0.0).sum(-1)
        return ((p.double() @ weights) * divergences).sum()

    objective = Objective(class_weights=WEIGHTS, unimodal_loss_weight=0.5)
    count = 6 if num_items is None else num_items / 4
    assert objective(model, inputs, shares, num_items)[0].item() == pytest.approx(
        (loss_of(model(**inputs).logits, shares) / count).item(), rel=1e-5
    )
    model.train()
    expected = loss_of(model(**inputs).logits, shares)
    expected = expected + 0.5 * sum(loss_of(alone(model, inputs, name), shares[BOTH]) for name in ("a", "t"))
    assert objective(model, inputs, shares, num_items)[0].item() == pytest.approx((expected / count).item(), rel=1e-5)


def test_one_vote_is_a_label(config):
    model, inputs = build(config).eval(), batch()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    votes = torch.nn.functional.one_hot(labels, 4).float()
    for objective in (Objective(), Objective(class_weights=WEIGHTS)):
        assert abs(objective(model, inputs, votes)[0] - objective(model, inputs, labels)[0]) < 1e-6
    with pytest.raises(ValueError, match="labels are no shares of votes: each row must have"):
        model(**inputs, labels=3 * votes)
    assert abs(model(**inputs, labels=votes).loss - model(**inputs, labels=labels).loss) < 1e-6


def test_balanced_class_weights():
    weights = balanced_class_weights([3, 1, 2], NAMES)
    assert weights == pytest.approx([2 / 3, 2.0, 1.0])
    assert np.mean([weights[label] for label in [0, 0, 0, 1, 2, 2]]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="No training row has the label angry"):
        balanced_class_weights([1, 0, 1], NAMES)


def test_the_kind_of_labels_stands_in_the_config_afterwards(config):
    model = build(config, problem_type=None)
    Objective()(model, batch(), torch.rand(6, model.config.num_labels))
    assert model.config.problem_type == "multi_label_classification"
