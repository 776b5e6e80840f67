"""How unlike the training features a sample is, and what the gate makes of it."""

import numpy as np
import torch

from tacfn_hf import TacfnForSequenceClassification
from tacfn_hf.model.distance_tacfn import FeatureDistance


def correlated(rows: int) -> torch.Tensor:
    """`[rows, 6]`: standardised features of rank 3, but for a tenth of noise."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(rows, 3, generator=generator) @ torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    h = h + 0.1 * torch.randn(rows, 6, generator=generator)
    return (h - h.mean(dim=0)) / h.std(dim=0, correction=0)


def distance_to(train: torch.Tensor) -> FeatureDistance:
    distance = FeatureDistance(train.shape[1])
    distance.set_covariance(train.T @ train / len(train))
    return distance


def test_distances_are_mahalanobis_with_a_tenth_of_the_identity():
    train = correlated(500)
    h = 3 * torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(2))
    points, covariance = h[:, 0].double().numpy(), np.cov(train.double().numpy().T, bias=True)
    squares = [point @ np.linalg.solve(0.9 * covariance + 0.1 * np.eye(6), point) for point in points]
    found = distance_to(train)(h, torch.zeros(4, 1, dtype=torch.bool))[:, 0]
    assert np.allclose(found, np.log(np.maximum(np.array(squares) / 6, 0.5)), atol=1e-4)
    assert (np.array(squares) / 6 > 0.5).sum() >= 2


def test_constant_features_are_no_nearer_than_the_training_features():
    train, mask = correlated(500), torch.zeros(500, 1, dtype=torch.bool)
    distance = distance_to(train)
    typical = distance(train.unsqueeze(1), mask)[:, 0]
    constant = distance(torch.zeros(1, 1, 6), mask[:1])
    assert constant.item() > typical.mean() - 1.5 * typical.std()


def test_values_that_do_not_occur_together_are_far():
    """Noise with each dimension's own mean and deviation is as long as the features, and further from them."""
    train, mask = correlated(500), torch.zeros(500, 1, dtype=torch.bool)
    distance, generator = distance_to(train), torch.Generator().manual_seed(3)
    shuffled = torch.stack([column[torch.randperm(500, generator=generator)] for column in train.T], dim=1)
    near, far = (distance(h.unsqueeze(1), mask)[:, 0] for h in (train, shuffled))
    assert (far[:, None] > near[None]).float().mean() > 0.9


def test_a_direction_without_variance_and_half_precision_stay_finite():
    train = correlated(500)
    train[:, 5] = 0.0  # constant, standardised
    distance, mask = distance_to(train), torch.zeros(1, 1, dtype=torch.bool)
    for value in (0.0, 1.0, 1e3, 6e4):
        h = torch.full((1, 1, 6), value)
        exact = distance(h, mask)
        assert torch.isfinite(exact).all()
        assert torch.allclose(distance(h.half(), mask).float(), exact, atol=0.02)
        with torch.autocast("cpu", dtype=torch.float16):
            assert torch.allclose(distance(h, mask).float(), exact, atol=0.02)


def test_distances_move_beta_and_come_back_from_disk(config, tmp_path):
    config.standardize_features = config.gate_reads_distance = True
    torch.manual_seed(0)
    model = TacfnForSequenceClassification(config).eval()
    inputs = {"h_a": torch.randn(3, 5, 12), "h_t": torch.randn(3, 4, 16)}
    before = model(**inputs).beta
    model.model.audio_distance.set_covariance(torch.randn(12, 40).cov())
    after = model(**inputs)
    assert not torch.allclose(after.beta, before, atol=1e-4)
    model.save_pretrained(tmp_path)
    again = TacfnForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**inputs).logits, after.logits)


def test_statistics_that_a_checkpoint_lacks_change_nothing(config, tmp_path):
    TacfnForSequenceClassification(config).save_pretrained(tmp_path)
    model = TacfnForSequenceClassification.from_pretrained(
        tmp_path, standardize_features=True, gate_reads_distance=True, ignore_mismatched_sizes=True
    )
    assert torch.equal(model.model.text_distance.whitening, torch.eye(16))
    h = torch.randn(2, 5, 16)
    assert torch.equal(model.model.text_standardizer(h), h)
