"""Intra-modal self-attention and bidirectional cross-attention between audio and text."""

from typing import Any

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_tacfn import TacfnConfig


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Attention written out, the one implementation that also returns its weights `[B, heads, L_q, L_k]`. The mask is
    boolean, `[B, 1, 1, L_k]`, True = keep.
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    dropped = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(dropped, value).transpose(1, 2), weights


class TacfnAttention(nn.Module):
    """
    Multi-head attention of one sequence on another, or on itself.

    `(h [B, L_q, d], memory [B, L_k, d], attention_mask) -> (output [B, L_q, d], weights or None)`. The mask is what
    transformers' `create_bidirectional_mask` makes for the attention implementation in use.
    """

    is_causal = False

    def __init__(self, config: TacfnConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, h: torch.Tensor, memory: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query = self.q_proj(h).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        key = self.k_proj(memory).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        value = self.v_proj(memory).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        implementation = self.config._attn_implementation
        if attention_mask is not None and attention_mask.dim() == 4 and "flash" in implementation:
            implementation = "sdpa"  # see attention_masks
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        output, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
        )
        return self.out_proj(output.flatten(2)), weights


def attention_masks(
    config: TacfnConfig, h: torch.Tensor, memory: torch.Tensor, keep_h: torch.Tensor, keep: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """
    The masks of `h [B, L_q, d]` attending to itself, of which `keep_h [B, L_q]` may be seen, and to
    `memory [B, L_k, d]`, of which `keep [B, L_k]` may.

    eager and sdpa take the booleans as they are. transformers would look first whether all are True, for which the host
    waits for the device.
    """
    implementation = config._attn_implementation
    if implementation in ("eager", "sdpa"):
        return keep_h[:, None, None, :], keep[:, None, None, :]
    on_itself = create_bidirectional_mask(config=config, inputs_embeds=h, attention_mask=keep_h)
    if "flash" in implementation:
        # transformers' flash interface unpads queries with the mask of the keys, which is right for self-attention
        # alone: cross-attention over padding takes sdpa.
        return on_itself, None if keep.all() else keep[:, None, None, :]
    return on_itself, create_bidirectional_mask(
        config=config, inputs_embeds=h, attention_mask=keep, encoder_hidden_states=memory
    )


class ResidualNorm(nn.Module):
    """Post-norm residual: `LN(h + Dropout(update))`, without the update for samples in `skip [B]`."""

    def __init__(self, config: TacfnConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, h: torch.Tensor, update: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        update = self.dropout(update)
        if skip is not None:
            update = update.masked_fill(skip[:, None, None], 0.0)
        return self.norm(h + update)


def feed_forward(config: TacfnConfig) -> nn.Sequential:
    """Linear(d, `intermediate_size`), ReLU, Linear(`intermediate_size`, d): `[B, L, d] -> [B, L, d]`."""
    size = config.hidden_size
    inner = config.intermediate_size or 4 * size
    return nn.Sequential(nn.Linear(size, inner), nn.ReLU(), nn.Linear(inner, size))


class CrossModalBlock(GradientCheckpointingLayer):
    """
    Self-attention in each modality, cross-attention in both directions, feed-forward; post-norm residuals throughout.

    Both directions of the cross-attention start from the outputs of the self-attention. `missing_a` and `missing_t`
    `[B]` mark samples that lack the modality: attention to it adds exactly nothing to the other one.
    """

    def __init__(self, config: TacfnConfig):
        super().__init__()
        self.audio_self_attention = TacfnAttention(config)
        self.text_self_attention = TacfnAttention(config)
        self.audio_cross_attention = TacfnAttention(config)
        self.text_cross_attention = TacfnAttention(config)
        self.audio_feed_forward = feed_forward(config)
        self.text_feed_forward = feed_forward(config)
        self.audio_self_norm = ResidualNorm(config)
        self.text_self_norm = ResidualNorm(config)
        self.audio_cross_norm = ResidualNorm(config)
        self.text_cross_norm = ResidualNorm(config)
        self.audio_feed_forward_norm = ResidualNorm(config)
        self.text_feed_forward_norm = ResidualNorm(config)

    def forward(
        self,
        h_a: torch.Tensor,
        h_t: torch.Tensor,
        self_mask_a: torch.Tensor | None,
        self_mask_t: torch.Tensor | None,
        cross_mask_a: torch.Tensor | None,
        cross_mask_t: torch.Tensor | None,
        missing_a: torch.Tensor,
        missing_t: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor | None, ...]]:
        """
        Returns `h_a [B, L_a, d]`, `h_t [B, L_t, d]` and the attention weights (audio on audio, text on text, audio on
        text, text on audio), each `[B, heads, L_query, L_key]` or `None` where the implementation keeps none.
        """
        update_a, on_itself_a = self.audio_self_attention(h_a, h_a, self_mask_a)
        update_t, on_itself_t = self.text_self_attention(h_t, h_t, self_mask_t)
        h_a = self.audio_self_norm(h_a, update_a)
        h_t = self.text_self_norm(h_t, update_t)

        update_a, a_on_t = self.audio_cross_attention(h_a, h_t, cross_mask_t)
        update_t, t_on_a = self.text_cross_attention(h_t, h_a, cross_mask_a)
        h_a = self.audio_cross_norm(h_a, update_a, skip=missing_t)
        h_t = self.text_cross_norm(h_t, update_t, skip=missing_a)

        h_a = self.audio_feed_forward_norm(h_a, self.audio_feed_forward(h_a))
        h_t = self.text_feed_forward_norm(h_t, self.text_feed_forward(h_t))
        return h_a, h_t, (on_itself_a, on_itself_t, a_on_t, t_on_a)


class CrossModalTransformer(nn.Module):
    """
    A stack of [`CrossModalBlock`]s.

    `(h_a [B, L_a, d], h_t [B, L_t, d], mask_a, mask_t) -> (h_a_tilde [B, L_a, d], h_t_tilde [B, L_t, d])`, with
    boolean masks `[B, L]`, True = PAD, or `None` where nothing is padded. What stands behind a mask has no influence;
    a mask that is True throughout a sample means that this sample lacks the modality.
    """

    def __init__(self, config: TacfnConfig):
        super().__init__()
        if config._attn_implementation is None:  # built on its own, outside of a PreTrainedModel
            config._attn_implementation = "sdpa"
        self.config = config
        self.layers = nn.ModuleList(CrossModalBlock(config) for _ in range(config.num_hidden_layers))

    def forward(
        self,
        h_a: torch.Tensor,
        h_t: torch.Tensor,
        mask_a: torch.Tensor | None = None,
        mask_t: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> tuple[Any, ...]:
        """
        Returns:
            `h_a_tilde [B, L_a, d]` and `h_t_tilde [B, L_t, d]`. With `output_attentions` or `output_hidden_states`
            (the config's where None) a third item follows: a dict of tuples, one entry a layer, under the names of
            [`TacfnModelOutput`]. Weights on a missing modality are 0.

        Raises:
            ValueError: attention weights asked of an implementation that keeps none.
        """
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        if output_attentions and config._attn_implementation != "eager":
            raise ValueError(
                f"output_attentions=True with attn_implementation={config._attn_implementation!r}, which keeps no "
                'weights: call model.set_attn_implementation("eager") first.'
            )
        mask_a = h_a.new_zeros(h_a.shape[:2], dtype=torch.bool) if mask_a is None else mask_a
        mask_t = h_t.new_zeros(h_t.shape[:2], dtype=torch.bool) if mask_t is None else mask_t
        h_a = h_a.masked_fill(mask_a.unsqueeze(-1), 0.0)  # a product with 0 would let NaN through
        h_t = h_t.masked_fill(mask_t.unsqueeze(-1), 0.0)
        missing_a, missing_t = mask_a.all(dim=1), mask_t.all(dim=1)
        # A softmax over no key is NaN: a missing modality shows its zeros, and the block drops what comes of them.
        keep_a, keep_t = ~mask_a | missing_a[:, None], ~mask_t | missing_t[:, None]
        self_mask_a, cross_mask_t = attention_masks(self.config, h_a, h_t, keep_a, keep_t)
        self_mask_t, cross_mask_a = attention_masks(self.config, h_t, h_a, keep_t, keep_a)
        masks = (self_mask_a, self_mask_t, cross_mask_a, cross_mask_t)

        audio_hidden_states, text_hidden_states, attentions = [h_a], [h_t], []
        for layer in self.layers:
            h_a, h_t, weights = layer(h_a, h_t, *masks, missing_a, missing_t)
            if output_hidden_states:
                audio_hidden_states.append(h_a)
                text_hidden_states.append(h_t)
            if output_attentions:
                absent = (missing_a, missing_t, missing_t, missing_a)
                attentions.append([w.masked_fill(m[:, None, None, None], 0.0) for w, m in zip(weights, absent)])
        if not (output_attentions or output_hidden_states):
            return h_a, h_t

        recorded = {}
        if output_hidden_states:
            recorded["audio_hidden_states"] = tuple(audio_hidden_states)
            recorded["text_hidden_states"] = tuple(text_hidden_states)
        if output_attentions:
            names = ("audio_attentions", "text_attentions", "audio_cross_attentions", "text_cross_attentions")
            for i, name in enumerate(names):
                recorded[name] = tuple(layer[i] for layer in attentions)
        return h_a, h_t, recorded
