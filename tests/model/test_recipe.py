"""What the recipe adds to the network: standardisation, augmentation, losses of one modality, a taught gate."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tacfn_hf import TacfnForSequenceClassification
from tacfn_hf.model.augmentation_tacfn import add_noise, drop_dimensions
from tacfn_hf.model.standardization_tacfn import FeatureStandardizer


def build(config, **changes) -> TacfnForSequenceClassification:
    """The fixture's network with other settings, and without dropout unless it is asked for."""
    config = copy.deepcopy(config)
    for name, value in {"hidden_dropout_prob": 0.0, "problem_type": "single_label_classification", **changes}.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    return TacfnForSequenceClassification(config)


def batch(rows: int = 6) -> dict[str, torch.Tensor]:
    """Rows 0 and 1 lack audio and text."""
    generator = torch.Generator().manual_seed(1)
    h_a, h_t = (torch.randn(rows, 5, size, generator=generator) for size in (12, 16))
    mask_a = torch.arange(5)[None] >= torch.tensor([0, 3, 5, 2, 4, 1])[:rows, None]
    mask_t = torch.arange(5)[None] >= torch.tensor([2, 0, 1, 5, 3, 1])[:rows, None]
    return {"h_a": h_a, "h_t": h_t, "mask_a": mask_a, "mask_t": mask_t}


def with_statistics(model, inputs):
    for name in "at":
        standardizer = model.model.audio_standardizer if name == "a" else model.model.text_standardizer
        valid = inputs[f"h_{name}"][~inputs[f"mask_{name}"]]
        standardizer.set_statistics(valid.mean(dim=0), valid.std(dim=0, correction=0))
    return model


