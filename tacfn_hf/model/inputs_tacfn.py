"""What `forward` is given: checked, with an error that names the argument, and without gaps."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch

from .configuration_tacfn import TacfnConfig
from .modalities_tacfn import MODALITIES, Modality


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


def check_features(h: torch.Tensor, mask: torch.Tensor | None, modality: Modality, feature_size: int) -> None:
    """`h` is `[B, L, feature_size]` or `[B, feature_size]`, and `mask` fits it, or an error names the argument."""
    if h.dim() not in (2, 3) or h.shape[-1] != feature_size or 0 in h.shape[1:]:
        raise ValueError(
            f"{modality.features} has shape {list(h.shape)}: the config's {modality.feature_size} wants "
            f"[batch, length, {feature_size}] with a length of at least 1, or [batch, {feature_size}]."
        )
    if mask is None:
        return
    wanted = [h.shape[0], h.shape[1] if h.dim() == 3 else 1]
    if mask.dtype != torch.bool:
        raise TypeError(
            f"{modality.mask} is {mask.dtype}: it must be boolean with True = PAD; from an attention_mask (1 = keep) "
            f"make it with {modality.mask} = attention_mask == 0."
        )
    if list(mask.shape) != wanted:
        raise ValueError(f"{modality.mask} has shape {list(mask.shape)}: {modality.features} wants {wanted}.")


def complete_inputs(
    config: TacfnConfig,
    h_a: torch.Tensor | None,
    h_t: torch.Tensor | None,
    mask_a: torch.Tensor | None,
    mask_t: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The inputs as `h_a [B, L_a, audio_feature_size]`, `h_t [B, L_t, text_feature_size]`, `mask_a [B, L_a]` and
    `mask_t [B, L_t]`. A modality that is None becomes one padded position a sample, a mask that is None no padding.

    Raises:
        ValueError: both modalities are None, a mask without its features, shapes that do not fit the config or each
            other.
        TypeError: features or masks that are no tensors, or a mask that is not boolean.
    """
    given = ((h_a, mask_a), (h_t, mask_t))
    if h_a is None and h_t is None:
        raise ValueError("h_a and h_t are both None: give the features of at least one modality.")
    for modality, (h, mask) in zip(MODALITIES, given):
        check_tensor(h, modality.features)
        check_tensor(mask, modality.mask)
        if h is not None:
            check_features(h, mask, modality, getattr(config, modality.feature_size))
        elif mask is not None:
            raise ValueError(f"{modality.mask} was given without {modality.features}: give both, or neither.")
    if h_a is not None and h_t is not None and h_a.shape[0] != h_t.shape[0]:
        raise ValueError(f"h_a has {h_a.shape[0]} samples and h_t has {h_t.shape[0]}: they must be the same batch.")
    there: torch.Tensor = h_t if h_a is None else h_a  # type: ignore[assignment]  # one of them is there
    batch_size = there.shape[0]
    complete = []
    for modality, (h, mask) in zip(MODALITIES, given):
        if h is None:
            h = there.new_zeros(batch_size, 1, getattr(config, modality.feature_size))
            mask = torch.ones(batch_size, 1, dtype=torch.bool, device=there.device)
        h = h.unsqueeze(1) if h.dim() == 2 else h
        if mask is None:
            mask = torch.zeros(h.shape[:2], dtype=torch.bool, device=h.device)
        complete.append((h, mask))
    (h_a, mask_a), (h_t, mask_t) = complete
    return h_a, h_t, mask_a, mask_t
