"""The concordance correlation coefficient as a loss, over the rows of all processes."""

import torch
from accelerate import PartialState
from accelerate.utils import gather, reduce


def concordance(values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """
    Lin's concordance correlation coefficient (1989, doi:10.2307/2532051) of each of D dimensions, `[D]`:
    `2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2)`, with moments that are divided by the number of rows.

    Args:
        values, targets: `[B, D]`.
        weights: how much each row counts, `[B]`; None: all alike. What a row holds that does not count may be NaN.
    """
    weights = values.new_ones(len(values)) if weights is None else weights.to(values.dtype)
    share = (weights / weights.sum().clamp(min=1)).unsqueeze(1)
    values, targets = (of.masked_fill(share == 0, 0.0) for of in (values, targets))
    mean_x, mean_y = (share * values).sum(dim=0), (share * targets).sum(dim=0)
    x, y = values - mean_x, targets - mean_y
    spread = (share * (x**2 + y**2)).sum(dim=0) + (mean_x - mean_y) ** 2
    return 2 * (share * x * y).sum(dim=0) / spread.clamp(min=1e-12)


def concordance_loss(values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """
    The mean of 1 - CCC over the dimensions. With several processes it is that of the rows of all of them, the same in
    each. They must have the same number of rows, as accelerate gives them.

    Args:
        values, targets, weights: those of this process; see `concordance`.
    """
    weights = torch.ones(len(values), device=values.device) if weights is None else weights.float()
    rows = (values.float(), targets.float(), weights)
    return (1 - concordance(*map(of_all_processes, rows))).mean()


def sum_of_all_processes(value: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor without gradients over all processes."""
    return value if PartialState().num_processes == 1 else reduce(value.contiguous(), reduction="sum")


def of_all_processes(rows: torch.Tensor) -> torch.Tensor:
    """
    The rows of all processes, in their order. Only the rows of this process have a gradient, which is multiplied by the
    number of processes: gradients are averaged over them later.
    """
    state = PartialState()
    if state.num_processes == 1:
        return rows
    count, first = state.num_processes, state.process_index * len(rows)
    gathered = gather(rows.detach().contiguous())
    own = count * rows - (count - 1) * rows.detach()
    return torch.cat([gathered[:first], own, gathered[first + len(rows) :]])
