"""
Other ways to fuse audio and text, written from the equations of their papers, to be trained and tested on the same
features, folds and seeds as `TacfnForSequenceClassification`, with the same loss.

`BASELINES` has the neural ones by name; each is made from a `TacfnConfig`. `svm_scores` is a support vector machine.
Where a paper has encoders of its own for raw features, the features of the pretrained encoders stand in their place.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from tacfn_hf import CrossModalTransformer, TacfnConfig
from tacfn_hf.evaluation.metrics import EmotionMetric
from tacfn_hf.evaluation.values import concordance_correlation
from tacfn_hf.features.collation import as_features, name_of
from tacfn_hf.model.beta_gate_tacfn import masked_mean
from tacfn_hf.model.heads_tacfn import ClassificationHead
from tacfn_hf.model.inputs_tacfn import complete_inputs
from tacfn_hf.model.standardization_tacfn import FeatureStandardizer
from tacfn_hf.training.objective import Objective


class Baseline(nn.Module):
    """
    What the models share: inputs and output of `TacfnForSequenceClassification`. A subclass has `fuse`.

    Of the config are used: `audio_feature_size` d_a, `text_feature_size` d_t, `hidden_size` d, `hidden_dropout_prob`,
    `feature_dropout_prob`, `num_labels` C, and where a model has them `num_attention_heads`, `num_hidden_layers`,
    `intermediate_size` and `gate_hidden_size`.
    """

    averages_over_time = True  # features and their means give the same answers, but for the two with attention

    def __init__(self, config: TacfnConfig):
        super().__init__()
        self.config = config
        self.audio_standardizer = FeatureStandardizer(config.audio_feature_size)
        self.text_standardizer = FeatureStandardizer(config.text_feature_size)
        self.feature_dropout = nn.Dropout1d(config.feature_dropout_prob)

    def forward(
        self,
        h_a: torch.Tensor | None = None,
        h_t: torch.Tensor | None = None,
        mask_a: torch.Tensor | None = None,
        mask_t: torch.Tensor | None = None,
    ) -> ModelOutput:
        """
        Args:
            h_a, h_t: `[B, L_a, d_a]` and `[B, L_t, d_t]`; one of them may be None.
            mask_a, mask_t: boolean `[B, L_a]` and `[B, L_t]`, True = PAD; True throughout a sample: it lacks the
                modality. What stands behind a mask has no influence.

        Returns:
            `logits [B, C]`, `beta [B, 1]`: how far audio was trusted (1: audio, 0: text), NaN where the model has
            nothing that says so, and `has_audio` and `has_text` `[B]`. In training, `terms` where the loss is not that
            of the logits; see `BaselineObjective`.

        Raises:
            ValueError: no modality at all, or shapes that do not fit the config or each other.
            TypeError: features or a mask that are no tensors, or a mask that is not boolean.
        """
        h_a, h_t, mask_a, mask_t = complete_inputs(self.config, h_a, h_t, mask_a, mask_t)
        h_a = self.audio_standardizer(h_a).masked_fill(mask_a.unsqueeze(-1), 0.0)
        h_t = self.text_standardizer(h_t).masked_fill(mask_t.unsqueeze(-1), 0.0)
        h_a, h_t = self.feature_dropout(h_a.mT).mT, self.feature_dropout(h_t.mT).mT
        logits, beta, *terms = self.fuse(h_a, h_t, mask_a, mask_t)
        beta = logits.new_full((len(logits), 1), float("nan")) if beta is None else beta
        output = ModelOutput(logits=logits, beta=beta, has_audio=~mask_a.all(dim=1), has_text=~mask_t.all(dim=1))
        if self.training and terms:
            output["terms"] = tuple(terms)
        return output

    def fuse(
        self, h_a: torch.Tensor, h_t: torch.Tensor, mask_a: torch.Tensor, mask_t: torch.Tensor
    ) -> tuple[torch.Tensor | tuple[torch.Tensor, torch.Tensor] | None, ...]:
        """
        `logits [B, C]` and `beta [B, 1]` or None, of complete inputs that are 0 behind their masks. Where the loss is
        not that of the logits, its terms follow: for each its logits `[B, C]` and a boolean `[B]` of the samples that
        have no part in it.
        """
        raise NotImplementedError


class BaselineObjective(Objective):
    """The objective of the network, of the logits or of the terms of a baseline, and without what is the network's."""

    def __call__(self, model, inputs, labels, num_items=None, network=None):
        output = model(**inputs)
        terms = output.get("terms", ((output.logits, torch.zeros_like(output.has_audio)),))
        losses = [self.of_logits(model, logits, labels, ~out) for logits, out in terms]
        return sum(losses) / self.number_of_items(model, labels, num_items), output


