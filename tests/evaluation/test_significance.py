import itertools

import numpy as np
import pytest
from sklearn.metrics import recall_score

from tacfn_hf.evaluation.significance import paired_permutation_test


def figures(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    ua = np.mean([recall_score(labels, row, average="macro") for row in predictions])
    return {"WA": (predictions == labels).mean(), "UA": ua}


@pytest.mark.parametrize("groups", [None, [5, 7, 7, 1, 1, 1, 2, 3, 3, 9]], ids=["utterances", "groups"])
def test_equals_all_exchanges_of_a_small_sample(groups):
    """So few exchanges are made one by one, and p is exact."""
    generator = np.random.default_rng(1)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    predictions = generator.integers(0, 3, size=(2, 2, 10))  # models, seeds, utterances
    predictions[0] = np.where(generator.random((2, 10)) < 0.6, labels, predictions[0])
    result = paired_permutation_test(*(predictions == labels), labels, groups)

    units = np.unique(np.arange(10) if groups is None else groups, return_inverse=True)[1]
    exchanges = np.array(list(itertools.product([False, True], repeat=units.max() + 1)))[:, units]
    right = predictions == labels
    one, other = (np.where(exchanges[:, None], right[1 - i], right[i]).mean(axis=1) for i in (0, 1))  # [draws, 10]
    differences = {
        "WA": (one - other).mean(axis=1),
        "UA": np.mean([(one - other)[:, labels == label].mean(axis=1) for label in range(3)], axis=0),
    }
    first, second = (figures(of_model, labels) for of_model in predictions)
    for name, drawn in differences.items():
        assert np.isclose(drawn[0], first[name] - second[name])  # the exchange of nothing
        assert np.isclose(result[name]["difference"], drawn[0])
        assert np.isclose(result[name]["p"], np.mean(np.abs(drawn) >= abs(drawn[0]) - 1e-9))
        assert 0.01 < result[name]["p"] < 0.5


def test_draws_are_those_of_the_seed():
    right, other = np.random.default_rng(5).random((2, 300)) < np.array([[0.72], [0.65]])
    labels = np.arange(300) % 4
    found = [paired_permutation_test(right, other, labels, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_p_is_even_where_the_models_are_alike():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 4, size=200)
    found = []
    for seed in range(200):
        right = generator.random((2, 1, 200)) < 0.7
        found.append(paired_permutation_test(*right, labels, num_draws=200, seed=seed)["UA"]["p"])
    assert abs(np.mean(np.array(found) < 0.2) - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 200)


def test_more_seeds_are_no_more_utterances():
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 4, size=100)
    right, other = generator.random((2, 100)) < np.array([[0.72], [0.65]])
    one = paired_permutation_test(right, other, labels)
    five = paired_permutation_test(np.tile(right, (5, 1)), np.tile(other, (3, 1)), labels)
    for name in ("WA", "UA"):
        assert np.isclose(one[name]["difference"], five[name]["difference"])
        assert abs(one[name]["p"] - five[name]["p"]) < 1e-9


def test_equal_models_and_a_better_one():
    labels = np.arange(400) % 4
    right = np.random.default_rng(3).random(400) < 0.6
    assert paired_permutation_test(right, right, labels)["UA"] == {"difference": 0.0, "standard_error": 0.0, "p": 1.0}
    assert paired_permutation_test(np.ones(400, dtype=bool), right, labels)["UA"]["p"] < 0.001


def test_utterances_of_a_group_are_exchanged_together():
    """Each utterance five times, as a group of five: p is that of the utterances once."""
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 4, size=60)
    right, other = generator.random((2, 60)) < np.array([[0.75], [0.6]])
    once = paired_permutation_test(right, other, labels)
    order = generator.permutation(300)
    copies = [np.repeat(values, 5)[order] for values in (right, other, labels)]
    names = np.repeat([f"dialogue {i}" for i in range(60)], 5)[order]
    grouped, alone = paired_permutation_test(*copies, names), paired_permutation_test(*copies)
    for name in ("WA", "UA"):
        assert np.isclose(grouped[name]["difference"], once[name]["difference"])
        assert abs(grouped[name]["p"] - once[name]["p"]) < 4 * np.sqrt(2 * 0.25 / 10_000)
        assert alone[name]["p"] < grouped[name]["p"] / 2


def test_other_utterances():
    with pytest.raises(ValueError, match="The models have 3 and 4 utterances, the labels 3"):
        paired_permutation_test(np.ones(3, bool), np.ones(4, bool), np.zeros(3))


def test_the_standard_error_is_the_spread_over_corpora_that_are_drawn_again():
    """Groups of unequal sizes, drawn from a population in which the first model is right more often."""
    generator = np.random.default_rng(6)

    def found() -> dict[str, float]:
        sizes = generator.integers(1, 9, size=40)
        chance = np.repeat(generator.random(40), sizes)  # what is easy is so for both models and a whole group
        right = generator.random((2, len(chance))) < np.stack([0.5 + 0.5 * chance, 0.3 + 0.5 * chance])
        groups = np.repeat(np.arange(40), sizes)
        return paired_permutation_test(*right, np.arange(len(chance)) % 2, groups, num_draws=1)

    drawn = [found() for _ in range(400)]
    for name in ("WA", "UA"):
        spread = np.std([one[name]["difference"] for one in drawn])
        assert abs(np.mean([one[name]["standard_error"] for one in drawn]) / spread - 1) < 0.15
    sure = paired_permutation_test(np.ones(9, bool), np.zeros(9, bool), np.arange(9) % 2, [0, 1, 1, 2, 2, 2, 2, 2, 2])
    assert sure["UA"]["standard_error"] < 1e-9  # whatever the sizes of groups
