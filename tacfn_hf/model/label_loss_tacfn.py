"""The losses of logits: of single labels, of several labels, of values."""

import torch
from torch.nn import functional as F

from .configuration_tacfn import TacfnConfig


def problem_type_of(config: TacfnConfig, labels: torch.Tensor) -> str:
    """`config.problem_type`; where it is None, one label means regression, integers classes, floats several labels."""
    if config.problem_type is not None:
        return config.problem_type
    if config.num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.dtype.is_floating_point else "single_label_classification"


def check_labels(config: TacfnConfig, labels: torch.Tensor) -> None:
    """
    Classes lie in 0 to `num_labels - 1`, or are -100, or a ValueError names one that does not. On a GPU the loss itself
    would end the process. This waits for the device once, and does nothing in a graph that is being compiled.
    """
    if torch.compiler.is_compiling() or problem_type_of(config, labels) != "single_label_classification":
        return
    if labels.dim() == 2 and labels.dtype.is_floating_point:
        if not ((labels >= 0).all() and ((labels.sum(dim=1) - 1).abs() < 1e-3).all()):
            raise ValueError("labels are no shares of votes: each row must have numbers of at least 0 whose sum is 1.")
        return
    wrong = (labels != -100) & ((labels < 0) | (labels >= config.num_labels))
    if wrong.any():
        raise ValueError(f"labels holds {int(labels[wrong][0])}: it must be in 0..{config.num_labels - 1}, or -100.")


def vote_losses(logits: torch.Tensor, shares: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """
    The Kullback-Leibler divergences `sum_c p log(p / q)` `[B]` from the shares `p [B, C]` of votes to the scores `q` of
    logits `[B, C]`. Smoothed by s, shares are `(1 - s) p + s / C`. Where all votes are for one class and nothing is
    smoothed, it is the cross-entropy.
    """
    shares = (1 - label_smoothing) * shares.float() + label_smoothing / logits.shape[1]
    return (torch.special.xlogy(shares, shares) - shares * logits.float().log_softmax(dim=-1)).sum(dim=1)


def sample_losses(
    config: TacfnConfig, logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0
) -> torch.Tensor:
    """
    The losses of single samples, in float32: half precision would lose small terms.

    Args:
        config: `problem_type` and `num_labels` are read.
        logits: `[B, C]`.
        labels: `[B]` classes (-100: not labelled), `[B, C]` shares of votes for classes, or `[B, C]` labels or values
            (`[B]` where C is 1).
        label_smoothing: of torch's `cross_entropy`.

    Returns:
        Cross-entropies `[B]`, 0 where a sample is not labelled, or divergences from the votes; or of several labels
        binary cross-entropies, of values squared errors `[B, C]`.

    Raises:
        ValueError: labels of another shape, or smoothing of others than single labels.
    """
    kind, logits = problem_type_of(config, labels), logits.float()
    if kind == "single_label_classification" and labels.shape == logits.shape:
        return vote_losses(logits, labels, label_smoothing)
    if kind == "single_label_classification":
        if labels.shape != logits.shape[:1]:
            raise ValueError(f"labels has shape {list(labels.shape)}: one class per sample is {[len(logits)]}.")
        labels = labels.long()
        return F.cross_entropy(logits, labels, ignore_index=-100, reduction="none", label_smoothing=label_smoothing)
    if label_smoothing:
        raise ValueError(
            f"label_smoothing_factor is {label_smoothing}, but problem_type is {kind}: only single labels can be "
            "smoothed."
        )
    if config.num_labels == 1 and labels.dim() == 1:
        labels = labels.unsqueeze(1)
    if labels.shape != logits.shape:
        raise ValueError(f"labels has shape {list(labels.shape)}: {kind} wants {list(logits.shape)}.")
    if kind == "regression":
        return F.mse_loss(logits, labels.to(logits.dtype), reduction="none")
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")


def count_labels(labels: torch.Tensor, losses: torch.Tensor) -> torch.Tensor | int:
    """What a sum of `losses` is divided by: the samples with a label or votes, or all labels and values of them."""
    if losses.dim() == 2 or labels.dim() == 2:
        return losses.numel()
    return (labels != -100).sum().clamp(min=1)