def mlp(input_size: int, config: TacfnConfig) -> nn.Sequential:
    """The classifier of the models that pool over time: `[B, input_size] -> [B, C]`."""
    return nn.Sequential(
        nn.Linear(input_size, config.hidden_size),
        nn.ReLU(),
        nn.Dropout(config.hidden_dropout_prob),
        nn.Linear(config.hidden_size, config.num_labels),
    )


class AudioOnly(Baseline):
    """`MLP(a)` of the masked mean a of audio; beta is 1."""

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        self.classifier = mlp(config.audio_feature_size, config)

    def fuse(self, h_a, h_t, mask_a, mask_t):
        logits = self.classifier(masked_mean(h_a, mask_a))
        return logits, logits.new_ones(len(logits), 1)


class TextOnly(Baseline):
    """`MLP(t)` of the masked mean t of text; beta is 0."""

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        self.classifier = mlp(config.text_feature_size, config)

    def fuse(self, h_a, h_t, mask_a, mask_t):
        logits = self.classifier(masked_mean(h_t, mask_t))
        return logits, logits.new_zeros(len(logits), 1)


class Concatenation(Baseline):
    """`MLP([a, t])` of the masked means; a missing modality's is 0."""

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        self.classifier = mlp(config.audio_feature_size + config.text_feature_size, config)

    def fuse(self, h_a, h_t, mask_a, mask_t):
        return self.classifier(torch.cat([masked_mean(h_a, mask_a), masked_mean(h_t, mask_t)], dim=-1)), None


class LateFusion(Baseline):
    """
    Mean of the probabilities of two classifiers, `p = (softmax(MLP_a(a)) + softmax(MLP_t(t))) / 2`, logits `log p`.

    Each classifier has its own term of the loss, over the samples that have its modality, and the loss is their sum:
    they learn as they would alone. Where a modality is missing, p is the other classifier's.
    """

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        self.audio_classifier = mlp(config.audio_feature_size, config)
        self.text_classifier = mlp(config.text_feature_size, config)

    def fuse(self, h_a, h_t, mask_a, mask_t):
        missing_a, missing_t = mask_a.all(dim=1), mask_t.all(dim=1)
        logits_a = self.audio_classifier(masked_mean(h_a, mask_a))
        logits_t = self.text_classifier(masked_mean(h_t, mask_t))
        log_a, log_t = logits_a.log_softmax(dim=-1), logits_t.log_softmax(dim=-1)
        log_p = torch.logaddexp(log_a, log_t) - math.log(2)
        log_p = torch.where(missing_a.unsqueeze(1), log_t, torch.where(missing_t.unsqueeze(1), log_a, log_p))
        return log_p, None, (logits_a, missing_a), (logits_t, missing_t)


class GatedMultimodalUnit(Baseline):
    """
    GMU (Arevalo et al., Gated Multimodal Units for Information Fusion, 2017) of the masked means a and t:

    `h_a = tanh(W_a a)`, `h_t = tanh(W_t t)`, `z = sigmoid(W_z [a, t])`, `h = z * h_a + (1 - z) * h_t`, each `[d]` and
    without biases, as the paper writes it; then an MLP. beta is the mean of z. A missing modality is 0 to the unit.
    """

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        d_a, d_t, d = config.audio_feature_size, config.text_feature_size, config.hidden_size
        self.audio = nn.Linear(d_a, d, bias=False)
        self.text = nn.Linear(d_t, d, bias=False)
        self.gate = nn.Linear(d_a + d_t, d, bias=False)
        self.classifier = mlp(d, config)

    def fuse(self, h_a, h_t, mask_a, mask_t):
        a, t = masked_mean(h_a, mask_a), masked_mean(h_t, mask_t)
        z = torch.sigmoid(self.gate(torch.cat([a, t], dim=-1)))
        h = z * torch.tanh(self.audio(a)) + (1 - z) * torch.tanh(self.text(t))
        return self.classifier(h), z.mean(dim=-1, keepdim=True)


