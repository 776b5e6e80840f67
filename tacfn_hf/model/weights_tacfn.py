"""Weights are read from safetensors files of their own repository, and from nothing that a file in it names besides."""

import json
import os
import re
from pathlib import Path

from transformers import PreTrainedConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME
from transformers.utils.hub import cached_file


def check_weights(
    name: str | os.PathLike, config: PreTrainedConfig | None = None, variant: str | None = None, **where
) -> None:
    """
    `use_safetensors=True` alone lets a config or an index of shards name a pickle, or a file in another folder.

    Args:
        name: a Hub id or a folder.
        config: where it is known.
        variant: as in `from_pretrained`.
        where: `revision`, `subfolder`, `token`, `cache_dir` and the like, of `from_pretrained`.

    Raises:
        ValueError: weights that are no safetensors files beside the index.
    """
    named = [getattr(config, "transformers_weights", None)]
    index_name = SAFE_WEIGHTS_INDEX_NAME
    if variant is not None:
        index_name = index_name.removesuffix("json") + f"{variant}.json"
    index = cached_file(name, index_name, _raise_exceptions_for_missing_entries=False, **where)
    if index is not None:
        named += json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()
    for file in named:
        if file is not None and not re.fullmatch(r"[\w.-]+\.safetensors", str(file)):
            raise ValueError(
                f"{name} names {file!r} as its weights: they must be .safetensors files in its own folder; pickled "
                "weights are never read."
            )
