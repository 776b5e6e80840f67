"""The baselines of the benchmarks: their formulas, and what they share with the model that they are compared to."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import recall_score
from sklearn.svm import SVC
from tiny import make_features

from tacfn_hf import TacfnConfig
from tacfn_hf.features.collation import TacfnDataCollator
from tacfn_hf.training.objective import Objective
from tacfn_hf.training.trainer import build_trainer
from tacfn_hf.training.training_arguments import TacfnTrainingArguments


sys.path.append(str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

from baselines import BASELINES, EMBEDDING_SIZE, Baseline, BaselineObjective, FirstFusion, svm_scores  # noqa: E402


pytestmark = pytest.mark.slow
torch.set_num_threads(1)  # the models are too small for more

D_A, D_T, D = 5, 6, 8
LENGTHS = [(9, 4), (1, 6), (12, 1), (5, 5)]
EXACT = [name for name in BASELINES if name != "first implementation"]
every = pytest.mark.parametrize("name", BASELINES)
exact = pytest.mark.parametrize("name", EXACT)


def make_config(**settings) -> TacfnConfig:
    sizes = {"audio_feature_size": D_A, "text_feature_size": D_T, "hidden_size": D, "num_attention_heads": 2}
    sizes |= {"num_hidden_layers": 2, "head": "mlp", "feature_dropout_prob": 0.0}
    return TacfnConfig(**{**sizes, "gate_hidden_size": 4, "num_labels": 3, **settings})


def make(name: str, **settings) -> Baseline:
    """In float64 and evaluation, with weights far from 0, so that a wrong term shows."""
    model = BASELINES[name](make_config(**settings)).double().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def samples() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    options = {"generator": generator, "dtype": torch.float64}
    return [(torch.randn(n, D_A, **options), torch.randn(m, D_T, **options)) for n, m in LENGTHS]


def place(sequences, length, where="right", content=0.0):
    """`[B, length, d]` with each sequence right-padded, left-padded or scattered, and its mask, True = PAD."""
    h = torch.full((len(sequences), length, sequences[0].shape[-1]), content, dtype=torch.float64)
    mask = torch.ones(len(sequences), length, dtype=torch.bool)
    for i, sequence in enumerate(sequences):
        n = len(sequence)
        positions = {
            "right": torch.arange(n),
            "left": torch.arange(length - n, length),
            "holes": torch.randperm(length)[:n].sort().values,
        }[where]
        h[i, positions], mask[i, positions] = sequence, False
    return h, mask


def batch_of(pairs, length_a=12, length_t=6, **how) -> dict[str, torch.Tensor]:
    h_a, mask_a = place([a for a, _ in pairs], length_a, **how)
    h_t, mask_t = place([t for _, t in pairs], length_t, **how)
    return {"h_a": h_a, "h_t": h_t, "mask_a": mask_a, "mask_t": mask_t}


def rows_of(batch, rows) -> dict[str, torch.Tensor]:
    return {key: value[rows] for key, value in batch.items()}


def assert_same(output, expected):
    for key in ("logits", "beta"):
        torch.testing.assert_close(output[key], expected[key], equal_nan=key == "beta", rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize(("where", "content"), [("right", float("nan")), ("left", float("inf")), ("holes", 0.0)])
@exact
def test_padding_and_batch_mates_change_nothing(name, where, content):
    model, pairs = make(name), samples()
    alone = [model(a[None], t[None]) for a, t in pairs]
    expected = {key: torch.cat([output[key] for output in alone]) for key in ("logits", "beta")}
    batch = batch_of(pairs, 15, 7, where=where, content=content)
    assert_same(model(**batch), expected)
    order = [2, 0, 3]
    assert_same(model(**rows_of(batch, order)), rows_of(expected, order))


@torch.no_grad()
def test_the_first_implementation_depends_on_padding_and_batch_mates():
    model, pairs = make("first implementation"), samples()
    alone = model(pairs[0][0][None], pairs[0][1][None])["logits"][0]
    together = model(**batch_of(pairs))["logits"][0]
    padded = model(**batch_of(pairs, 15, 9))["logits"][0]
    for one, other in ((alone, together), (together, padded), (alone, padded)):
        assert (one - other).abs().max() > 1e-3


@torch.no_grad()
@every
def test_what_stands_behind_the_mask_has_no_influence(name):
    model, pairs = make(name), samples()
    expected = model(**batch_of(pairs))
    for content in (float("nan"), float("inf"), 7.0):
        output = model(**batch_of(pairs, content=content))
        assert torch.equal(output["logits"], expected["logits"])
        torch.testing.assert_close(output["beta"], expected["beta"], equal_nan=True, rtol=0, atol=0)


@every
def test_a_missing_modality_gives_finite_logits_and_gradients(name):
    batch = batch_of(samples(), content=float("nan"))
    batch["mask_a"][0] = True
    batch["mask_t"][1] = True
    labels = torch.tensor([0, 1, 2, 0])
    for one in (
        batch,
        {**batch, "h_a": None, "mask_a": None},
        {"h_a": batch["h_a"], "mask_a": batch["mask_a"]},  # as the collator gives it
    ):
        model = make(name).train()
        loss, output = BaselineObjective()(model, one, labels)
        assert output["logits"].isfinite().all()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
@exact
def test_a_missing_modality_is_the_same_everywhere(name):
    model, pairs = make(name), samples()
    batch = batch_of(pairs)
    batch["mask_a"][0] = True
    batch["mask_t"][1] = True
    output = model(**batch)
    assert_same(rows_of(output, [0]), model(h_t=pairs[0][1][None]))
    assert_same(rows_of(output, [1]), model(h_a=pairs[1][0][None]))


@torch.no_grad()
def test_a_modality_that_a_batch_lacks_is_padding_of_the_same_length_in_the_first_implementation():
    model, (audio, text) = make("first implementation"), samples()[0]
    for given, missing, size in (("a", "t", D_T), ("t", "a", D_A)):
        h = (audio if given == "a" else text)[None]
        absent = torch.ones(1, h.shape[1], dtype=torch.bool)
        padded = {f"h_{given}": h, f"h_{missing}": h.new_zeros(1, h.shape[1], size), f"mask_{missing}": absent}
        assert_same(model(**{f"h_{given}": h}), model(**padded))
        assert not torch.allclose(model(**{f"h_{given}": h})["logits"], model(**{f"h_{given}": h[:, :1]})["logits"])


@torch.no_grad()
def test_a_missing_modality_adds_nothing_to_the_other_one_in_mult():
    model, (audio, _) = make("MulT"), samples()[0]
    expected = model(h_a=audio[None])
    model.text_projection.bias.neg_()  # LayerNorm would not see a constant
    assert_same(model(h_a=audio[None]), expected)


@every
def test_the_loss_reaches_every_parameter(name):
    model = make(name, hidden_dropout_prob=0.0).train()
    BaselineObjective()(model, batch_of(samples()), torch.tensor([0, 1, 2, 0]))[0].backward()
    for parameter_name, parameter in model.named_parameters():
        if not parameter_name.endswith("k_proj.bias"):  # a softmax over keys does not see it
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().max() > 1e-12, parameter_name


@torch.no_grad()
@every
def test_logits_and_beta(name):
    output = make(name)(**batch_of(samples()))
    assert list(output) == ["logits", "beta", "has_audio", "has_text"]
    assert output["logits"].shape == (4, 3)
    assert output["beta"].shape == (4, 1)
    if name in ("audio only", "text only"):
        assert (output["beta"] == (name == "audio only")).all()
    elif name in ("GMU", "first implementation"):
        assert ((output["beta"] > 0) & (output["beta"] < 1)).all()
    else:
        assert output["beta"].isnan().all()


@torch.no_grad()
@pytest.mark.parametrize("num_items", [None, 10])
@pytest.mark.parametrize("name", [name for name in BASELINES if name != "late fusion"])
def test_the_loss_is_that_of_the_network(name, num_items):
    labels, batch = torch.tensor([2, -100, 1, 0]), batch_of(samples())
    loss, output = BaselineObjective([0.5, 1.0, 4.0], 0.1)(make(name), batch, labels, num_items)

    class Same(torch.nn.Module):
        config = make_config(problem_type="single_label_classification")

        def forward(self, **_):
            return output

    assert torch.equal(loss, Objective([0.5, 1.0, 4.0], 0.1)(Same().eval(), batch, labels, num_items)[0])


def weights_of(model: Baseline) -> dict[str, np.ndarray]:
    return {name: weight.detach().numpy() for name, weight in model.named_parameters()}


def linear(weights, name, x):
    return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0.0)


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def classify(weights, name, x):
    return linear(weights, f"{name}.3", relu(linear(weights, f"{name}.0", x)))


def embed(weights, name, x):
    return np.append(relu(linear(weights, f"{name}.3", relu(linear(weights, f"{name}.0", x)))), 1.0)


def audio_only(w, a, t):
    return classify(w, "classifier", a.mean(0))


def text_only(w, a, t):
    return classify(w, "classifier", t.mean(0))


def concatenation(w, a, t):
    return classify(w, "classifier", np.concatenate([a.mean(0), t.mean(0)]))


def late_fusion(w, a, t):
    p = [softmax(classify(w, name, x.mean(0))) for name, x in (("audio_classifier", a), ("text_classifier", t))]
    return np.log((p[0] + p[1]) / 2)


def gmu(w, a, t):
    a, t = a.mean(0), t.mean(0)
    z = sigmoid(linear(w, "gate", np.concatenate([a, t])))
    h = z * np.tanh(linear(w, "audio", a)) + (1 - z) * np.tanh(linear(w, "text", t))
    return classify(w, "classifier", h)


def tfn(w, a, t):
    z = np.outer(embed(w, "audio", a.mean(0)), embed(w, "text", t.mean(0)))
    return classify(w, "classifier", z.flatten())


def lmf(w, a, t):
    """The tensor W in full, put together from its factors, on the full outer product."""
    factors = [
        np.concatenate([w[f"{name}_factors.weight"], w[f"{name}_factors.bias"][:, None]], axis=1)
        for name in ("audio", "text")
    ]
    factors = [f.reshape(-1, D, EMBEDDING_SIZE + 1) for f in factors]
    tensor = sum(v * f_a[:, :, None] * f_t[:, None, :] for v, f_a, f_t in zip(w["rank_weights"], *factors, strict=True))
    z = np.outer(embed(w, "audio", a.mean(0)), embed(w, "text", t.mean(0)))
    return linear(w, "classifier.2", relu((tensor * z).sum(axis=(1, 2)) + w["bias"]))


def norm(w, name, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def rows(w, name, x):
    return np.stack([linear(w, name, one) for one in x])


def pre_norm_block(w, name, h, memory):
    query, key = (norm(w, f"{name}.attention_norm", x) for x in (h, memory))
    parts = zip(
        (query, key, key),
        np.split(w[f"{name}.attention.in_proj_weight"], 3),
        np.split(w[f"{name}.attention.in_proj_bias"], 3),
        strict=True,
    )
    q, k, v = ((x @ weight.T + bias).reshape(len(x), 2, D // 2) for x, weight, bias in parts)
    update = np.zeros_like(q)
    for i in range(len(h)):
        for head in range(2):
            update[i, head] = softmax(k[:, head] @ q[i, head] / np.sqrt(D // 2)) @ v[:, head]
    h = h + rows(w, f"{name}.attention.out_proj", update.reshape(len(h), D))
    inner = relu(rows(w, f"{name}.feed_forward.0", norm(w, f"{name}.feed_forward_norm", h)))
    return h + rows(w, f"{name}.feed_forward.2", inner)


def mult(w, a, t):
    def positions(n):
        angles = np.arange(n)[:, None] / 10000 ** (np.arange(D // 2) / (D // 2))
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    z_a = rows(w, "audio_projection", a) + positions(len(a))
    z_t = rows(w, "text_projection", t) + positions(len(t))
    pooled = []
    for side, crossed, own, other in (
        ("audio", "audio_from_text", z_a, z_t),
        ("text", "text_from_audio", z_t, z_a),
    ):
        h = own
        for i in range(2):
            h = pre_norm_block(w, f"blocks.{crossed}.{i}", h, other)
        h = norm(w, f"norms.{crossed}", h)
        for i in range(2):
            h = pre_norm_block(w, f"blocks.{side}.{i}", h, h)
        pooled.append(norm(w, f"norms.{side}", h).mean(0))
    x = np.concatenate(pooled)
    return linear(w, "classifier", x + classify(w, "residual", x))


FORMULAS = {
    "audio only": audio_only,
    "text only": text_only,
    "concatenation": concatenation,
    "late fusion": late_fusion,
    "GMU": gmu,
    "TFN": tfn,
    "LMF": lmf,
    "MulT": mult,
}


@torch.no_grad()
@pytest.mark.parametrize("name", FORMULAS)
def test_the_formula_of_the_paper(name):
    model = make(name)
    logits = model(**batch_of(samples()))["logits"].numpy()
    assert logits.std(axis=0).min() > 1e-3
    for (a, t), got in zip(samples(), logits, strict=True):
        np.testing.assert_allclose(got, FORMULAS[name](weights_of(model), a.numpy(), t.numpy()), rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_beta_of_the_gated_unit():
    model = make("GMU")
    beta = model(**batch_of(samples()))["beta"]
    for (a, t), got in zip(samples(), beta[:, 0], strict=True):
        z = sigmoid(linear(weights_of(model), "gate", np.concatenate([a.numpy().mean(0), t.numpy().mean(0)])))
        assert float(got) == pytest.approx(z.mean(), rel=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("frames", [12, 3])
def test_the_gate_of_the_first_implementation(frames):
    """Of what the blocks give for the padded batch: 12 audio frames are cut to 6 tokens, or 6 tokens to 3 frames."""
    model, batch = make("first implementation"), batch_of([(a[:frames], t) for a, t in samples()], frames)
    w = weights_of(model)
    blocks = model.cross_modal(
        model.audio_projection(batch["h_a"]), model.text_projection(batch["h_t"]), batch["mask_a"], batch["mask_t"]
    )
    output = model(**batch)
    for i in range(len(LENGTHS)):
        h_a, h_t = (
            norm(w, f"{m}_norm", h[i, : min(frames, 6)].numpy()) for m, h in zip(("audio", "text"), blocks, strict=True)
        )
        a, t = h_a.mean(0), h_t.mean(0)
        g = np.concatenate([a, t, abs(a - t), a * t])
        gate = sigmoid(linear(w, "gate.2", relu(linear(w, "gate.0", g))))
        h = norm(w, "classifier.norm", (gate * h_a + (1 - gate) * h_t).mean(0))
        logits = linear(w, "classifier.out_proj", relu(linear(w, "classifier.dense", h)))
        np.testing.assert_allclose(output["logits"][i], logits, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(output["beta"][i, 0], gate.mean(), rtol=1e-8)


@torch.no_grad()
@pytest.mark.parametrize("num_items", [None, 10])
def test_late_fusion_trains_each_classifier_on_the_samples_that_have_its_modality(num_items):
    class_weights = [0.5, 1.0, 4.0]
    model, pairs = make("late fusion", hidden_dropout_prob=0.0).train(), samples()
    batch = batch_of(pairs)
    batch["mask_a"][0] = True
    batch["mask_t"][2] = True
    labels = torch.tensor([0, 1, 2, -100])
    w, total = weights_of(model), 0.0
    for i in (1, 2):
        p = softmax(classify(w, "audio_classifier", pairs[i][0].numpy().mean(0)))
        total -= class_weights[labels[i]] * np.log(p[labels[i]])
    for i in (0, 1):
        p = softmax(classify(w, "text_classifier", pairs[i][1].numpy().mean(0)))
        total -= class_weights[labels[i]] * np.log(p[labels[i]])
    loss, output = BaselineObjective(class_weights)(model, batch, labels, num_items)
    assert float(loss) == pytest.approx(total / (num_items or 3), rel=1e-5)  # the loss is in float32
    text = softmax(classify(w, "text_classifier", pairs[0][1].numpy().mean(0)))
    np.testing.assert_allclose(output["logits"][0], np.log(text), rtol=1e-8)


def test_bad_input():
    model, batch = make("concatenation"), batch_of(samples())
    with pytest.raises(ValueError, match="h_a and h_t are both None"):
        model()
    with pytest.raises(ValueError, match="h_a has shape .* audio_feature_size wants .* 5"):
        model(**{**batch, "h_a": batch["h_t"]})
    with pytest.raises(ValueError, match="h_a has 2 samples and h_t has 4"):
        model(**{**batch, "h_a": batch["h_a"][:2], "mask_a": batch["mask_a"][:2]})
    with pytest.raises(TypeError, match="mask_t is torch.int64"):
        model(**{**batch, "mask_t": batch["mask_t"].long()})


def feature_config(dataset, **settings) -> TacfnConfig:
    names = dataset.features["label"].names
    sizes = {"audio_feature_size": 4, "text_feature_size": 5, "hidden_size": 16, "num_hidden_layers": 1}
    return TacfnConfig(**sizes, gate_hidden_size=8, id2label=dict(enumerate(names)), num_attention_heads=2, **settings)


@every
def test_trains_with_the_trainer_and_ends_with_its_best_model(name, tmp_path):
    dataset = make_features().with_format("numpy")
    parts = {"train": dataset.select(range(24)), "valid": dataset.select(range(24, 48))}
    config = feature_config(dataset, feature_dropout_prob=0.0)
    args = TacfnTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=1e-2,
        per_device_train_batch_size=8,
        num_train_epochs=3,
        class_weights="none",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
    )
    trainer = build_trainer(BASELINES[name](config), args, parts)
    trainer.objective = BaselineObjective()
    trainer.args.greater_is_better = True  # so that the best is the first, and not what the model is at the end anyhow
    trainer.train()
    trainer.save_model(str(tmp_path / "best"))
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert losses[0] > max(losses[1:])

    again = BASELINES[name](config).eval()
    again.load_state_dict(load_file(tmp_path / "best" / "model.safetensors"))
    with torch.no_grad():
        batch = TacfnDataCollator()([dataset[i] for i in range(24, 48)])
        batch.pop("labels")
        output = again(**batch)
    logits, beta, *_ = trainer.predict(parts["valid"]).predictions
    np.testing.assert_allclose(output["logits"].numpy(), logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(output["beta"].numpy(), beta, rtol=1e-5)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[0], rel=1e-5)


def svm_rows(n: int, seed: int, classes: int = 3, scale: float = 1.0) -> list[dict]:
    """Classes that overlap; every fifth row lacks audio."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(classes, D_A + D_T))
    made = []
    for i in range(n):
        label = int(generator.integers(classes)) if i >= classes else i
        h = centres[label] + 2 * generator.normal(size=(int(generator.integers(1, 4)), D_A + D_T))
        made.append({"h_a": None if i % 5 == 0 else scale * h[:, :D_A], "h_t": h[:, D_A:], "label": label})
    return made