def test_standardising_inside_is_standardising_outside(config, tmp_path):
    inputs = batch()
    inputs["h_a"], inputs["h_t"] = inputs["h_a"] * 7 + 3, inputs["h_t"] * 0.01 - 2
    inside = with_statistics(build(config, standardize_features=True), inputs).eval()
    outside = build(config).eval()
    outside.load_state_dict({k: v for k, v in inside.state_dict().items() if "standardizer" not in k})
    done = dict(inputs)
    for name in "at":
        valid = inputs[f"h_{name}"][~inputs[f"mask_{name}"]]
        done[f"h_{name}"] = (inputs[f"h_{name}"] - valid.mean(0)) / valid.std(0, correction=0)
    assert torch.allclose(inside(**inputs).logits, outside(**done).logits, atol=1e-5)
    assert not torch.allclose(inside(**inputs).logits, outside(**inputs).logits, atol=1e-2)

    inside.save_pretrained(tmp_path)
    again = TacfnForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**inputs).logits, inside(**inputs).logits)
    garbage = {**inputs, "h_a": inputs["h_a"].masked_fill(inputs["mask_a"].unsqueeze(-1), float("nan"))}
    assert torch.equal(inside(**garbage).logits, inside(**inputs).logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sees_features_whose_mean_is_large(config, dtype, tmp_path):
    """More than float16 holds, and a deviation that is smaller than its steps there."""
    inputs = batch()
    inputs["h_a"] = inputs["h_a"] * 30 + 1e5
    model = with_statistics(build(config, standardize_features=True), inputs).eval()
    model.save_pretrained(tmp_path)
    half = TacfnForSequenceClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    assert half.classifier.out_proj.weight.dtype == dtype
    expected = model(**inputs).h_fused
    assert torch.allclose(half(**inputs).h_fused.float(), expected, atol=0.05 * expected.std().item() + 0.02)


def test_a_constant_dimension_is_not_scaled():
    """Constant: to the last bit, but for float32's steps at 1e4, but for float16's steps at 0. Not constant: two."""
    standardizer = FeatureStandardizer(5)
    mean, std = torch.tensor([5.0, 1e4, 1e-7, 1e4, 1e-3]), torch.tensor([0.0, 1e-3, 2e-8, 0.5, 1e-4])
    standardizer.set_statistics(mean, std)
    expected = torch.tensor([[1.0, 1.0, 1.0, 2.0, 1e4]])
    assert torch.allclose(standardizer(mean + 1), expected, rtol=1e-3)


def test_a_dropped_dimension_is_dropped_at_all_positions():
    h = torch.ones(200, 7, 50)
    dropped = drop_dimensions(h, 0.25)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs((dropped == 0).float().mean().item() - 0.25) < 4 * (0.25 * 0.75 / (200 * 50)) ** 0.5


def test_noise_takes_the_place_of_the_share_that_it_says():
    h, mask = torch.zeros(400, 60, 80), torch.zeros(400, 60, dtype=torch.bool)
    mask[:200, 1:] = True  # these have one position
    noisy, share = add_noise(h, mask, 0.5)
    replaced = noisy != 0
    by_dimension, by_position = replaced[:200, 0], replaced[200:]
    assert torch.equal(by_position, by_position[:, :, :1].expand_as(by_position))  # a position is noise as a whole
    for found, wanted, size in (
        (by_dimension.float().mean(dim=1), share[:200], 80),
        (by_position[:, :, 0].float().mean(dim=1), share[200:], 60),
    ):
        assert ((found - wanted).abs() <= 5 * (wanted * (1 - wanted) / size).sqrt() + 1e-6).all()
    assert abs((share > 0).float().mean().item() - 0.5) < 4 * (0.25 / 400) ** 0.5
    assert abs(noisy[replaced].std().item() - 1) < 0.01
    assert torch.equal(add_noise(h, mask, 0.0)[0], h)


def test_one_layer_classifies_the_fused_vector_as_it_is(config):
    model = build(config, num_classifier_layers=1).eval()
    output = model(**batch())
    linear = model.classifier.out_proj
    assert torch.allclose(output.logits, output.h_fused.clamp(min=0) @ linear.weight.T + linear.bias, atol=1e-6)


def test_values_by_one_modality_are_as_large_as_by_both(config):
    """Each modality tells the whole value: a regression by either alone, or by both, has the labels' mean."""
    changes = {"num_labels": 1, "problem_type": "regression", "unimodal_loss_weight": 1.0}
    model = build(config, **changes).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        labels = torch.randn(32, 1, generator=generator)
        inputs = {"h_a": labels.expand(32, 12), "h_t": labels.expand(32, 16)}
        optimizer.zero_grad()
        model(**inputs, labels=labels + 3).loss.backward()
        optimizer.step()
    model.eval()
    for given in (inputs, {"h_a": inputs["h_a"]}, {"h_t": inputs["h_t"]}):
        assert (model(**given).logits - labels - 3).abs().mean() < 0.5


def alone(model, inputs, name):
    """Halved logits of the samples that have both modalities, by one of them."""
    both = ~(inputs["mask_a"].all(dim=1) | inputs["mask_t"].all(dim=1))
    other = "t" if name == "a" else "a"
    given = {key: value[both] for key, value in inputs.items() if not key.endswith(f"_{other}")}
    return model(**given).logits / 2, both


LABELS = torch.tensor([0, 1, 2, 3, -100, 1])


@pytest.mark.parametrize("num_items", [None, 10])
def test_the_losses_of_one_modality_are_those_of_the_samples_that_have_both(config, num_items):
    inputs, weights = batch(), [1.0, 2.0, 0.5, 3.0]
    plain = build(config, class_weights=weights).train()
    taught = build(config, class_weights=weights, unimodal_loss_weight=0.3).train()
    more = taught(**inputs, labels=LABELS, num_items_in_batch=num_items).loss
    less = plain(**inputs, labels=LABELS, num_items_in_batch=num_items).loss
    count = (LABELS != -100).sum() if num_items is None else num_items
    expected = 0.0
    for name in "at":
        logits, both = alone(plain, inputs, name)
        losses = F.cross_entropy(logits, LABELS[both], torch.tensor(weights), ignore_index=-100, reduction="none")
        expected += 0.3 * losses.sum() / count
    assert torch.allclose(more - less, expected, atol=1e-6)
    taught.eval()
    plain.eval()
    assert torch.equal(taught(**inputs, labels=LABELS).loss, plain(**inputs, labels=LABELS).loss)


@pytest.mark.parametrize("smoothing", [0.0, 1e-9, 0.1, 1.0])
def test_smoothing_of_all_losses_of_classes_and_of_nothing_else(config, smoothing):
    """(1 - eps) times the label's loss plus eps times the mean loss of all classes, times the label's weight."""
    inputs, weights, count = batch(), torch.tensor([1.0, 2.0, 0.5, 3.0]), (LABELS != -100).sum()
    plain = build(config).train()
    taught = build(config, class_weights=weights.tolist(), unimodal_loss_weight=0.3, gate_loss_weight=4.0).train()

    def smoothed(logits, labels):
        losses = -logits.double().log_softmax(-1)[labels != -100]
        labels = labels[labels != -100]
        own = losses.gather(1, labels[:, None])[:, 0]
        return (weights[labels] * ((1 - smoothing) * own + smoothing * losses.mean(-1))).sum() / count

    expected = smoothed(plain(**inputs).logits, LABELS)
    true_class = []
    for name in "at":
        logits, both = alone(plain, inputs, name)
        expected += 0.3 * smoothed(logits, LABELS[both])
        true_class.append(logits.double().softmax(-1).gather(1, LABELS[both].clamp(min=0)[:, None])[:, 0])
    target = true_class[0] / (true_class[0] + true_class[1])
    errors = (plain(**inputs).beta[both, 0].double() - target) ** 2
    expected += 4.0 * errors[LABELS[both] != -100].sum() / count
    loss = taught(**inputs, labels=LABELS, smoothing=smoothing).loss
    assert torch.allclose(loss.double(), expected, atol=1e-5)


@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification"])
def test_only_classes_are_smoothed(config, problem_type):
    model = build(config, problem_type=problem_type)
    with pytest.raises(ValueError, match=f"label_smoothing_factor.* is 0.1, but problem_type is {problem_type}"):
        model(**batch(), labels=torch.rand(6, 4), smoothing=0.1)


def test_beta_is_taught_the_share_of_the_true_class(config):
    inputs = batch()
    plain, taught = build(config).train(), build(config, gate_loss_weight=4.0).train()
    logits, both = alone(plain, inputs, "a")
    labels = LABELS[both]
    known = labels != -100
    p_a = logits.double().softmax(-1)[known].gather(1, labels[known, None])
    p_t = alone(plain, inputs, "t")[0].double().softmax(-1)[known].gather(1, labels[known, None])
    beta = plain(**inputs).beta[both][known].double()
    expected = 4.0 * ((beta - p_a / (p_a + p_t)) ** 2).sum() / (LABELS != -100).sum()
    difference = taught(**inputs, labels=LABELS).loss - plain(**inputs, labels=LABELS).loss
    assert torch.allclose(difference.double(), expected, atol=1e-6)


def test_noise_lowers_what_a_modality_is_worth(config):
    """Where all of a modality may become noise, beta's target leans to the other one."""
    model = build(config, standardize_features=True, gate_loss_weight=1.0, noise_prob=0.999).train()
    h = torch.randn(500, 3, 12), torch.randn(500, 3, 16), torch.zeros(500, 3).bool(), torch.zeros(500, 3).bool()
    equal = torch.ones(500)
    torch.manual_seed(0)
    errors = model._gate_errors(h, equal, equal)
    torch.manual_seed(0)
    noise_a, noise_t = (add_noise(h[i], h[i + 2], 0.999)[1] for i in (0, 1))
    target = (1 - noise_a) / ((1 - noise_a) + (1 - noise_t))
    assert target.std() > 0.2
    beta = target + torch.sqrt(errors) * torch.tensor([[-1.0], [1.0]])  # one of the two roots is beta itself
    model.eval()
    torch.manual_seed(0)
    noisy_a, noisy_t = add_noise(h[0], h[2], 0.999)[0], add_noise(h[1], h[3], 0.999)[0]
    found = model.model.fuse(*model.model.condense(noisy_a, noisy_t, h[2], h[3])).beta[:, 0]
    assert torch.allclose((beta - found).abs().min(dim=0).values, torch.zeros(500), atol=1e-4)


def test_the_gate_is_taught_on_features_without_dropout(config):
    model = build(config, gate_loss_weight=1.0, hidden_dropout_prob=0.5, feature_dropout_prob=0.5).train()
    features = tuple(value[[2, 4, 5]] for value in model.model.prepare(**batch()))  # these have both
    equal = torch.ones(3)
    errors = model._gate_errors(features, equal, equal)
    assert all(module.training for module in model.modules())
    beta = model.eval().model.fuse(*model.model.condense(*features)).beta[:, 0]
    assert torch.allclose(errors, (beta - 0.5) ** 2, atol=1e-6)


def test_only_the_gate_learns_from_the_gate_loss(config):
    inputs = batch()
    gradients = []
    for weight in (0.0, 5.0):
        model = build(config, unimodal_loss_weight=0.5, gate_loss_weight=weight).train()
        model(**inputs, labels=LABELS).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]) == ("beta_gate" not in name), name


