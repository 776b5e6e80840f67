"""What training minimises: the classifier's loss, the losses of one modality, the gate's, and class weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import nn
from torch.nn import functional as F

from ..model.inputs_tacfn import complete_inputs
from ..model.label_loss_tacfn import check_labels, problem_type_of, sample_losses
from ..model.modeling_tacfn import TacfnForSequenceClassification, TacfnModel
from .concordance import concordance_loss, sum_of_all_processes


def balanced_class_weights(counts: Sequence[float] | np.ndarray, label_names: Sequence[str]) -> list[float]:
    """
    A weight for each of the C classes, `N / (C * n_c)` for a class with n_c of the N labels: their mean over the labels
    is 1. Of votes, n_c is the sum of the class' shares.

    Raises:
        ValueError: a class without a label, by its name.
    """
    absent = [name for name, count in zip(label_names, counts, strict=True) if count == 0]
    if absent:
        raise ValueError(
            f"No training row has the label {', '.join(absent)}: balanced class weights need every class; give "
            'class_weights "none", or a dataset without these names.'
        )
    return [float(weight) for weight in np.sum(counts) / (len(label_names) * np.asarray(counts))]


def positive_weights(counts: Sequence[float] | np.ndarray, num_rows: int, label_names: Sequence[str]) -> list[float]:
    """
    Where rows have several labels, a weight for the rows that have each of the C labels: `(N - n_c) / n_c` for a label
    that n_c of the N rows have. Both sides of each label then count alike.

    Raises:
        ValueError: a label that no row has, or that all have.
    """
    for name, count in zip(label_names, counts, strict=True):
        if count in (0, num_rows):
            which = "No training row has" if count == 0 else "All training rows have"
            raise ValueError(f'{which} the label {name}: give class_weights "none", or a dataset without it.')
    return [float(weight) for weight in (num_rows - np.asarray(counts)) / np.asarray(counts)]


@dataclass
class Objective:
    """
    The loss of a step. In evaluation it is the classifier's loss alone, with the class weights and the smoothing; of
    values it is the squared error.

    Losses are sums over the samples divided by a number of labels, over masks and without boolean indexing: nothing
    waits for the device but the check of the labels, and the step compiles into one graph.

    Args:
        class_weights: one factor for each label, for its term of the losses. Where rows have several labels it is for
            the rows that have the label.
        label_smoothing: of torch's `cross_entropy`.
        unimodal_loss_weight: weight of the losses of audio alone and of text alone, through the same network.
        gate_loss_weight: weight of the gate's loss, see `gate_errors`.
        noise_prob: how likely a modality of a sample is damaged where the gate's loss is taken.
        num_positions: where features are means over time, of how many positions they are on average, by modality.
        regression_loss: of values in training: "ccc", see `concordance_loss`, or "mse".
    """

    class_weights: list[float] | None = None
    label_smoothing: float = 0.0
    unimodal_loss_weight: float = 0.0
    gate_loss_weight: float = 0.0
    noise_prob: float = 0.0
    num_positions: dict[str, float] = field(default_factory=lambda: {"audio": 1.0, "text": 1.0})
    regression_loss: str = "mse"

    def __call__(
        self,
        model: nn.Module,
        inputs: Mapping[str, torch.Tensor],
        labels: torch.Tensor,
        num_items: torch.Tensor | int | None = None,
        network: TacfnForSequenceClassification | None = None,
    ) -> tuple[torch.Tensor, Any]:
        """
        Args:
            model: it is called with the inputs, and gives `logits [B, C]`; its config says what kind the labels are.
            inputs: `h_a`, `h_t`, `mask_a`, `mask_t`, those that there are; or what a model with its encoders takes,
                whose output has the features.
            labels: `[B]` or `[B, C]`; see `sample_losses`.
            num_items: what sums of losses are divided by, in place of the number of labels here.
            network: the model without what wraps it for several processes; `model` itself where None.

        Returns:
            The loss, and the model's output.

        Raises:
            ValueError: labels out of range or of the wrong shape, or smoothing of others than single labels.
        """
        network = model if network is None else network
        check_labels(network.config, labels)
        output = model(**inputs)
        network.config.problem_type = problem_type_of(network.config, labels)
        num_items = self.number_of_items(network, labels, num_items)
        loss = self.of_logits(network, output.logits, labels) / num_items
        features = inputs if "input_values" not in inputs and "input_ids" not in inputs else output
        both = features.get("h_a") is not None and features.get("h_t") is not None
        # Of values some of it is of the rows of all processes, which have to meet, also where no row here has both.
        meet = network.config.problem_type == "regression" and PartialState().num_processes > 1
        if network.training and (both or meet) and self.unimodal_loss_weight + self.gate_loss_weight > 0:
            with torch.set_grad_enabled(both):
                more = self.of_one_modality_and_gate(network, features, labels) / num_items
            loss = loss + more
        return loss, output

    def is_of_all_rows(self, network: TacfnForSequenceClassification) -> bool:
        """Whether the loss is one of all rows together, which is no sum of losses of single rows."""
        values = network.config.problem_type == "regression"
        return values and network.training and self.regression_loss == "ccc"

    def number_of_items(
        self, network: TacfnForSequenceClassification, labels: torch.Tensor, num_items: torch.Tensor | int | None
    ) -> torch.Tensor | int:
        """What the sums of a step are divided by, from what a Trainer counted, if it did."""
        if self.is_of_all_rows(network):
            return 1
        of_classes = problem_type_of(network.config, labels) == "single_label_classification"
        votes = of_classes and labels.dim() == 2
        if num_items is not None:
            return num_items / labels.shape[1] if votes else num_items  # a Trainer counts the shares of all classes
        if votes or not of_classes:
            return len(labels) if votes else labels.numel()
        return (labels != -100).sum().clamp(min=1)

    def of_logits(
        self,
        network: TacfnForSequenceClassification,
        logits: torch.Tensor,
        labels: torch.Tensor,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        The sum of the losses of logits `[B, C]` over the samples in `chosen [B]`, all where None; or the loss of all
        rows together.
        """
        if self.is_of_all_rows(network):
            return concordance_loss(logits, labels.view_as(logits), chosen)
        losses = self.weighted(network.config, logits, labels)
        return losses.sum() if chosen is None else masked_sum(losses, chosen)

    def weighted(self, config: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The losses `[B]` or `[B, C]` of logits `[B, C]`, smoothed, with the class weights."""
        losses = sample_losses(config, logits, labels, self.label_smoothing)
        if self.class_weights is None:
            return losses
        weights = torch.tensor(self.class_weights, dtype=losses.dtype, device=losses.device)
        if labels.dim() > losses.dim():
            return losses * (labels @ weights)  # one weight a row: the smallest loss is still where scores are shares
        if losses.dim() == 1:
            return losses * weights[labels.long().clamp(min=0)]
        return F.binary_cross_entropy_with_logits(logits.float(), labels.float(), pos_weight=weights, reduction="none")

    def of_one_modality_and_gate(
        self, network: TacfnForSequenceClassification, inputs: Mapping[str, torch.Tensor], labels: torch.Tensor
    ) -> torch.Tensor:
        """The weighted sum, over the samples that have both modalities, of their losses by one and of the gate's."""
        names = ("h_a", "h_t", "mask_a", "mask_t")
        h_a, h_t, mask_a, mask_t = complete_inputs(network.config, *(inputs.get(name) for name in names))
        both = ~(mask_a.all(dim=1) | mask_t.all(dim=1))
        logits = (network(h_a=h_a, mask_a=mask_a).logits, network(h_t=h_t, mask_t=mask_t).logits)
        total = labels.new_zeros((), dtype=torch.float32)
        for of_one in logits:
            total = total + self.unimodal_loss_weight * self.of_logits(network, of_one, labels, both)
        if self.gate_loss_weight > 0:
            losses = [sample_losses(network.config, of_one.detach(), labels) for of_one in logits]
            # Sums are divided by the number of losses, of which a sample may have several; errors are one a sample.
            factor = 1 / len(labels) if self.is_of_all_rows(network) else losses[0].numel() // len(labels)
            errors = self.gate_errors(network.model, (h_a, h_t, mask_a, mask_t), *likelihoods(network, losses, both))
            labelled = both
            if network.config.problem_type == "single_label_classification" and labels.dim() == 1:
                labelled = both & (labels != -100)
            total = total + self.gate_loss_weight * masked_sum(errors, labelled) * factor
        return total

    def gate_errors(
        self, model: TacfnModel, inputs: tuple[torch.Tensor, ...], losses_a: torch.Tensor, losses_t: torch.Tensor
    ) -> torch.Tensor:
        """
        The squared differences `[B]` of beta from its target, on features of which noise replaced a share.

        With the losses `l [B]` of a sample by one modality alone, and the share `s` of that which noise replaced, a
        modality is worth `r = (1 - s) exp(-l)`, and the target is `r_a / (r_a + r_t)`. For single labels `exp(-l)` is
        the probability of the true class; of values see `likelihoods`. Only the gate's MLP and layer norms learn from
        it: what it reads is made without gradients, and without dropout of features, which looks like damage.
        """
        h_a, h_t, mask_a, mask_t = inputs
        with torch.no_grad():
            rows = h_a, h_t = model.standardize(h_a, h_t)
            h_a, share_a = damage(h_a, self.noise_prob, self.num_positions["audio"])
            h_t, share_t = damage(h_t, self.noise_prob, self.num_positions["text"])
            distances = model.distances(h_a, h_t, mask_a, mask_t, rows)
            h_a, h_t, mask_a, mask_t = model.project(h_a, h_t, mask_a, mask_t)
            h_a, h_t = model.cross_modal(h_a, h_t, mask_a, mask_t)[:2]
        _, _, beta = model.beta_gate(h_a, h_t, mask_a, mask_t, distances)
        worth_a, worth_t = (1 - share_a).log() - losses_a, (1 - share_t).log() - losses_t
        return (beta[:, 0].float() - torch.sigmoid(worth_a - worth_t)) ** 2


def likelihoods(
    network: TacfnForSequenceClassification, losses: list[torch.Tensor], chosen: torch.Tensor
) -> list[torch.Tensor]:
    """
    The negative log likelihoods `[B]` of samples, up to a constant, from their losses by one modality and by the other,
    `[B]` or `[B, C]` each. A squared error is `e / (2 v)`, as in a normal distribution whose variance v is the mean of
    both modalities' errors over the samples in `chosen [B]`, of all processes.
    """
    losses = [of_one.view(len(of_one), -1) for of_one in losses]
    if network.config.problem_type == "regression":
        total = sum(of_one.masked_fill(~chosen.unsqueeze(1), 0.0).sum(dim=0) for of_one in losses)
        total, count = sum_of_all_processes(total), sum_of_all_processes(chosen.sum())
        variance = total / (2 * count.clamp(min=1))
        losses = [of_one / (2 * variance.clamp(min=1e-12)) for of_one in losses]
    return [of_one.sum(dim=1) for of_one in losses]


def masked_sum(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The sum of `values [B]` or `[B, C]` over the samples in `chosen [B]`. What is not chosen may be NaN."""
    return values.masked_fill(~chosen.view(-1, *[1] * (values.dim() - 1)), 0.0).sum()


def damage(h: torch.Tensor, probability: float, num_positions: float) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Standardised features of which each sample has, with a probability, a share `s` replaced by Gaussian noise. `s` is
    drawn from [0, 1) evenly. Of a sequence it is a share of the positions, of a single vector one of the dimensions. A
    mean over time becomes what it would be if its positions were replaced: `1 - s` of it, and the mean of the noise.

    Args:
        h: `[B, L, d]`.
        num_positions: how many positions the mean is of, where L is 1; 1 for single vectors.

    Returns:
        The features, and the shares `[B]`.
    """
    num_samples, length, size = h.shape
    drawn = torch.rand(2, num_samples, 1, 1, device=h.device)
    share = torch.where(drawn[0] < probability, drawn[1], 0.0)
    noise = torch.randn_like(h)
    if length == 1 and num_positions > 1:
        damaged = (1 - share) * h + (share / num_positions).sqrt() * noise
    else:
        replaced = (num_samples, length, 1) if length > 1 else (num_samples, 1, size)
        damaged = torch.where(torch.rand(replaced, device=h.device) < share, noise, h)
    return damaged, share[:, 0, 0]