EMBEDDING_SIZE = 32


def embedding_network(input_size: int, config: TacfnConfig) -> nn.Sequential:
    """`[B, input_size] -> z [B, EMBEDDING_SIZE]`, the same for TFN and LMF, so that only their fusion differs."""
    return nn.Sequential(
        nn.Linear(input_size, config.hidden_size),
        nn.ReLU(),
        nn.Dropout(config.hidden_dropout_prob),
        nn.Linear(config.hidden_size, EMBEDDING_SIZE),
        nn.ReLU(),
    )


class TensorFusion(Baseline):
    """
    TFN (Zadeh et al., Tensor Fusion Network for Multimodal Sentiment Analysis, 2017):

    `Z = [z_a; 1] ⊗ [z_t; 1]`, which holds z_a, z_t and all their products, flattened; then an MLP. z_a and z_t are
    embeddings of the masked means. Their size is a choice: at 32, Z has 33 * 33 = 1089 entries, and the MLP 1089 * d
    weights on it.
    """

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        self.audio = embedding_network(config.audio_feature_size, config)
        self.text = embedding_network(config.text_feature_size, config)
        self.classifier = mlp((EMBEDDING_SIZE + 1) ** 2, config)

    def fuse(self, h_a, h_t, mask_a, mask_t):
        z_a = F.pad(self.audio(masked_mean(h_a, mask_a)), (0, 1), value=1.0)
        z_t = F.pad(self.text(masked_mean(h_t, mask_t)), (0, 1), value=1.0)
        return self.classifier((z_a.unsqueeze(2) * z_t.unsqueeze(1)).flatten(1)), None


class LowRankFusion(Baseline):
    """
    LMF (Liu et al., Efficient Low-rank Multimodal Fusion With Modality-Specific Factors, 2018): `TensorFusion` whose
    first layer on the tensor, `h = W Z + b`, has a W `[d, 33, 33]` of rank r, so that Z is never made:

    `W = sum_i v_i w_a^i ⊗ w_t^i`, `h = sum_i v_i (w_a^i [z_a; 1]) * (w_t^i [z_t; 1]) + b`, with factors w `[d, 33]` and
    weights v_i of the ranks; then ReLU, Dropout, Linear. The rank is a choice: 4.
    """

    RANK = 4

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        self.audio = embedding_network(config.audio_feature_size, config)
        self.text = embedding_network(config.text_feature_size, config)
        # All ranks' factors in one; the bias is their column for the 1.
        self.audio_factors = nn.Linear(EMBEDDING_SIZE, self.RANK * config.hidden_size)
        self.text_factors = nn.Linear(EMBEDDING_SIZE, self.RANK * config.hidden_size)
        self.rank_weights = nn.Parameter(torch.full((self.RANK,), self.RANK**-0.5))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.classifier = nn.Sequential(
            nn.ReLU(), nn.Dropout(config.hidden_dropout_prob), nn.Linear(config.hidden_size, config.num_labels)
        )

    def fuse(self, h_a, h_t, mask_a, mask_t):
        by_rank = (self.RANK, self.config.hidden_size)
        h_a = self.audio_factors(self.audio(masked_mean(h_a, mask_a))).unflatten(-1, by_rank)
        h_t = self.text_factors(self.text(masked_mean(h_t, mask_t))).unflatten(-1, by_rank)
        return self.classifier(self.rank_weights @ (h_a * h_t) + self.bias), None


def sinusoidal_positions(mask: torch.Tensor, size: int, dtype: torch.dtype) -> torch.Tensor:
    """`[B, L, size]`: sines, then cosines (Vaswani et al. 2017), of each valid position's number in `mask [B, L]`."""
    number = ((~mask).cumsum(dim=1) - 1).clamp(min=0).unsqueeze(-1)
    half = (size + 1) // 2
    frequency = 10000 ** -(torch.arange(half, device=mask.device, dtype=dtype) / half)
    return torch.cat([(number * frequency).sin(), (number * frequency).cos()], dim=-1)[..., :size]


