"""Loads pretrained encoders, each once in a process, and the tokenizer or feature extractor that goes with it."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from safetensors import SafetensorError

from .encoder_sources_tacfn import EncoderSource, load_config, model_of
from .exact_speech_encoders_tacfn import SPEECH_ENCODERS
from .exact_text_encoders_tacfn import TextEncoder
from .pretrained_encoders_tacfn import PretrainedEncoder
from .weights_tacfn import check_weights


DTYPES = ("float32", "bfloat16", "float16")
# Weights that no hidden state depends on. A checkpoint may lack them.
UNUSED_WEIGHTS = ("pooler.", "masked_spec_embed")


def encoder_options(provenance: dict[str, Any] | None) -> dict[str, Any]:
    """The options of an encoder's class that are part of what made features."""
    return {name: value for name, value in (provenance or {}).items() if name == "pad_to_30s"}  # of Whisper alone


def load_encoder(
    modality: str,
    source: EncoderSource,
    layer: int | Sequence[int],
    dtype: str,
    device: str | torch.device,
    **options: bool,
) -> PretrainedEncoder:
    """
    A frozen encoder in evaluation mode. Equal arguments give the same object throughout this process.

    Args:
        modality: "audio" or "text".
        source: from `find_encoder` or `find_saved_encoder`.
        layer: from `resolve_layer`. Layers above it are not loaded.
        dtype: one of DTYPES.
        device: where the encoder runs.
        options: of the class of the encoder.

    Raises:
        ValueError: the weights can't be loaded, or some are missing. Only safetensors are read.
    """
    with _lock:
        layer = layer if isinstance(layer, int) else tuple(layer)
        return _load_encoder(modality, source, layer, dtype, str(device), **options)


_lock = threading.Lock()


@lru_cache(maxsize=8)  # the encoders of four processors; older ones are loaded again when they are used
def _load_encoder(
    modality: str, source: EncoderSource, layer: int | tuple[int, ...], dtype: str, device: str, **options: bool
) -> PretrainedEncoder:
    layers = [layer] if isinstance(layer, int) else list(layer)
    config = load_config(source, modality)
    if max(layers) < config.num_hidden_layers:
        config.num_hidden_layers = max(*layers, 1)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: config.num_hidden_layers]
        config.tie_last_hidden_states = False  # the final norm applies to the last layer only
    name = source.name_or_path
    inside = {} if model_of(source) is None else {"key_mapping": {rf"^{modality}_encoder\.model\.": ""}}
    try:
        check_weights(name, config, **source.hub_arguments())
        encoder_class = SPEECH_ENCODERS[config.model_type] if modality == "audio" else TextEncoder
        with without_warnings():
            model, info = encoder_class.model_class.from_pretrained(
                name,
                config=config,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # the error below names them
                output_loading_info=True,
                **inside,
                **source.arguments(),
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"The weights of the {modality} encoder {name!r} can't be loaded: {error}") from error
    if inside:
        vars(model).pop("_weight_conversions", None)  # else it would be saved with the names in the other model
    missing = sorted(key for key in info["missing_keys"] if not any(unused in key for unused in UNUSED_WEIGHTS))
    if missing or info["mismatched_keys"]:
        raise ValueError(
            f"The weights of the {modality} encoder {name!r} are not those of its config (missing: "
            f"{', '.join(missing) or 'none'}; of another shape: {info['mismatched_keys'] or 'none'})."
        )
    return encoder_class(model, layers, **options).requires_grad_(False).eval().to(device)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silences transformers' warnings about weights that are not used: of layers above those wanted, and of heads."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def load_part(auto_class: Any, source: EncoderSource, modality: str) -> Any:
    """
    The tokenizer or the feature extractor that belongs to an encoder.

    Args:
        auto_class: `AutoTokenizer` or `AutoFeatureExtractor`.
        source: from `find_encoder`.
        modality: "audio" or "text", for messages.

    Raises:
        ValueError: the encoder comes without it.
    """
    try:
        return auto_class.from_pretrained(source.name_or_path, **source.arguments())
    except (OSError, ValueError) as error:
        part = "tokenizer" if modality == "text" else "feature extractor"
        raise ValueError(f"The {modality} encoder {source.name_or_path!r} has no {part}: {error}") from error