def test_a_batch_has_the_same_losses_however_it_is_split(config):
    inputs = batch()
    model = build(config, unimodal_loss_weight=0.5, gate_loss_weight=2.0).train()
    whole = model(**inputs, labels=LABELS, num_items_in_batch=5).loss
    parts = [
        model(**{key: value[part] for key, value in inputs.items()}, labels=LABELS[part], num_items_in_batch=5).loss
        for part in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    assert torch.allclose(whole, sum(parts), atol=1e-6)


def test_other_kinds_of_labels_teach_the_gate_too(config):
    inputs = batch()
    for problem_type in ("multi_label_classification", "regression"):
        model = build(config, problem_type=problem_type, unimodal_loss_weight=0.5, gate_loss_weight=2.0).train()
        model(**inputs, labels=torch.rand(6, 4)).loss.backward()
        assert model.model.beta_gate.mlp[0].weight.grad.abs().max() > 0


def test_the_gate_loss_does_not_depend_on_how_many_labels_a_sample_has(config):
    """Where both modalities say the same, beta's target is a half, whatever the labels are."""
    inputs = batch()
    terms = []
    for problem_type, labels in (("single_label_classification", LABELS.abs() % 4), ("regression", torch.rand(6, 4))):
        losses = []
        for weight in (0.0, 3.0):
            model = build(config, problem_type=problem_type, gate_loss_weight=weight).train()
            with torch.no_grad():
                model.classifier.out_proj.weight.zero_()
            losses.append(model(**inputs, labels=labels).loss)
        terms.append(losses[1] - losses[0])
    assert terms[0] > 1e-4
    assert torch.allclose(terms[0], terms[1], rtol=1e-3)


def test_a_part_that_is_frozen_in_evaluation_stays_so(config):
    model = build(config, gate_loss_weight=1.0).train()
    model.model.cross_modal.eval()
    model(**batch(), labels=LABELS)
    assert not any(module.training for module in model.model.cross_modal.modules())
    assert model.model.training
    assert model.model.beta_gate.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_prob": 0.5}, "noise_prob is 0.5 without standardize_features"),
        ({"gate_reads_distance": True}, "gate_reads_distance is True without standardize_features"),
        ({"noise_prob": 1.0, "standardize_features": True}, "noise_prob is 1.0"),
        ({"feature_dropout_prob": -0.1}, "feature_dropout_prob is -0.1"),
        ({"unimodal_loss_weight": -1.0}, "unimodal_loss_weight is -1.0"),
        ({"gate_loss_weight": -1.0}, "gate_loss_weight is -1.0"),
        ({"num_classifier_layers": 3}, "num_classifier_layers is 3"),
    ],
)
def test_bad_settings(config, settings, message):
    with pytest.raises(Exception, match=message):
        type(config)(**settings)
