"""Finds pretrained encoders on the Hub or in a folder, and loads each once in a process."""

import hashlib
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.safetensors_conversion import get_conversion_pr_reference
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, is_env_variable_true
from transformers.utils.hub import cached_file, extract_commit_hash, has_file

from .encoders_tacfn import PretrainedEncoder, SpeechEncoder, TextEncoder
from .weights_tacfn import check_weights


SPEECH_MODEL_TYPES = ("data2vec-audio", "hubert", "unispeech-sat", "wav2vec2", "wavlm")
DTYPES = ("float32", "bfloat16", "float16")
# Weights that no hidden state depends on, so that a checkpoint may lack them.
UNUSED_WEIGHTS = ("pooler.", "masked_spec_embed")
# What decides, besides the weights, which features a folder gives.
SETTINGS_SUFFIXES = (".json", ".txt", ".model")
# Who adds safetensors weights to repositories of the Hub, and the title of the pull request.
CONVERSION_BOT = "SFconvertbot"
CONVERSION_TITLE = "Adding `safetensors` variant of this model"


class EncoderSource(NamedTuple):
    """Where an encoder is loaded from: a Hub id or a folder, a commit, a folder within, and how to reach the Hub."""

    name_or_path: str
    revision: str | None = None
    subfolder: str = ""
    token: str | bool | None = None
    cache_dir: str | None = None
    local_files_only: bool = False

    def arguments(self) -> dict[str, Any]:
        """What every `from_pretrained` gets besides the name. Code is never taken from the Hub."""
        return {**self.hub_arguments(), "trust_remote_code": False}

    def hub_arguments(self) -> dict[str, Any]:
        """What finding one file in it takes."""
        arguments = self._asdict()
        del arguments["name_or_path"]
        return arguments


def find_encoder(source: EncoderSource, modality: str) -> tuple[EncoderSource, PreTrainedConfig, str | None]:
    """
    The encoder's source pinned to what is there now, its config, and what its provenance calls the revision: the commit
    of a Hub repository, "sha256:..." over the files of a folder.

    Where the wanted revision has no safetensors weights (as `microsoft/wavlm-base-plus`), the pull request is taken in
    which the Hub's conversion bot adds them.

    Raises:
        ValueError: not a folder and not on the Hub, without a model, without safetensors, or of the wrong kind.
    """
    config = load_config(source, modality)
    if os.path.isdir(source.name_or_path):
        folder = Path(source.name_or_path, source.subfolder)
        if not any(folder.glob("*.safetensors")):
            raise ValueError(
                f"The {modality} encoder {folder} holds no .safetensors file: save the model with save_pretrained; "
                "pickled weights are never read."
            )
        revision = hash_of_folder(folder)
        return source._replace(revision=revision), config, revision
    pinned = source._replace(revision=find_commit(source))
    if not has_safetensors(pinned):
        try:
            pinned = pinned._replace(revision=find_conversion(pinned))
        except Exception as error:  # the network, the Hub and the bot fail in ways of their own
            raise ValueError(
                f"The {modality} encoder {source.name_or_path!r} has no safetensors weights at revision "
                f"{pinned.revision}, and no conversion of them was found: {error}"
            ) from error
    return pinned, load_config(pinned, modality), pinned.revision


def load_config(source: EncoderSource, modality: str) -> PreTrainedConfig:
    """The encoder's config, which says that it is of the right kind, or a ValueError."""
    name = source.name_or_path
    if not os.path.isdir(name):
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise ValueError(
                f"The {modality} encoder {name!r} is neither a folder here nor a name on the Hub."
            ) from error
    try:
        config = AutoConfig.from_pretrained(name, **source.arguments())
    except (OSError, ValueError) as error:
        where = (
            "this folder holds no model" if os.path.isdir(name) else "it is no folder here, and the Hub gave no model"
        )
        raise ValueError(f"The {modality} encoder {name!r} can't be loaded, {where}: {error}") from error
    is_speech = config.model_type in SPEECH_MODEL_TYPES
    if modality == "audio" and not is_speech:
        raise ValueError(
            f"The audio encoder {name!r} is a {config.model_type} model: it must be one of "
            f"{', '.join(SPEECH_MODEL_TYPES)}."
        )
    if modality == "text" and (is_speech or config.is_encoder_decoder or not hasattr(config, "vocab_size")):
        raise ValueError(f"The text encoder {name!r} is a {config.model_type} model: it must be an encoder like BERT.")
    return config


def find_commit(source: EncoderSource) -> str | None:
    """The commit that the revision of a Hub repository names, on the Hub or, without one, in the cache."""
    return extract_commit_hash(cached_file(source.name_or_path, CONFIG_NAME, **source.hub_arguments()), None)


