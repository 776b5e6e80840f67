"""What the benchmark of attention does to frames and to blocks."""

import sys
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification


sys.path.append(str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

from attention import start_as_nothing, with_averaged_frames  # noqa: E402


def test_neighbouring_frames_are_averaged():
    rows = [[[1.0, 0.0], [3.0, 2.0], [5.0, 4.0]], None, [[7.0, 8.0]]]
    dataset = with_averaged_frames(Dataset.from_dict({"id": ["a", "b", "c"], "h_a": rows}), 2)
    assert dataset["h_a"][:] == [[[2.0, 1.0], [5.0, 4.0]], None, [[7.0, 8.0]]]
    assert dataset["id"][:] == ["a", "b", "c"]


def test_blocks_that_start_as_nothing_pass_nothing_on():
    """No position knows of another one, or of the other modality, until training changes the weights."""
    sizes = {"audio_feature_size": 6, "text_feature_size": 5, "hidden_size": 8, "num_attention_heads": 2}
    model = TacfnForSequenceClassification(TacfnConfig(**sizes, num_hidden_layers=2)).eval()
    h_a, h_t = torch.randn(2, 7, 6), torch.randn(2, 4, 5)
    other_a, other_t = h_a.clone(), torch.randn(2, 4, 5)
    other_a[:, 3:] = torch.randn(2, 4, 6)

    def states(h_a: torch.Tensor, h_t: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.model(h_a, h_t).h_a_tilde[:, :3]

    assert (states(other_a, other_t) - states(h_a, h_t)).abs().max() > 1e-3
    start_as_nothing(model)
    assert torch.equal(states(other_a, other_t), states(h_a, h_t))
    assert np.isfinite(states(h_a, h_t)).all()
