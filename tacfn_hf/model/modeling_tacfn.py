"""TACFN-inspired fusion of audio and text features, as transformers models."""

import copy
import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .augmentation_tacfn import add_noise, drop_dimensions, drop_modalities
from .beta_gate_tacfn import BetaGate, masked_mean
from .configuration_tacfn import TacfnConfig
from .cross_modal_tacfn import CrossModalTransformer
from .distance_tacfn import FeatureDistance
from .pipeline_tacfn import CUSTOM_PIPELINES
from .standardization_tacfn import FeatureStandardizer
from .weights_tacfn import check_weights


@dataclass
class TacfnModelOutput(ModelOutput):
    r"""
    Output of [`TacfnModel`].

    beta (`torch.FloatTensor` of shape `(batch_size, 1)`):
        Mean of the gate: near 1 the sample leans on audio, near 0 on text; exactly 1 or 0 where one is missing.
    h_fused (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
        Pooled fused vector, `gate * mean(audio) + (1 - gate) * mean(text)`.
    gate (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
        How far audio was trusted, per dimension.
    h_a_tilde (`torch.FloatTensor` of shape `(batch_size, audio_length, hidden_size)`):
        Audio after the cross-modal blocks, before the gate. Positions behind the mask hold no information. With
        `pool_features` all lengths of this output are 1.
    h_t_tilde (`torch.FloatTensor` of shape `(batch_size, text_length, hidden_size)`):
        Text, likewise.
    fused_sequence (`torch.FloatTensor` of shape `(batch_size, fused_length, hidden_size)`):
        Both on one time axis, with `output_fused_sequence=True`.
    fused_mask (`torch.BoolTensor` of shape `(batch_size, fused_length)`):
        True = PAD, of `fused_sequence`.
    audio_hidden_states, text_hidden_states (`tuple(torch.FloatTensor)`):
        Input of the first block and output of each, `(batch_size, length, hidden_size)`, with
        `output_hidden_states=True`.
    audio_attentions, text_attentions (`tuple(torch.FloatTensor)`):
        Self-attention weights of each block, `(batch_size, num_heads, length, length)`, with `output_attentions=True`.
    audio_cross_attentions (`tuple(torch.FloatTensor)`):
        Audio attending to text, `(batch_size, num_heads, audio_length, text_length)`.
    text_cross_attentions (`tuple(torch.FloatTensor)`):
        Text attending to audio, `(batch_size, num_heads, text_length, audio_length)`.
    """

    beta: torch.FloatTensor | None = None
    h_fused: torch.FloatTensor | None = None
    gate: torch.FloatTensor | None = None
    h_a_tilde: torch.FloatTensor | None = None
    h_t_tilde: torch.FloatTensor | None = None
    fused_sequence: torch.FloatTensor | None = None
    fused_mask: torch.BoolTensor | None = None
    audio_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    text_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    audio_attentions: tuple[torch.FloatTensor, ...] | None = None
    text_attentions: tuple[torch.FloatTensor, ...] | None = None
    audio_cross_attentions: tuple[torch.FloatTensor, ...] | None = None
    text_cross_attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class TacfnClassifierOutput(ModelOutput):
    r"""
    Output of [`TacfnForSequenceClassification`]. What is not listed is as in [`TacfnModelOutput`].

    loss (`torch.FloatTensor` of shape `(1,)`):
        With `labels`.
    logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
        Scores before the softmax (single label), the sigmoid (multi-label) or as they are (regression).
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    beta: torch.FloatTensor | None = None
    h_fused: torch.FloatTensor | None = None
    gate: torch.FloatTensor | None = None
    fused_sequence: torch.FloatTensor | None = None
    fused_mask: torch.BoolTensor | None = None
    audio_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    text_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    audio_attentions: tuple[torch.FloatTensor, ...] | None = None
    text_attentions: tuple[torch.FloatTensor, ...] | None = None
    audio_cross_attentions: tuple[torch.FloatTensor, ...] | None = None
    text_cross_attentions: tuple[torch.FloatTensor, ...] | None = None

    def to_tuple(self) -> tuple:
        """`(loss,) logits, beta, h_fused`, then what was requested. `gate` has its place by name alone."""
        return tuple(value for name, value in self.items() if name != "gate")


def check_keywords(forward: Callable, keywords: dict[str, Any]) -> None:
    """
    The keyword arguments that `forward` does not name are those that others pass for their own ends: transformers'
    `Trainer` a number of labels, PEFT the inputs of a language model as None.

    Raises:
        TypeError: another one, whose value would be lost; the message names the right one.
    """
    for name, value in keywords.items():
        if name == "num_items_in_batch" or (name in ("input_ids", "attention_mask", "inputs_embeds") and value is None):
            continue
        known = [p.name for p in inspect.signature(forward).parameters.values() if p.kind is not p.VAR_KEYWORD]
        near = difflib.get_close_matches(name, known, n=1)
        if "mask" in name:
            right = (
                "masks are mask_a of audio and mask_t of text, with True = PAD; from an attention_mask (1 = keep) make "
                "them with mask_a = attention_mask == 0."
            )
        else:
            right = f"did you mean {near[0]}?" if near else f"its arguments are {', '.join(known)}."
        raise TypeError(f"forward has no argument {name}: {right}")


def check_tensor(value: Any, name: str) -> None:
    """The argument `name` is a tensor or None, or a TypeError says how to make one."""
    if value is not None and not isinstance(value, torch.Tensor):
        names = ", where names become numbers with [model.config.label2id[name] for name in labels]"
        raise TypeError(
            f"{name} is of type {type(value).__name__}: it must be a tensor, such as torch.as_tensor({name})"
            f"{names if name == 'labels' else ''}."
        )


def check_features(
    h: torch.Tensor, mask: torch.Tensor | None, feature_size: int, modality: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features as `[B, L, feature_size]` with a boolean mask `[B, L]`, or an error that names the argument."""
    suffix = modality[0]
    if h.dim() not in (2, 3) or h.shape[-1] != feature_size or 0 in h.shape[1:]:
        raise ValueError(
            f"h_{suffix} has shape {list(h.shape)}: the config's {modality}_feature_size wants [batch, length, "
            f"{feature_size}] with a length of at least 1, or [batch, {feature_size}]."
        )
    if h.dim() == 2:
        h = h.unsqueeze(1)
    if mask is None:
        return h, torch.zeros(h.shape[:2], dtype=torch.bool, device=h.device)
    if mask.dtype != torch.bool:
        raise TypeError(
            f"mask_{suffix} is {mask.dtype}: it must be boolean with True = PAD; from an attention_mask (1 = keep) "
            f"make it with mask_{suffix} = attention_mask == 0."
        )
    if mask.shape != h.shape[:2]:
        raise ValueError(f"mask_{suffix} has shape {list(mask.shape)}: h_{suffix} wants {list(h.shape[:2])}.")
    return h, mask


