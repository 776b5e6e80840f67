"""What timelines and transcripts were made of: the state of a model, and the content of a recording."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..model.decoding_tacfn import open_audio
from ..model.encoder_sources_tacfn import ENCODER_FOLDERS, hash_of_folder
from ..model.provenance_tacfn import hash_of_weights


def model_state(model: PreTrainedModel) -> str:
    """
    A model's name, and what changes with its weights or settings: of a folder the hash of these files, also of the
    encoders in it; of the Hub the commit; else the hash of the weights.
    """
    name = model.name_or_path
    commit = getattr(model.config, "_commit_hash", None)
    if os.path.isdir(name) and any(Path(name).glob("*.safetensors")):
        folders = [Path(name), *(Path(name, encoder) for encoder in ENCODER_FOLDERS.values())]
        state = " ".join(hash_of_folder(folder) for folder in folders if folder.is_dir())
    else:
        state = commit or hash_of_weights(model)
    return f"{name} ({state})"


def content_of(sound: Any, name: str) -> str:
    """
    The hash, "sha256:...", of the bytes of a file.

    Args:
        sound: a path, the bytes, or a `datasets` struct of one of them.
        name: what messages call the file.

    Raises:
        AudioError, TypeError: as `open_audio`.
    """
    with open_audio(bytes_or_path(sound), name) as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()[:32]}"


def bytes_or_path(sound: Any) -> Any:
    """The bytes of a `datasets` struct, or its path where it has none; anything else as it is."""
    if isinstance(sound, Mapping):
        return sound.get("path") if sound.get("bytes") is None else sound.get("bytes")
    return sound


def first_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first setting that is not as before, for a sentence: "language en, not de"; None where all are."""
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            return f"{name} {before.get(name)}, not {now.get(name)}"
    return None