class PreNormBlock(nn.Module):
    """
    `h = h + Dropout(Attention(LN(h), LN(memory)))`, `h = h + Dropout(FFN(LN(h)))`, FFN = Linear(d, 4d), ReLU, Linear.
    """

    def __init__(self, config: TacfnConfig):
        super().__init__()
        d = config.hidden_size
        self.attention_norm = nn.LayerNorm(d)
        self.attention = nn.MultiheadAttention(d, config.num_attention_heads, batch_first=True)
        self.feed_forward_norm = nn.LayerNorm(d)
        self.feed_forward = nn.Sequential(
            nn.Linear(d, config.intermediate_size), nn.ReLU(), nn.Linear(config.intermediate_size, d)
        )
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, h: torch.Tensor, memory: torch.Tensor, memory_mask: torch.Tensor) -> torch.Tensor:
        """`h [B, L, d]` attends to `memory [B, L_m, d]`; a memory that is padding throughout adds exactly nothing."""
        missing = memory_mask.all(dim=1)
        keys = self.attention_norm(memory)
        update, _ = self.attention(
            self.attention_norm(h),
            keys,
            keys,
            key_padding_mask=memory_mask & ~missing.unsqueeze(1),  # a softmax over no key is NaN
            need_weights=False,
        )
        h = h + self.dropout(update).masked_fill(missing[:, None, None], 0.0)
        return h + self.dropout(self.feed_forward(self.feed_forward_norm(h)))


class MultimodalTransformer(Baseline):
    """
    After MulT (Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences, 2019), for two
    modalities:

    - both are projected to d, and sinusoidal positions are added: `Z_a[0]`, `Z_t[0]`;
    - crossmodal transformers, audio from text and text from audio: each block's queries come from the block before,
      keys and values always from the other modality's `Z[0]`;
    - a self-attention transformer on each result, then the mean over its valid positions;
    - both means concatenated, `x`: `Linear(x + Linear(Dropout(ReLU(Linear(x)))))`.

    Every transformer has `num_hidden_layers` pre-norm blocks and a last LayerNorm. Choices that differ from the paper:
    a linear layer for its temporal convolution (the features come from encoders that saw their context), and the mean
    for its last position, which says little of an utterance encoded in both directions. A missing modality adds nothing
    to the other one, and its own mean is 0.
    """

    averages_over_time = False

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        d = config.hidden_size
        self.audio_projection = nn.Linear(config.audio_feature_size, d)
        self.text_projection = nn.Linear(config.text_feature_size, d)
        self.blocks = nn.ModuleDict(
            {
                name: nn.ModuleList(PreNormBlock(config) for _ in range(config.num_hidden_layers))
                for name in ("audio_from_text", "text_from_audio", "audio", "text")
            }
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(d) for name in self.blocks})
        self.residual = nn.Sequential(
            nn.Linear(2 * d, 2 * d), nn.ReLU(), nn.Dropout(config.hidden_dropout_prob), nn.Linear(2 * d, 2 * d)
        )
        self.classifier = nn.Linear(2 * d, config.num_labels)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def fuse(self, h_a, h_t, mask_a, mask_t):
        d = self.config.hidden_size
        z_a = self.dropout(self.audio_projection(h_a) + sinusoidal_positions(mask_a, d, h_a.dtype))
        z_t = self.dropout(self.text_projection(h_t) + sinusoidal_positions(mask_t, d, h_t.dtype))
        h_a = self._attend("audio", self._attend("audio_from_text", z_a, z_t, mask_t), None, mask_a)
        h_t = self._attend("text", self._attend("text_from_audio", z_t, z_a, mask_a), None, mask_t)
        x = torch.cat([masked_mean(h_a, mask_a), masked_mean(h_t, mask_t)], dim=-1)
        return self.classifier(x + self.residual(x)), None

    def _attend(
        self, name: str, h: torch.Tensor, memory: torch.Tensor | None, memory_mask: torch.Tensor
    ) -> torch.Tensor:
        """One of the four transformers; with `memory` None, h attends to itself."""
        for block in self.blocks[name]:
            h = block(h, h if memory is None else memory, memory_mask)
        return self.norms[name](h)