def by_hand(parts, weights):
    """Standardised means by the formula, then one SVC for each C, and the UA of each on the second part."""
    means = [
        np.array(
            [np.concatenate([np.zeros(D_A) if r["h_a"] is None else r["h_a"].mean(0), r["h_t"].mean(0)]) for r in part]
        )
        for part in parts
    ]
    labels = [[r["label"] for r in part] for part in parts]
    centre, spread = means[0].mean(0), means[0].std(0)
    train, valid, test = ((x - centre) / spread for x in means)
    machines = [SVC(C=c, class_weight=weights).fit(train, labels[0]) for c in (0.1, 1, 10)]
    scores = [(m.decision_function(valid), m.decision_function(test), m) for m in machines]
    return scores, [recall_score(labels[1], s[0].argmax(1), average="macro") for s in scores]


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0]])
@pytest.mark.parametrize("seed", range(4))
def test_svm_is_the_one_that_is_best_on_the_validation_rows(seed, weights):
    parts = [svm_rows(n, 10 * seed + k) for k, n in enumerate((60, 30, 20))]
    valid, test, size = svm_scores(make_config(), weights, *parts)
    scores, ua = by_hand(parts, None if weights is None else dict(enumerate(weights)))
    assert max(ua) > min(ua)
    expected_valid, expected_test, machine = scores[int(np.argmax(ua))]
    assert valid.shape == (30, 3)
    np.testing.assert_allclose(valid, expected_valid, atol=1e-6)
    np.testing.assert_allclose(test, expected_test, atol=1e-6)
    n = int(machine.n_support_.sum())
    assert size == n * (D_A + D_T) + 2 * n + 3  # vectors; two coefficients each; an intercept for each pair of classes


