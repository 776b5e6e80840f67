"""Real networks, most of them with a gate set by hand, on features of which it is known what beta has to do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset
from tiny import NAMES, make_features
from transformers import TrainingArguments

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification
from tacfn_hf.evaluation.gate import (
    carrier_auc,
    corruption_correlation,
    format_gate_truth,
    measure_gate_truth,
    measure_missing,
    occlusion_agreement,
    replace_share,
)
from tacfn_hf.evaluation.predictions import evaluate_split
from tacfn_hf.training.trainer import build_trainer


ROOT = Path(__file__).parents[2]
D = 4  # features, network and classes of the models with a gate set by hand


def random_model(**sizes) -> TacfnForSequenceClassification:
    """For the features of tiny.make_features, far from linear."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "gate_hidden_size": 8, "initializer_range": 0.5, **sizes}
    config = TacfnConfig(
        audio_feature_size=4,
        text_feature_size=5,
        id2label=dict(enumerate(NAMES)),
        label2id={name: i for i, name in enumerate(NAMES)},
        **sizes,
    )
    return TacfnForSequenceClassification(config)


@torch.no_grad()
def hand_model(audio: float = 0.0, text: float = 0.0, agreement: float = 0.0) -> TacfnForSequenceClassification:
    """
    Without blocks, and with projections that change nothing: with a and t the layer-normed means over time,
    `beta = sigmoid(audio * sum |a| + text * sum |t| + agreement * sum a * t)` and `logits = relu(LN(h_fused))`.
    """
    sizes = {"audio_feature_size": D, "text_feature_size": D, "hidden_size": D, "num_labels": D}
    config = TacfnConfig(**sizes, num_attention_heads=1, gate_hidden_size=6 * D, gate_reads_distance=False, head="mlp")
    model = TacfnForSequenceClassification(config)
    for projection in (model.model.audio_projection, model.model.text_projection):
        projection.weight[:] = torch.eye(D)
        projection.bias.zero_()
    first, _, second = model.model.beta_gate.mlp
    for layer in (first, second, model.classifier.dense, model.classifier.out_proj):
        layer.weight.zero_()
        layer.bias.zero_()
    one = torch.eye(D)
    for k, (sign, block) in enumerate([(1, 0), (-1, 0), (1, 1), (-1, 1), (1, 3), (-1, 3)]):  # of [a, t, |a - t|, a * t]
        first.weight[k * D : (k + 1) * D, block * D : (block + 1) * D] = sign * one
    second.weight[:] = torch.tensor([audio, audio, text, text, agreement, -agreement]).repeat_interleave(D)
    model.classifier.dense.weight[:] = one
    model.classifier.out_proj.weight[:] = one
    return model


def make_dataset(h_a: list, h_t: list, label: list[int], **columns: list) -> Dataset:
    names = [f"LABEL_{i}" for i in range(D)]
    dataset = Dataset.from_dict({"h_a": h_a, "h_t": h_t, "label": label, **columns})
    return dataset.cast_column("label", ClassLabel(names=names))