class FirstFusion(Baseline):
    """
    The fusion network of this package as it was first implemented, for comparison.

    The same post-norm blocks and LayerNorms; then both sequences are cut to their first `L = min(L_a, L_t)` positions,
    L_a and L_t being the lengths of the padded batch (audio, nearly always the longer, to as many frames as there are
    tokens), and a and t are their means over all L positions, padding included. `g = [a, t, |a - t|, a * t]`,
    `w = sigmoid(MLP(g))`, `h = mean of w * h_a + (1 - w) * h_t over the L positions`, then LayerNorm, Linear, ReLU,
    Dropout, Linear. beta is the mean of w.

    Its predictions depend on the padding, and so on the other samples of a batch: that is what is compared. The first
    implementation failed where audio is the shorter one, and knew no missing modality: both are taken as said here, a
    modality that a whole batch lacks as so much padding as the other one is long.
    """

    averages_over_time = False

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        d_a, d_t, d = config.audio_feature_size, config.text_feature_size, config.hidden_size
        self.audio_projection = nn.Identity() if d_a == d else nn.Linear(d_a, d)
        self.text_projection = nn.Identity() if d_t == d else nn.Linear(d_t, d)
        self.cross_modal = CrossModalTransformer(config)
        self.audio_norm = nn.LayerNorm(d)
        self.text_norm = nn.LayerNorm(d)
        self.gate = nn.Sequential(
            nn.Linear(4 * d, config.gate_hidden_size), nn.ReLU(), nn.Linear(config.gate_hidden_size, d)
        )
        self.classifier = ClassificationHead(config)

    def fuse(self, h_a, h_t, mask_a, mask_t):
        if mask_a.all():
            h_a, mask_a = h_a.new_zeros(*h_t.shape[:2], h_a.shape[2]), torch.ones_like(mask_t)
        if mask_t.all():
            h_t, mask_t = h_t.new_zeros(*h_a.shape[:2], h_t.shape[2]), torch.ones_like(mask_a)
        h_a, h_t = self.cross_modal(self.audio_projection(h_a), self.text_projection(h_t), mask_a, mask_t)
        length = min(h_a.shape[1], h_t.shape[1])
        h_a, h_t = self.audio_norm(h_a[:, :length]), self.text_norm(h_t[:, :length])
        a, t = h_a.mean(dim=1), h_t.mean(dim=1)
        w = torch.sigmoid(self.gate(torch.cat([a, t, (a - t).abs(), a * t], dim=-1)))
        h = (w.unsqueeze(1) * h_a + (1 - w.unsqueeze(1)) * h_t).mean(dim=1)
        return self.classifier(h), w.mean(dim=-1, keepdim=True)


BASELINES: dict[str, type[Baseline]] = {
    "audio only": AudioOnly,
    "text only": TextOnly,
    "concatenation": Concatenation,
    "late fusion": LateFusion,
    "GMU": GatedMultimodalUnit,
    "TFN": TensorFusion,
    "LMF": LowRankFusion,
    "MulT": MultimodalTransformer,
    "first implementation": FirstFusion,
}