def pool(h: torch.Tensor, mask: torch.Tensor, standardized: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The mean over the valid positions of `h [B, L, feature_size]`, each scaled to a root mean square of 1, as a sequence
    of one, `[B, 1, feature_size]`, with its mask `[B, 1]`. The more the positions agree, the longer their mean is.

    Standardised features are divided by the root of their mean square plus 1/4: typical ones, whose mean square is 1,
    nearly as the others, while constant ones, which are near 0 and agree in all positions, do not become long.
    """
    mean = masked_mean(F.rms_norm(h, h.shape[-1:], eps=0.25 if standardized else None), mask)
    return mean.unsqueeze(1), mask.all(dim=1, keepdim=True)


class MeanProjection(nn.Linear):
    """
    Projection of the means of `pool`. Its bias starts as large as the product with one position's features: the gate's
    layer norm, which forgets how long a vector is, then still shows how long the mean was.
    """


def feature_projection(feature_size: int, config: TacfnConfig) -> nn.Module:
    """`[B, L, feature_size] -> [B, L, hidden_size]`; nothing where the sizes are equal and features are not pooled."""
    if config.pool_features:
        return MeanProjection(feature_size, config.hidden_size)
    return nn.Identity() if feature_size == config.hidden_size else nn.Linear(feature_size, config.hidden_size)


class TacfnPreTrainedModel(PreTrainedModel):
    """What the models share: their configuration, how weights start, and how a folder is written."""

    config: TacfnConfig
    base_model_prefix = "model"
    main_input_name = "h_a"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["CrossModalBlock"]
    # Statistics of features as they come, which may be larger than half precision holds.
    _keep_in_fp32_modules_strict = ["audio_standardizer", "text_standardizer", "audio_distance", "text_distance"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _auto_map: dict[str, str] = {}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """
        As `PreTrainedModel.from_pretrained`, from safetensors alone.

        Raises:
            ValueError: pickled weights, or weights elsewhere than in the folder itself.
        """
        if kwargs.get("use_safetensors") is False:
            raise ValueError("use_safetensors is False: pickled weights are never read.")
        kwargs["use_safetensors"] = True
        if pretrained_model_name_or_path is not None:
            names = ("variant", "revision", "subfolder", "token", "cache_dir", "local_files_only")
            check_weights(pretrained_model_name_or_path, **{name: kwargs[name] for name in names if name in kwargs})
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, FeatureStandardizer):
            init.zeros_(module.mean)
            init.ones_(module.std)
        if isinstance(module, FeatureDistance):
            init.eye_(module.whitening)
        if isinstance(module, MeanProjection):
            init.normal_(module.bias, std=self.config.initializer_range * module.in_features**0.5)

    def get_input_embeddings(self) -> None:
        """None: the inputs are features, of which there is no table."""
        return None

    def save_pretrained(self, save_directory, **kwargs):
        """
        As `PreTrainedModel.save_pretrained`; the folder also gets the code of model, processor and pipeline, which
        `auto_map` and `custom_pipelines` in its config.json name.
        """
        # The config may be shared with a model of another class, or come from another repository.
        self.config.auto_map = {"AutoConfig": "configuration_tacfn.TacfnConfig", **self._auto_map}
        self.config.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)
        super().save_pretrained(save_directory, **kwargs)


class TacfnModel(TacfnPreTrainedModel):
    """The fusion network without a head: projections, [`CrossModalTransformer`], [`BetaGate`]."""

    _auto_class = "AutoModel"
    _auto_map = {"AutoModel": "modeling_tacfn.TacfnModel"}

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        if config.standardize_features:
            self.audio_standardizer = FeatureStandardizer(config.audio_feature_size)
            self.text_standardizer = FeatureStandardizer(config.text_feature_size)
        if config.gate_reads_distance:
            self.audio_distance = FeatureDistance(config.audio_feature_size)
            self.text_distance = FeatureDistance(config.text_feature_size)
        self.audio_projection = feature_projection(config.audio_feature_size, config)
        self.text_projection = feature_projection(config.text_feature_size, config)
        self.cross_modal = CrossModalTransformer(config)
        self.beta_gate = BetaGate(config)
        self.post_init()

    def prepare(
        self,
        h_a: torch.Tensor | None = None,
        h_t: torch.Tensor | None = None,
        mask_a: torch.Tensor | None = None,
        mask_t: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        The inputs of `forward` checked and standardised, `h_a [B, L_a, audio_feature_size]`, `h_t` and their masks; in
        training some samples lose a modality. One given as None becomes one padded position per sample. Raises as
        `forward`.
        """
        if h_a is None and h_t is None:
            raise ValueError("h_a and h_t are both None: give the features of at least one modality.")
        for h, mask, suffix in ((h_a, mask_a, "a"), (h_t, mask_t, "t")):
            check_tensor(h, f"h_{suffix}")
            check_tensor(mask, f"mask_{suffix}")
            if h is None and mask is not None:
                raise ValueError(f"mask_{suffix} was given without h_{suffix}: give both, or neither.")
        there = h_t if h_a is None else h_a
        absent = torch.ones(there.shape[0], 1, dtype=torch.bool, device=there.device)
        if h_a is None:
            h_a, mask_a = there.new_zeros(there.shape[0], 1, self.config.audio_feature_size), absent
        if h_t is None:
            h_t, mask_t = there.new_zeros(there.shape[0], 1, self.config.text_feature_size), absent
        h_a, mask_a = check_features(h_a, mask_a, self.config.audio_feature_size, "audio")
        h_t, mask_t = check_features(h_t, mask_t, self.config.text_feature_size, "text")
        if h_a.shape[0] != h_t.shape[0]:
            raise ValueError(f"h_a has {h_a.shape[0]} samples and h_t has {h_t.shape[0]}: they must be the same batch.")
        if self.training and self.config.modality_dropout_prob > 0:
            mask_a, mask_t = drop_modalities(mask_a, mask_t, self.config.modality_dropout_prob)
        if self.config.standardize_features:
            h_a, h_t = self.audio_standardizer(h_a), self.text_standardizer(h_t)
        h_a, h_t = h_a.to(self.dtype), h_t.to(self.dtype)
        # Before the projections: NaN behind the mask would reach the gradient of their weights.
        return h_a.masked_fill(mask_a.unsqueeze(-1), 0.0), h_t.masked_fill(mask_t.unsqueeze(-1), 0.0), mask_a, mask_t

    def forward(
        self,
        h_a: torch.Tensor | None = None,
        h_t: torch.Tensor | None = None,
        mask_a: torch.Tensor | None = None,
        mask_t: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_fused_sequence: bool = False,
        return_dict: bool | None = None,
        **kwargs,
    ) -> TacfnModelOutput | tuple:
        r"""
        Args:
            h_a (`torch.FloatTensor` of shape `(batch_size, audio_length, audio_feature_size)`, *optional*):
                Audio features, or `(batch_size, audio_feature_size)` for one vector per utterance. None: no audio.
            h_t (`torch.FloatTensor` of shape `(batch_size, text_length, text_feature_size)`, *optional*):
                Text features, likewise.
            mask_a (`torch.BoolTensor` of shape `(batch_size, audio_length)`, *optional*):
                **True = PAD.** A row that is True throughout: this sample has no audio.
            mask_t (`torch.BoolTensor` of shape `(batch_size, text_length)`, *optional*):
                Likewise for text.
            output_attentions (`bool`, *optional*):
                Return the attention weights; needs `attn_implementation="eager"`.
            output_hidden_states (`bool`, *optional*):
                Return the states around every block.
            output_fused_sequence (`bool`, *optional*, defaults to `False`):
                Return the fused sequence and its mask.
            return_dict (`bool`, *optional*):
                False: a plain tuple of the output's values that are not None, in their order.

        Raises:
            ValueError: no modality at all, shapes that do not fit the config or each other, or attention weights asked
                of an implementation that keeps none.
            TypeError: features or a mask that are no tensors, a mask that is not boolean, or an unknown argument.
        """
        check_keywords(self.forward, kwargs)
        return self.fuse(
            *self.condense(*self.prepare(h_a, h_t, mask_a, mask_t)),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_fused_sequence=output_fused_sequence,
            return_dict=return_dict,
        )

    def condense(
        self, h_a: torch.Tensor, h_t: torch.Tensor, mask_a: torch.Tensor, mask_t: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        """
        What `fuse` takes, from what `prepare` gives: features and masks, pooled with `pool_features`, and the distances
        `[B, 2]` of audio and text, None without `gate_reads_distance`.
        """
        distances = None
        if self.config.gate_reads_distance:
            distances = torch.cat([self.audio_distance(h_a, mask_a), self.text_distance(h_t, mask_t)], dim=-1)
        if self.config.pool_features:
            h_a, mask_a = pool(h_a, mask_a, self.config.standardize_features)
            h_t, mask_t = pool(h_t, mask_t, self.config.standardize_features)
        return h_a, h_t, mask_a, mask_t, distances

    def fuse(
        self,
        h_a: torch.Tensor,
        h_t: torch.Tensor,
        mask_a: torch.Tensor,
        mask_t: torch.Tensor,
        distances: torch.Tensor | None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_fused_sequence: bool = False,
        return_dict: bool | None = None,
    ) -> TacfnModelOutput | tuple:
        """The network behind `condense`, whose results are its inputs. The options are those of `forward`."""
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return_dict = config.return_dict if return_dict is None else return_dict
        if output_attentions and config._attn_implementation != "eager":
            raise ValueError(
                f"output_attentions=True with attn_implementation={config._attn_implementation!r}, which keeps no "
                'weights: call model.set_attn_implementation("eager") first.'
            )
        h_a_tilde, h_t_tilde, *recorded = self.encode(
            h_a, h_t, mask_a, mask_t, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        h_fused, gate, beta, fused_sequence, fused_mask = self.beta_gate(
            h_a_tilde, h_t_tilde, mask_a, mask_t, distances, output_fused_sequence=output_fused_sequence
        )
        output = TacfnModelOutput(
            beta=beta,
            h_fused=h_fused,
            gate=gate,
            h_a_tilde=h_a_tilde,
            h_t_tilde=h_t_tilde,
            fused_sequence=fused_sequence,
            fused_mask=fused_mask,
            **(recorded[0] if recorded else {}),
        )
        return output if return_dict else output.to_tuple()

    def encode(
        self, h_a: torch.Tensor, h_t: torch.Tensor, mask_a: torch.Tensor, mask_t: torch.Tensor, **options: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """What comes in front of the gate: results and options are those of [`CrossModalTransformer`]."""
        if self.training and self.config.feature_dropout_prob > 0:
            h_a = drop_dimensions(h_a, self.config.feature_dropout_prob)
            h_t = drop_dimensions(h_t, self.config.feature_dropout_prob)
        return self.cross_modal(self.audio_projection(h_a), self.text_projection(h_t), mask_a, mask_t, **options)


class ClassificationHead(nn.Module):
    """`[B, d] -> [B, num_labels]`: LayerNorm, Linear, ReLU, Dropout, Linear; with one layer without the first two."""

    def __init__(self, config: TacfnConfig):
        super().__init__()
        self.norm, self.dense = nn.Identity(), nn.Identity()
        if config.num_classifier_layers == 2:
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.out_proj(self.dropout(F.relu(self.dense(self.norm(h)))))


class TacfnForSequenceClassification(TacfnPreTrainedModel):
    """
    The fusion network with a classifier (or regressor) on the pooled fused vector.

    transformers' own `Trainer` with a `label_smoothing_factor` takes the labels away and trains on the logits alone,
    without class weights, losses of one modality and the gate's loss; `tacfn_hf.training` has one that keeps them.
    """

    _auto_class = "AutoModelForSequenceClassification"
    _auto_map = dict.fromkeys(
        ("AutoModel", "AutoModelForSequenceClassification", "AutoModelForAudioClassification"),
        "modeling_tacfn.TacfnForSequenceClassification",
    )

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = TacfnModel(config)
        self.classifier = ClassificationHead(config)
        self.post_init()

    def forward(
        self,
        h_a: torch.Tensor | None = None,
        h_t: torch.Tensor | None = None,
        mask_a: torch.Tensor | None = None,
        mask_t: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_fused_sequence: bool = False,
        return_dict: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        smoothing: float = 0.0,
        **kwargs,
    ) -> TacfnClassifierOutput | tuple:
        r"""
        Everything but the following is as in [`TacfnModel.forward`].

        Args:
            labels (`torch.Tensor`, *optional*):
                Classes `(batch_size,)` as integers, -100 = not labelled; or `(batch_size, num_labels)` as floats in
                [0, 1] for multi-label; or `(batch_size, num_labels)` values (or `(batch_size,)` where `num_labels` is
                1) for regression. `config.problem_type` says which; where it is None, `num_labels == 1` means
                regression, integers mean classes, floats mean multi-label.
            return_dict (`bool`, *optional*):
                False: `(loss,) logits, beta, h_fused`, then what was requested.
            num_items_in_batch (`int`, *optional*):
                What the sum of the losses is divided by, in place of the number of labels in this call: `Trainer`
                passes the count over all processes and accumulation steps, so that a batch has the same loss
                however it is split. The loss is a mean over labels, not over class weights, for the same reason.
            smoothing (`float`, *optional*, defaults to 0):
                `label_smoothing` of torch's `cross_entropy`, in the losses of both modalities and of either alone. The
                gate learns from losses without it.

        Raises:
            ValueError: labels out of range or of the wrong shape, or `smoothing` of others than single labels.
            TypeError: labels that are no tensor.
        """
        check_keywords(self.forward, kwargs)
        check_tensor(labels, "labels")
        return_dict = self.config.return_dict if return_dict is None else return_dict
        features = self.model.prepare(h_a, h_t, mask_a, mask_t)
        condensed = self.model.condense(*features)
        outputs = self.model.fuse(
            *condensed,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_fused_sequence=output_fused_sequence,
            return_dict=True,
        )
        logits = self.classifier(outputs.h_fused)
        shared = {name: value for name, value in outputs.items() if name not in ("h_a_tilde", "h_t_tilde")}
        loss = None
        if labels is not None:
            loss = self._loss(logits, labels, num_items_in_batch, smoothing)
            if self.training and self.config.unimodal_loss_weight + self.config.gate_loss_weight > 0:
                loss = loss + self._unimodal_and_gate_loss(features, condensed, labels, num_items_in_batch, smoothing)
        output = TacfnClassifierOutput(loss=loss, logits=logits, **shared)
        return output if return_dict else output.to_tuple()

    def _loss(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        num_items: torch.Tensor | int | None,
        smoothing: float = 0.0,
    ) -> torch.Tensor:
        losses = self._losses(logits, labels, smoothing)
        if self.config.class_weights is not None:
            weights = torch.tensor(self.config.class_weights, dtype=losses.dtype, device=losses.device)
            losses = losses * (weights[labels.long().clamp(min=0)] if losses.dim() == 1 else weights)
        if num_items is None:
            num_items = losses.numel() if losses.dim() == 2 else (labels != -100).sum().clamp(min=1)
        return losses.sum() / num_items

    def _losses(self, logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """The loss of each sample `[B]`, 0 where it is not labelled, or of each of its labels or values `[B, C]`."""
        if self.config.problem_type is None:  # as transformers' own classifiers do, and kept for whoever loads it
            if self.num_labels == 1:
                self.config.problem_type = "regression"
            elif labels.dtype in (torch.long, torch.int):
                self.config.problem_type = "single_label_classification"
            else:
                self.config.problem_type = "multi_label_classification"
        logits = logits.float()  # a loss in half precision loses small terms
        if self.config.problem_type == "single_label_classification":
            if labels.shape != logits.shape[:1]:
                raise ValueError(f"labels has shape {list(labels.shape)}: one class per sample is {[len(logits)]}.")
            if not torch.compiler.is_compiling():  # on a GPU the loss itself would end the process
                wrong = labels[(labels != -100) & ((labels < 0) | (labels >= self.num_labels))]
                if len(wrong):
                    raise ValueError(f"labels holds {int(wrong[0])}: it must be in 0..{self.num_labels - 1}, or -100.")
            return F.cross_entropy(
                logits, labels.long(), ignore_index=-100, reduction="none", label_smoothing=smoothing
            )
        if smoothing:
            raise ValueError(
                f"smoothing (a trainer's label_smoothing_factor) is {smoothing}, but problem_type is "
                f"{self.config.problem_type}: only single labels can be smoothed."
            )
        if self.num_labels == 1 and labels.dim() == 1:
            labels = labels.unsqueeze(1)
        if labels.shape != logits.shape:
            raise ValueError(
                f"labels has shape {list(labels.shape)}: {self.config.problem_type} wants {list(logits.shape)}."
            )
        if self.config.problem_type == "regression":
            return F.mse_loss(logits, labels.to(logits.dtype), reduction="none")
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")

    def _unimodal_and_gate_loss(
        self,
        features: tuple[torch.Tensor, ...],
        condensed: tuple[torch.Tensor | None, ...],
        labels: torch.Tensor,
        num_items: torch.Tensor | int | None,
        smoothing: float,
    ) -> torch.Tensor:
        """
        The terms of `unimodal_loss_weight` and `gate_loss_weight`, over the samples that have both modalities.

        Logits of classes by one modality are halved here. Evidence from both adds up (Hinton, 2002, Training Products
        of Experts by Minimizing Contrastive Divergence), while h_fused is a mean of the two: only if either alone is
        sharper than it should be, both together can be as sharp as they should. Values of a regression do not add up.
        """
        _, _, mask_a, mask_t = features
        both = ~(mask_a.all(dim=1) | mask_t.all(dim=1))
        if not both.any():
            return features[0].new_zeros(())
        if num_items is None:
            num_items = (labels != -100).sum().clamp(min=1)
        labels = labels[both]
        h_a, h_t, mask_a, mask_t, distances = (None if values is None else values[both] for values in condensed)
        absent = torch.ones_like(mask_a[:, :1])
        audio = self.model.fuse(h_a, h_t[:, :1], mask_a, absent, distances, return_dict=True)
        text = self.model.fuse(h_a[:, :1], h_t, absent, mask_t, distances, return_dict=True)
        evidence = 1.0 if self.config.problem_type == "regression" else 0.5
        logits_a, logits_t = evidence * self.classifier(audio.h_fused), evidence * self.classifier(text.h_fused)
        total = sum(self._loss(logits, labels, num_items, smoothing) for logits in (logits_a, logits_t))
        total = self.config.unimodal_loss_weight * total
        if self.config.gate_loss_weight > 0:
            losses_a, losses_t = self._losses(logits_a, labels), self._losses(logits_t, labels)
            features = tuple(values[both] for values in features)
            errors = self._gate_errors(features, losses_a.detach(), losses_t.detach())
            not_labelled = (labels == -100).view(len(labels), -1).all(dim=1)
            errors = errors.masked_fill(not_labelled, 0.0)
            # num_items counts labels, of which a sample may have several; errors are one a sample.
            total = total + self.config.gate_loss_weight * errors.sum() * labels[0].numel() / num_items
        return total

    def _gate_errors(
        self, features: tuple[torch.Tensor, ...], losses_a: torch.Tensor, losses_t: torch.Tensor
    ) -> torch.Tensor:
        """
        The squared differences `[B]` of beta from its target, on features of which noise replaced a share.

        With the losses `l` of a sample by one modality alone, and the share `s` of that which became noise, a modality
        is worth `r = (1 - s) exp(-l)`, and the target is `r_a / (r_a + r_t)`. Of single labels `exp(-l)` is the
        probability of the true class. Only the gate learns from it, with its layer norms: what it reads are the
        features of the classifier, as they are in use, without dropout.
        """
        h_a, h_t, mask_a, mask_t = features
        h_a, noise_a = add_noise(h_a, mask_a, self.config.noise_prob)
        h_t, noise_t = add_noise(h_t, mask_t, self.config.noise_prob)
        training = [module for module in self.model.modules() if module.training]  # some may be frozen
        for module in training:
            module.training = False
        with torch.no_grad():
            h_a, h_t, mask_a, mask_t, distances = self.model.condense(h_a, h_t, mask_a, mask_t)
            h_a_tilde, h_t_tilde, *_ = self.model.encode(h_a, h_t, mask_a, mask_t)
        for module in training:
            module.training = True
        beta = self.model.beta_gate(h_a_tilde, h_t_tilde, mask_a, mask_t, distances)[2][:, 0].float()
        worth_a = (1 - noise_a).log() - losses_a.view(len(beta), -1).sum(dim=1)
        worth_t = (1 - noise_t).log() - losses_t.view(len(beta), -1).sum(dim=1)
        return (beta - torch.sigmoid(worth_a - worth_t)) ** 2
