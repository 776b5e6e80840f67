"""The provenance of features, which encoder made them how: compared wherever features meet a model."""

import hashlib
from typing import Any

import torch
from torch import nn


def check_provenance(made: dict[str, Any] | None, wanted: dict[str, Any] | None, source: str, target: str) -> None:
    """
    Checks that a model gets features of the kind that it was trained on.

    Args:
        made: the provenance of the features: encoder, revision, layer, dtype. None: unknown, as for imported features.
        wanted: the provenance of the features in training. None: unknown.
        source: what messages call the features.
        target: what messages call the model.

    Raises:
        ValueError: both are known and differ.
    """
    if made is not None and wanted is not None and identity(made) != identity(wanted):
        raise ValueError(
            f"{source} has features of {describe_provenance(made)}, but {target} was trained on features of "
            f"{describe_provenance(wanted)}: on others its answers mean nothing."
        )


def identity(provenance: dict[str, Any]) -> dict[str, Any]:
    """The part of a provenance that has to be equal. A folder may have another name on another machine."""
    by_hash = str(provenance.get("revision")).startswith("sha256:")
    return {name: value for name, value in provenance.items() if not (by_hash and name == "encoder")}


def settings_of(provenance: dict[str, Any]) -> dict[str, Any]:
    """The part of a provenance that encoders keep when they are tuned."""
    lost = ("encoder", "revision", "dtype", "in_model", "tuned_on")
    return {name: value for name, value in provenance.items() if name not in lost}


def hash_of_weights(module: nn.Module) -> str:
    """The hash, "sha256:...", of the names and values of all weights of a module."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + b"\0")
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return f"sha256:{digest.hexdigest()[:32]}"


def describe_provenance(provenance: dict[str, Any]) -> str:
    """`microsoft/wavlm-base-plus (revision 4c66d4…, layer 12, dtype float32)`"""
    settings = ", ".join(f"{name} {value}" for name, value in provenance.items() if name != "encoder")
    return f"{provenance.get('encoder')} ({settings})"
