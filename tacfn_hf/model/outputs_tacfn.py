"""What the models return."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


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
    has_audio, has_text (`torch.BoolTensor` of shape `(batch_size,)`):
        Which modality a sample has.
    h_a_tilde (`torch.FloatTensor` of shape `(batch_size, audio_length, hidden_size)`):
        Audio after the cross-modal blocks, before the gate. Positions behind the mask hold no information. Without
        blocks all lengths of this output are 1.
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

    beta: torch.Tensor | None = None
    h_fused: torch.Tensor | None = None
    gate: torch.Tensor | None = None
    has_audio: torch.Tensor | None = None
    has_text: torch.Tensor | None = None
    h_a_tilde: torch.Tensor | None = None
    h_t_tilde: torch.Tensor | None = None
    fused_sequence: torch.Tensor | None = None
    fused_mask: torch.Tensor | None = None
    audio_hidden_states: tuple[torch.Tensor, ...] | None = None
    text_hidden_states: tuple[torch.Tensor, ...] | None = None
    audio_attentions: tuple[torch.Tensor, ...] | None = None
    text_attentions: tuple[torch.Tensor, ...] | None = None
    audio_cross_attentions: tuple[torch.Tensor, ...] | None = None
    text_cross_attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class TacfnClassifierOutput(ModelOutput):
    r"""
    Output of [`TacfnForSequenceClassification`]. What is not listed is as in [`TacfnModelOutput`].

    loss (`torch.FloatTensor` of shape `(1,)`):
        With `labels`.
    logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
        Scores before the softmax (single label), the sigmoid (multi-label) or as they are (regression).
    label_attentions (`torch.FloatTensor` of shape `(batch_size, num_labels, fused_length)`):
        With `head="queries"`: how much each label looks at each position of the fused sequence. It sums to 1. Of the L
        positions of a sample, i is the part from i / L to (i + 1) / L of its time, in audio and in text.
    h_a, mask_a, h_t, mask_t (`torch.Tensor`):
        Of a model with its encoders, which made them: the features, and their masks, True = PAD.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    beta: torch.Tensor | None = None
    h_fused: torch.Tensor | None = None
    gate: torch.Tensor | None = None
    has_audio: torch.Tensor | None = None
    has_text: torch.Tensor | None = None
    fused_sequence: torch.Tensor | None = None
    fused_mask: torch.Tensor | None = None
    audio_hidden_states: tuple[torch.Tensor, ...] | None = None
    text_hidden_states: tuple[torch.Tensor, ...] | None = None
    audio_attentions: tuple[torch.Tensor, ...] | None = None
    text_attentions: tuple[torch.Tensor, ...] | None = None
    audio_cross_attentions: tuple[torch.Tensor, ...] | None = None
    text_cross_attentions: tuple[torch.Tensor, ...] | None = None
    label_attentions: torch.Tensor | None = None
    h_a: torch.Tensor | None = None
    mask_a: torch.Tensor | None = None
    h_t: torch.Tensor | None = None
    mask_t: torch.Tensor | None = None

    def to_tuple(self) -> tuple:
        """`(loss,) logits, beta, h_fused`, then what was requested; the rest only by name."""
        by_name = ("gate", "has_audio", "has_text", "label_attentions", "h_a", "mask_a", "h_t", "mask_t")
        return tuple(value for name, value in self.items() if name not in by_name)
