"""What made the features of a modality: written down with them, and compared wherever they meet a model."""

from typing import Any


def check_provenance(made: dict[str, Any] | None, wanted: dict[str, Any] | None, source: str, target: str) -> None:
    """
    Raises a ValueError that names both where the features of `source` were made by another encoder, revision, layer or
    dtype than those that `target` was trained on. None says nothing, as for features that were imported.
    """
    if made is not None and wanted is not None and identity(made) != identity(wanted):
        raise ValueError(
            f"{source} has features of {describe_provenance(made)}, but {target} was trained on features of "
            f"{describe_provenance(wanted)}: on others its answers mean nothing."
        )


def identity(provenance: dict[str, Any]) -> dict[str, Any]:
    """What has to be equal. A folder's name may differ from machine to machine, the hash of its files may not."""
    by_hash = str(provenance.get("revision")).startswith("sha256:")
    return {name: value for name, value in provenance.items() if not (by_hash and name == "encoder")}


def describe_provenance(provenance: dict[str, Any]) -> str:
    """`microsoft/wavlm-base-plus (revision 4c66d4…, layer 12, dtype float32)`"""
    settings = ", ".join(f"{name} {value}" for name, value in provenance.items() if name != "encoder")
    return f"{provenance.get('encoder')} ({settings})"
