"""Weights are safetensors files in their own repository; other files that the repository names are refused."""

import json
import os
import re
from pathlib import Path

from transformers import PreTrainedConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME
from transformers.utils.hub import cached_file


ADAPTER = "adapter_config.json"  # with peft installed, transformers would load the base that it names


def check_weights(
    name: str | os.PathLike, config: PreTrainedConfig | None = None, variant: str | None = None, **where
) -> None:
    """
    Checks the names of weight files in a config and in an index of shards.

    `use_safetensors=True` alone is not enough: both can name a pickle, or a file in another folder.

    Args:
        name: a Hub id or a folder.
        config: the config, if it was read already.
        variant: as in `from_pretrained`.
        where: `revision`, `subfolder`, `token`, `cache_dir` and the like, of `from_pretrained`.

    Raises:
        ValueError: a name is not that of a safetensors file in the same folder, or there are adapters.
    """
    for place in {"", where.get("subfolder", "")}:
        if cached_file(name, ADAPTER, **{**where, "subfolder": place}, _raise_exceptions_for_missing_entries=False):
            raise ValueError(
                f"{name} holds {ADAPTER}, which names other weights for its adapters: merge them into the model, and "
                "save that."
            )
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