def carried(rows: int = 16) -> Dataset:
    """Half of the time the sound says the label and the words nothing, which is a constant vector; or vice versa."""
    label = [i // 2 % D for i in range(rows)]
    says, nothing = np.eye(D, dtype=np.float32), np.full((1, D), 0.25, dtype=np.float32)
    parts = [(says[[i]], nothing) if n % 2 else (nothing, says[[i]]) for n, i in enumerate(label)]
    carrier = ["audio" if n % 2 else "text" for n in range(rows)]
    return make_dataset([a for a, _ in parts], [t for _, t in parts], label, carrier=carrier)


def inputs_of(model: torch.nn.Module, dataset: Dataset, **settings) -> dict[str, list[dict]]:
    """What the model was given in `measure_gate_truth`, by variant; one batch."""
    seen = []
    hook = model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    measure_gate_truth(model, dataset, batch_size=1000, **settings)
    hook.remove()
    assert len(seen) == 33
    kinds = [f"{modality} {kind}" for modality in ("audio", "text") for kind in ("noise", "mean", "other")]
    return {
        "both": seen[:1],
        "audio only": seen[1:2],
        "text only": seen[2:3],
        **{name: seen[3 + 5 * i : 8 + 5 * i] for i, name in enumerate(kinds)},
    }


def evaluate(model: TacfnForSequenceClassification, dataset: Dataset, folder: Path) -> dict:
    """The plain evaluation of evaluate.py."""
    args = TrainingArguments(
        output_dir=folder,
        use_cpu=True,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
    )
    dataset = dataset if "id" in dataset.column_names else dataset.add_column("id", list(map(str, range(len(dataset)))))
    return evaluate_split(build_trainer(model, args, {}), dataset.with_format("numpy"))[0]


def complete(dataset: Dataset) -> Dataset:
    return dataset.filter(lambda row: bool(row["h_a"] and row["h_t"]))


def test_carrier_auc_by_hand():
    # pairs: 0.9 > 0.5, 0.9 > 0.1, 0.4 > 0.1 are right, 0.4 < 0.5 is wrong; "both" has no part in it
    assert carrier_auc([0.9, 0.4, 0.5, 0.1, 0.0], ["audio", "audio", "text", "text", "both"]) == 3 / 4
    assert carrier_auc([0.3, 0.3], ["text", "audio"]) == 1 / 2
    with pytest.raises(ValueError, match="No row has the carrier 'text'"):
        carrier_auc([0.3, 0.3], ["both", "audio"])


def test_corruption_correlation_by_hand():
    # One beta falls throughout: -1; one is constant: 0; of the last one the ranks are 1.5, 1.5, 3: sqrt(3) / 2.
    beta = np.array([[0.9, 0.5, 0.1], [0.2, 0.5, 0.1], [0.1, 0.5, 0.3]])
    assert corruption_correlation(beta, [0, 0.3, 1]) == pytest.approx((-1 + 0 + np.sqrt(3) / 2) / 3)


def test_occlusion_by_hand():
    beta = np.array([0.9, 0.6, 0.2])
    audio_drop, text_drop = np.array([0.5, 0.3, 0.1]), np.array([0.1, 0.2, 0.4])
    truth = {"correlation": 1.0, "auc": 1.0, "audio_rows": 2, "text_rows": 1}
    assert occlusion_agreement(beta, audio_drop, text_drop) == pytest.approx(truth)
    lie = {"correlation": -1.0, "auc": 0.0, "audio_rows": 1, "text_rows": 2}
    assert occlusion_agreement(beta, text_drop, audio_drop) == pytest.approx(lie)
    # A row that is hurt equally: in the correlation alone. Ranks of beta 2, 1, 3, of the difference 3, 1, 2.
    tied = occlusion_agreement(np.array([0.5, 0.1, 0.9]), np.array([0.4, 0.0, 0.2]), np.array([0.1, 0.3, 0.2]))
    assert tied == pytest.approx({"correlation": 1 / 2, "auc": 1.0, "audio_rows": 1, "text_rows": 1})
    assert occlusion_agreement(beta, audio_drop, audio_drop - 0.1)["auc"] is None


@pytest.mark.parametrize("shape", [(2, 3), (7, 3), (100, 3), (1, 9)])
def test_a_larger_share_contains_the_smaller_one(shape):
    rng = np.random.default_rng(0)
    h, by = np.zeros(shape), np.ones(shape)
    size = shape[0] if shape[0] > 1 else shape[1]
    order = rng.permutation(size)
    before = np.zeros(shape)
    for share in (0, 0.2, 0.25, 0.5, 0.9, 1):
        now = replace_share(h, by, order, share)
        changed = now.any(axis=1) if shape[0] > 1 else now[0]
        assert changed.sum() == round(share * size)
        if shape[0] > 1:
            assert (now.all(axis=1) == changed).all()  # a position is replaced as a whole
        assert (now >= before).all()
        before = now
    assert not h.any()


@pytest.mark.parametrize("column", ["h_a", "h_t"])
def test_what_is_corrupted_and_what_is_not(column):
    dataset = complete(make_features())
    given = inputs_of(random_model(), dataset)
    (plain,) = given["both"]
    other_column = {"h_a": "h_t", "h_t": "h_a"}[column]
    mask = plain[f"mask_{column[-1]}"]
    changed = {}
    for kind in ("noise", "mean", "other"):
        batches = given[f"{'audio' if column == 'h_a' else 'text'} {kind}"]
        for batch in batches:
            assert torch.equal(batch[other_column], plain[other_column])
            assert torch.equal(batch["mask_a"], plain["mask_a"])
            assert torch.equal(batch["mask_t"], plain["mask_t"])
        assert torch.equal(batches[0][column], plain[column])
        differs = [(batch[column] != plain[column]).any(-1) for batch in batches]
        for smaller, larger in zip(differs, differs[1:], strict=False):
            assert (larger | ~smaller).all()
        long = (~mask).sum(1) > 1
        assert torch.equal(differs[-1][long], ~mask[long])
        changed[kind] = [each[long] for each in differs]
    for kind in ("noise", "mean"):
        assert all(map(torch.equal, changed["other"], changed[kind]))  # the same positions


def test_other_features_come_once_from_each_other_row():
    rows = 30
    h = np.random.default_rng(0).normal(size=(rows, 1, D)).astype(np.float32)
    given = inputs_of(hand_model(), make_dataset(h, h[::-1], [0] * rows))["audio other"][-1]["h_a"].numpy()
    donors = [int(np.flatnonzero((h == each).all(axis=(1, 2)))[0]) for each in given]
    assert sorted(donors) == list(range(rows))
    assert all(donor != i for i, donor in enumerate(donors))


def test_the_whole_share_of_others_is_a_swap(tmp_path):
    dataset = make_features().select([1, 2])  # of two rows each can only get the other's
    h_a = [np.asarray(h, dtype=np.float32) for h in dataset["h_a"]]
    swapped = [other[np.arange(len(h)) % len(other)] for h, other in zip(h_a, h_a[::-1], strict=True)]
    lengths = [len(h) for h in h_a]
    assert len(set(lengths)) == 2
    model = random_model()
    expected = evaluate(model, dataset.remove_columns("h_a").add_column("h_a", [h.tolist() for h in swapped]), tmp_path)
    found = measure_gate_truth(model, dataset)["corruption"]["audio"]["other"]
    assert found["beta_mean"][-1] == pytest.approx(expected["beta_mean"], abs=1e-6)
    assert found["UA"][-1] == expected["UA"]


def test_noise_has_mean_and_deviation_of_all_positions():
    rng = np.random.default_rng(0)
    scale, constant = np.array([0.1, 1.0, 10.0, 0.0]), 1 / 3
    rows = [constant + 5 * scale + scale * rng.normal(size=(rng.integers(1, 100), D)) for _ in range(100)]
    rows = [h.astype(np.float32) for h in rows]
    # Without text, yet its audio counts.
    rows.append(rows[0] + np.array([0, 0, 500, 0], dtype=np.float32))
    h_t = [[[0.0, 1.0, 2.0, 3.0]]] * 100 + [None]
    given = inputs_of(hand_model(), make_dataset(rows, h_t, [0] * 101))
    batch = given["audio noise"][-1]
    noise = batch["h_a"][~batch["mask_a"]].double().numpy()
    everything = np.concatenate(rows).astype(np.float64)
    assert (noise[:, 3] == np.float32(constant)).all()
    error = everything.std(axis=0)[:3] / np.sqrt(len(noise))
    assert (np.abs(noise.mean(axis=0)[:3] - everything.mean(axis=0)[:3]) < 4 * error).all()
    assert noise.std(axis=0)[:3] == pytest.approx(everything.std(axis=0)[:3], rel=0.05)
    assert torch.equal(given["text noise"][-1]["h_t"], given["both"][0]["h_t"])  # constant in every dimension
    batch = given["audio mean"][-1]
    expected = torch.from_numpy(everything.mean(axis=0)).float().expand(len(noise), D)
    assert torch.allclose(batch["h_a"][~batch["mask_a"]], expected, rtol=1e-6)


def test_a_gate_on_agreement_follows_the_share_exactly():
    """In each row audio and text agree; what comes from another row agrees less, position by position."""
    rng = np.random.default_rng(0)
    h = [np.repeat(each[None], 4, axis=0) for each in rng.normal(size=(12, D)).astype(np.float32)]
    dataset = make_dataset(h, h, [0] * 12)
    for weight, expected in ((1, -1), (-1, 1)):
        found = measure_gate_truth(hand_model(agreement=weight), dataset)["corruption"]
        assert found["audio"]["other"]["correlation"] == pytest.approx(expected)
        assert found["text"]["other"]["correlation"] == pytest.approx(expected)


def test_a_gate_that_sees_audio_only():
    """The audio of every row is one-hot. The layer norm of a mean of several such rows has a larger absolute sum."""
    h_a = [np.repeat(np.eye(D, dtype=np.float32)[[i % D]], 4, axis=0) for i in range(16)]
    h_t = np.random.default_rng(0).normal(size=(16, 3, D)).astype(np.float32)
    result = measure_gate_truth(hand_model(audio=1.0), make_dataset(h_a, h_t, [0] * 16))["corruption"]
    for figures in result["text"].values():
        assert figures["correlation"] == 0
        assert len(set(figures["beta_mean"])) == 1
    beta = result["audio"]["other"]["beta_mean"]
    assert beta[2] > beta[0] + 1e-3
    assert beta[-1] == pytest.approx(beta[0], abs=1e-6)  # one-hot again


def test_a_constant_beta_is_no_nan():
    result = measure_gate_truth(hand_model(), carried())
    assert {figures["correlation"] for kinds in result["corruption"].values() for figures in kinds.values()} == {0}
    assert result["carrier"] == {"auc": 0.5, "audio_rows": 8, "text_rows": 8, "left_out_rows": 0}
    assert result["occlusion"] == {"correlation": 0, "auc": 0.5, "audio_rows": 8, "text_rows": 8}
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(("sign", "auc"), [(1, 1), (-1, 0)])
def test_a_gate_that_tells_the_truth_and_one_that_lies(sign, auc):
    result = measure_gate_truth(hand_model(audio=2 * sign, text=-2 * sign), carried())
    assert result["carrier"]["auc"] == auc
    # Beta has two values, and rounding breaks the ties of the probabilities: only the sign is known.
    assert np.sign(result["occlusion"].pop("correlation")) == sign
    assert result["occlusion"] == {"auc": auc, "audio_rows": 8, "text_rows": 8}


def test_accuracy_by_hand():
    """
    With one modality half of the rows say nothing: all logits are 0, the first class is predicted, and every score is a
    quarter, as large as the share that is right. So are all scores at a high temperature; at a low one others are 1.
    """
    model = hand_model(audio=2, text=-2)
    model.config.temperatures = {"both": 1e-3, "audio": 1e6, "text": 1e-3}
    half = {"WA": (8 + 2) / 16, "UA": (1 + 3 * 0.5) / 4}  # of each class 4 rows, 2 of them without a word or sound
    errors = {"both": 0, "audio only": 10 / 16 - 1 / 4, "text only": 0}
    errors = {name: pytest.approx(error, abs=1e-6) for name, error in errors.items()}
    expected = {"both": {"WA": 1.0, "UA": 1.0}, "audio only": half, "text only": half}
    expected = {name: {**figures, "ECE": errors[name]} for name, figures in expected.items()}
    assert measure_missing(model, carried()) == expected
    assert measure_gate_truth(model, carried())["missing"] == expected
    silent = carried().select(range(1, 16, 2))  # audio carries in all of them
    found = measure_missing(model, silent)
    assert found["audio only"]["WA"] == 1
    assert found["text only"]["WA"] == 2 / 8


def test_share_zero_and_one_modality_are_plain_evaluations(tmp_path):
    dataset, model = complete(make_features()), random_model()
    model.config.temperatures = {"both": 0.5, "audio": 0.2, "text": 3.0}
    result = measure_gate_truth(model, dataset, batch_size=7)
    plain = evaluate(model, dataset, tmp_path)
    assert result["missing"]["both"] == {name: pytest.approx(plain[name], abs=1e-6) for name in ("WA", "UA", "ECE")}
    for kinds in result["corruption"].values():
        for figures in kinds.values():
            assert figures["beta_mean"][0] == pytest.approx(plain["beta_mean"], abs=1e-6)
            assert figures["UA"][0] == plain["UA"]
    for name, column in (("audio only", "h_t"), ("text only", "h_a")):
        alone = evaluate(model, dataset.remove_columns(column), tmp_path)
        assert result["missing"][name] == {name: pytest.approx(alone[name], abs=1e-6) for name in ("WA", "UA", "ECE")}


def without_corruption(result: dict) -> dict:
    occlusion = {name: pytest.approx(value, abs=1e-3) for name, value in result["occlusion"].items()}
    missing = {name: {**of, "ECE": pytest.approx(of["ECE"], abs=1e-6)} for name, of in result["missing"].items()}
    kept = {name: value for name, value in result.items() if name != "corruption"}
    return kept | {"occlusion": occlusion, "missing": missing}


def test_order_of_rows_seed_and_batches():
    dataset = make_features().add_column("carrier", ["audio", "text", "both"] * 16)
    model = random_model()
    result = measure_gate_truth(model, dataset, batch_size=16)
    assert measure_gate_truth(model, dataset, batch_size=16) == result
    other_seed = measure_gate_truth(model, dataset, seed=1, batch_size=16)
    assert without_corruption(other_seed) == without_corruption(result | {"seed": 1})
    for name in ("audio", "text"):
        for kind in ("other", "noise"):
            assert other_seed["corruption"][name][kind]["beta_mean"] != result["corruption"][name][kind]["beta_mean"]
    shuffled = measure_gate_truth(model, dataset.shuffle(seed=0))
    assert without_corruption(shuffled) == without_corruption(result)
    batches = measure_gate_truth(model, dataset, batch_size=5)["corruption"]
    for name, kinds in result["corruption"].items():
        for kind, figures in kinds.items():
            assert batches[name][kind]["beta_mean"] == pytest.approx(figures["beta_mean"], abs=1e-6)
            assert batches[name][kind]["UA"] == figures["UA"]


def test_rows_without_a_modality_are_left_out():
    dataset, model = make_features(), random_model()
    result = measure_gate_truth(model, dataset)
    assert (result["rows"], result["left_out_rows"]) == (40, 8)
    expected = measure_gate_truth(model, complete(dataset))
    assert (expected["rows"], expected["left_out_rows"]) == (40, 0)
    assert result["missing"] == expected["missing"]
    assert result["occlusion"] == expected["occlusion"]
    for name in ("audio", "text"):
        assert result["corruption"][name]["other"] == expected["corruption"][name]["other"]
    assert measure_missing(model, dataset) == expected["missing"]


def test_labels_are_matched_by_name():
    model, dataset = random_model(), make_features()
    names = NAMES[::-1]
    label = [names.index(NAMES[i]) for i in dataset["label"]]
    renamed = dataset.remove_columns("label").add_column("label", label, feature=ClassLabel(names=names))
    assert measure_gate_truth(model, renamed) == measure_gate_truth(model, dataset)


def test_a_model_without_a_gate():
    dataset = make_features().add_column("carrier", ["audio", "text", "both"] * 16)
    model = random_model()
    expected = measure_gate_truth(model, dataset)

    def drop_beta(_, __, output, rows=slice(None)):
        output.beta = output.beta.clone()
        output.beta[rows] = torch.nan
        return output

    hook = model.register_forward_hook(drop_beta)
    result = measure_gate_truth(model, dataset)
    hook.remove()
    assert result["missing"] == expected["missing"]
    assert result["carrier"] == expected["carrier"] | {"auc": None}
    assert result["occlusion"] == expected["occlusion"] | {"auc": None, "correlation": None}
    for name, kinds in result["corruption"].items():
        for kind, figures in kinds.items():
            assert figures["correlation"] is None
            assert figures["beta_mean"] == [None] * 5
            assert figures["UA"] == expected["corruption"][name][kind]["UA"]
    json.dumps(result, allow_nan=False)
    printed = format_gate_truth(result)
    assert "AUC - " in printed
    assert "nan" not in printed.lower()

    model.register_forward_hook(lambda *args: drop_beta(*args, rows=slice(0, 1)))
    with pytest.raises(ValueError, match="beta is NaN in 1 of 40 rows"):
        measure_gate_truth(model, dataset)


def test_the_table_shows_the_figures():
    result = measure_gate_truth(hand_model(audio=2, text=-2), carried(), shares=(0, 1))
    printed = format_gate_truth(result)
    assert "16 utterances with both modalities (0 others left out)" in printed
    assert "carries the emotion: AUC 1.000 (8 rows audio, 8 text); 0 rows with another carrier" in printed
    rows = {tuple(line.split()[:2]): line.split() for line in printed.splitlines() if line.strip()}
    assert rows["both", "100.0%"][2] == "100.0%"
    assert rows["audio", "only"][2:] == ["62.5%", "62.5%", f"{result['missing']['audio only']['ECE']:.1%}"]
    figures = result["corruption"]["text"]["noise"]
    shown = [f"{value:.3f}" for value in (figures["correlation"], *figures["beta_mean"])]
    assert rows["text", "noise"][2:] == [*shown, *(f"{value:.1%}" for value in figures["UA"])]
    assert "carrier" not in format_gate_truth(measure_gate_truth(random_model(), make_features()))


@pytest.mark.parametrize("shares", [(0.5,), (0.5, 0.5), (0, 1.5), (-0.1, 1), (0, float("nan"))])
def test_shares_that_are_none(shares):
    with pytest.raises(ValueError, match="at least two different numbers from 0 to 1"):
        measure_gate_truth(hand_model(), carried(), shares=shares)


def test_datasets_that_say_nothing():
    with pytest.raises(ValueError, match="no column 'h_a'"):
        measure_gate_truth(hand_model(), carried().remove_columns("h_a"))
    with pytest.raises(ValueError, match="no column 'label'"):
        measure_gate_truth(hand_model(), carried().remove_columns("label"))
    for rows in ([], [0], [0, 1]):  # row 0 lacks audio
        with pytest.raises(ValueError, match="at least 2 are needed"):
            measure_gate_truth(random_model(), make_features().select(rows))
    with pytest.raises(ValueError, match="does not know the dataset's label surprised"):
        measure_gate_truth(random_model(), make_features(12, ["surprised", "sad", "angry"]))
    alike = carried().remove_columns("carrier").add_column("carrier", ["audio"] * 16)
    assert measure_gate_truth(hand_model(), alike)["carrier"] is None
