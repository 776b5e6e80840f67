"""The concordance correlation as a loss."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate import PartialState

from tacfn_hf.evaluation.values import concordance_correlation
from tacfn_hf.training.concordance import concordance, concordance_loss


def draw(rows: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(rows, 2, generator=generator)
    return 0.5 * targets + 0.2 * torch.rand(rows, 2, generator=generator), targets


def test_it_is_that_of_the_formula():
    values, targets = draw()
    expected = [concordance_correlation(*(of[:, i].double().numpy() for of in (values, targets))) for i in range(2)]
    assert np.allclose(concordance(values, targets), expected, atol=1e-6)
    assert concordance_loss(values, targets).item() == pytest.approx(1 - np.mean(expected), abs=1e-6)


def test_rows_that_do_not_count_change_nothing():
    values, targets = draw()
    chosen = torch.arange(12) % 3 != 0
    expected = concordance_loss(values[chosen], targets[chosen])
    for other in (0.0, 100.0, float("nan")):
        changed = torch.where(chosen[:, None], values, other).requires_grad_()
        loss = concordance_loss(changed, targets, chosen)
        assert torch.allclose(loss, expected, atol=1e-6)
        (gradient,) = torch.autograd.grad(loss, changed)
        assert gradient.isfinite().all()
        assert not gradient[~chosen].any()


@pytest.mark.parametrize("rows", [1, 5])
def test_rows_that_are_all_alike_give_a_finite_loss_and_gradient(rows):
    values = torch.full((rows, 2), 0.3, requires_grad=True)
    loss = concordance_loss(values, torch.full((rows, 2), 0.3))
    (gradient,) = torch.autograd.grad(loss, values)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def of_half(rank: int, folder: str) -> None:
    """A process of two, with half of the rows: its loss, and the gradient of a weight that both share."""
    PartialState(cpu=True)
    values, targets = draw()
    own = slice(6 * rank, 6 * rank + 6)
    weight = torch.ones(2, requires_grad=True)
    loss = concordance_loss(values[own] * weight, targets[own], torch.arange(12)[own] % 4 != 0)
    loss.backward()
    torch.distributed.all_reduce(weight.grad)
    torch.save({"loss": loss.detach(), "gradient": weight.grad / 2}, f"{folder}/{rank}.pt")  # as DDP averages
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_loss_and_the_gradient_of_all_rows(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    both = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(tmp_path)],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=100) for process in both] == [0, 0]
    values, targets = draw()
    weight = torch.ones(2, requires_grad=True)
    loss = concordance_loss(values * weight, targets, torch.arange(12) % 4 != 0)
    loss.backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.allclose(found["loss"], loss.detach(), atol=1e-6)
        assert torch.allclose(found["gradient"], weight.grad, atol=1e-6)


if __name__ == "__main__":  # as a process of the test above
    of_half(int(sys.argv[1]), sys.argv[2])