def svm_scores(
    config: TacfnConfig,
    class_weights: list[float] | None,
    train_rows: Iterable[Mapping[str, Any]],
    valid_rows: Iterable[Mapping[str, Any]],
    test_rows: Iterable[Mapping[str, Any]],
) -> tuple[np.ndarray, np.ndarray, int]:
    """
    A support vector machine with RBF kernel on the standardised means over time of audio and text, concatenated (0 for
    a missing one, before it is standardised); C of 0.1, 1 and 10 that has the best UA on the validation rows, the
    smallest of several.

    Args:
        config: gives `audio_feature_size`, `text_feature_size` and `id2label`.
        class_weights: one factor for each class, or None.
        train_rows, valid_rows, test_rows: rows as `TacfnDataCollator` takes them, labelled.

    Returns:
        Decision function of the validation and of the test rows, `[N, num_labels]`, and how many numbers the machine
        consists of: support vectors, their coefficients, intercepts.

    Raises:
        ValueError: a row that lacks both modalities or has features of another size; a class without a training row.
    """
    (x_train, y_train), (x_valid, y_valid), (x_test, _) = (
        mean_features(config, rows) for rows in (train_rows, valid_rows, test_rows)
    )
    names = [config.id2label[i] for i in range(config.num_labels)]
    absent = [name for i, name in enumerate(names) if i not in y_train]
    if absent:
        raise ValueError(f"No training row has the label {', '.join(absent)}: the machine needs every class.")
    weights = None if class_weights is None else dict(enumerate(class_weights))
    best_ua = -1.0
    for strength in (0.1, 1, 10):
        machine = make_pipeline(
            StandardScaler(), SVC(C=strength, kernel="rbf", class_weight=weights, decision_function_shape="ovr")
        ).fit(x_train, y_train)
        scores = decision_scores(machine, x_valid)
        metric = EmotionMetric(keep_in_memory=True)
        ua = metric.compute(predictions=scores.argmax(axis=1), references=y_valid, label_names=names)["UA"]
        if ua > best_ua:
            best_ua, best, valid_scores = ua, machine, scores
    svc = best[-1]
    size = svc.support_vectors_.size + svc.dual_coef_.size + svc.intercept_.size
    return valid_scores, decision_scores(best, x_test), size


def svm_by_label(
    config: TacfnConfig,
    class_weights: list[float] | None,
    train_rows: Iterable[Mapping[str, Any]],
    valid_rows: Iterable[Mapping[str, Any]],
    test_rows: Iterable[Mapping[str, Any]],
) -> tuple[np.ndarray, np.ndarray, int]:
    """
    As `svm_scores`, a machine for each of several labels, with C of the best average precision on the validation rows;
    or a support vector regression for each value, with C of the best CCC.
    """
    (x_train, y_train), (x_valid, y_valid), (x_test, _) = (
        mean_features(config, rows) for rows in (train_rows, valid_rows, test_rows)
    )
    values = config.problem_type == "regression"
    valid_scores, scores, size = [], [], 0
    for i in range(config.num_labels):
        best_figure = -math.inf
        for strength in (0.1, 1, 10):
            weights = None if class_weights is None else {1: class_weights[i]}
            machine = SVR(C=strength, epsilon=0.05) if values else SVC(C=strength, class_weight=weights)
            made = make_pipeline(StandardScaler(), machine).fit(x_train, y_train[:, i])
            found = made.predict(x_valid) if values else made.decision_function(x_valid)
            of_figure = concordance_correlation if values else lambda said, true: average_precision_score(true, said)
            figure = of_figure(found, y_valid[:, i])
            if figure > best_figure:
                best_figure, best, best_valid = figure, made, found
        valid_scores.append(best_valid)
        scores.append(best.predict(x_test) if values else best.decision_function(x_test))
        size += best[-1].support_vectors_.size + best[-1].dual_coef_.size + best[-1].intercept_.size
    return np.stack(valid_scores, axis=1), np.stack(scores, axis=1), size


def mean_features(config: TacfnConfig, rows: Iterable[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Means over time `[N, d_a + d_t]` in float64, 0 for a missing modality, and labels `[N]` or `[N, C]`."""
    sizes = {"h_a": config.audio_feature_size, "h_t": config.text_feature_size}
    means, labels = [], []
    for i, row in enumerate(rows):
        features = {key: as_features(row, key, i) for key in sizes}
        if all(h is None for h in features.values()):
            raise ValueError(f"{name_of(row, i)} has neither h_a nor h_t: give at least one modality.")
        for key, h in features.items():
            if h is not None and h.shape[1] != sizes[key]:
                raise ValueError(f"{key} of {name_of(row, i)} has {h.shape[1]} dimensions, the config {sizes[key]}.")
        parts = [np.zeros(sizes[key]) if h is None else h.double().mean(dim=0).numpy() for key, h in features.items()]
        means.append(np.concatenate(parts))
        labels.append(row.get("labels", row.get("label")))
    return np.stack(means), np.array(labels)


def decision_scores(machine: Any, x: np.ndarray) -> np.ndarray:
    """The decision function of a classifier, one column a class also where there are two."""
    scores = machine.decision_function(x)
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