def has_safetensors(source: EncoderSource) -> bool:
    """Whether a Hub repository has weights in safetensors, whole or in shards."""
    return any(
        has_file(
            source.name_or_path,
            name,
            revision=source.revision,
            token=source.token,
            cache_dir=source.cache_dir,
            local_files_only=source.local_files_only,
        )
        for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
    )


def find_conversion(source: EncoderSource) -> str:
    """
    The commit of the pull request in which the Hub's bot converts the weights of this very commit. Where there is none,
    the bot is asked for one, unless the environment says DISABLE_SAFETENSORS_CONVERSION, as in transformers.
    """
    if source.local_files_only:
        raise ValueError("with local_files_only the Hub is not asked for one.")
    api, name = HfApi(token=source.token), source.name_or_path

    def find() -> str | None:
        # By the bot alone: anyone can open a pull request of this title, with any weights.
        for request in api.get_repo_discussions(name, author=CONVERSION_BOT, discussion_type="pull_request"):
            if request.title == CONVERSION_TITLE and request.status == "open":
                commits = [commit.commit_id for commit in api.list_repo_commits(name, revision=request.git_reference)]
                if commits[1:2] == [source.revision]:
                    return commits[0]
        return None

    commit = find()
    if commit is None and not is_env_variable_true("DISABLE_SAFETENSORS_CONVERSION"):
        get_conversion_pr_reference(api, name, token=source.token)
        commit = find()
    if commit is None:
        raise ValueError(f"there is no open pull request {CONVERSION_TITLE!r} by {CONVERSION_BOT} on this revision.")
    return commit


def hash_of_folder(folder: Path) -> str:
    """ "sha256:..." over the names and contents of the files that make the features."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".safetensors", *SETTINGS_SUFFIXES):
            digest.update(path.name.encode() + b"\0")
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:32]}"


def resolve_layer(layer: int | Sequence[int], num_hidden_layers: int, modality: str) -> int | list[int]:
    """
    A layer, or several, counted from 0 = the input of the first one.

    Raises:
        ValueError: no layer, or one that the encoder does not have.
    """
    layers = [layer] if isinstance(layer, int) else list(layer)
    if not layers or not all(-num_hidden_layers - 1 <= k <= num_hidden_layers for k in layers):
        raise ValueError(
            f"{modality}_layer is {layer}: the encoder has the layers 0 (the input of the first one) to "
            f"{num_hidden_layers}, or -1 for the last one; a list means their mean."
        )
    layers = [k % (num_hidden_layers + 1) for k in layers]
    return layers[0] if isinstance(layer, int) else layers


def load_encoder(
    modality: str, source: EncoderSource, layer: int | Sequence[int], dtype: str, device: str | torch.device
) -> PretrainedEncoder:
    """
    A frozen encoder, loaded once in this process and shared by whoever asks for the same.

    Args:
        modality: "audio" or "text".
        source: where it is, as `find_encoder` gives it.
        layer: as `resolve_layer` gives it. Layers above it are not loaded.
        dtype: one of DTYPES.
        device: where it runs.

    Raises:
        ValueError: weights that can't be loaded, or that are not whole. Only safetensors are read.
    """
    with _lock:
        return _load_encoder(modality, source, layer if isinstance(layer, int) else tuple(layer), dtype, str(device))


_lock = threading.Lock()


@lru_cache(maxsize=8)  # the encoders of four processors; one that falls out is loaded again when it is used
def _load_encoder(
    modality: str, source: EncoderSource, layer: int | tuple[int, ...], dtype: str, device: str
) -> PretrainedEncoder:
    layers = [layer] if isinstance(layer, int) else list(layer)
    config = load_config(source, modality)
    if max(layers) < config.num_hidden_layers:
        config.num_hidden_layers = max(*layers, 1)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: config.num_hidden_layers]
        config.tie_last_hidden_states = False  # a norm behind all layers is no part of an inner one
    name = source.name_or_path
    try:
        check_weights(name, config, **source.hub_arguments())
        model, info = AutoModel.from_pretrained(
            name,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are an error below, which names them
            output_loading_info=True,
            **source.arguments(),
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"The weights of the {modality} encoder {name!r} can't be loaded: {error}") from error
    missing = sorted(key for key in info["missing_keys"] if not any(unused in key for unused in UNUSED_WEIGHTS))
    if missing or info["mismatched_keys"]:
        raise ValueError(
            f"The weights of the {modality} encoder {name!r} are not those of its config (missing: "
            f"{', '.join(missing) or 'none'}; of another shape: {info['mismatched_keys'] or 'none'})."
        )
    encoder = (SpeechEncoder if modality == "audio" else TextEncoder)(model, layers)
    return encoder.requires_grad_(False).eval().to(device)