def test_svm_of_two_classes_has_two_scores():
    parts = [svm_rows(n, k, classes=2) for k, n in enumerate((40, 20, 20))]
    _, test, _ = svm_scores(make_config(num_labels=2), None, *parts)
    assert test.shape == (20, 2)
    assert np.array_equal(test[:, 0], -test[:, 1])
    assert (test.argmax(axis=1) == [row["label"] for row in parts[2]]).mean() > 0.6


def test_svm_takes_the_rows_of_a_dataset_and_says_what_is_wrong():
    dataset = make_features().with_format("numpy")
    parts = [dataset.select(range(24)), dataset.select(range(24, 36)), dataset.select(range(36, 48))]
    _, test, _ = svm_scores(feature_config(dataset), None, *parts)
    assert (test.argmax(axis=1) == parts[2]["label"]).mean() > 0.9
    with pytest.raises(ValueError, match="h_t of the row with id 'u0' has 5 dimensions, the config 6"):
        svm_scores(make_config(), None, *parts)
    without = [row for row in parts[0] if row["label"] != 1]
    with pytest.raises(ValueError, match="No training row has the label calm"):
        svm_scores(feature_config(dataset), None, without, *parts[1:])
    with pytest.raises(ValueError, match="row 0 of the batch has neither h_a nor h_t"):
        svm_scores(make_config(), None, [{"h_a": None, "label": 0}], [], [])


def test_every_baseline_has_a_test_of_its_formula():
    assert set(FORMULAS) == set(EXACT)
    assert BASELINES["first implementation"] is FirstFusion
