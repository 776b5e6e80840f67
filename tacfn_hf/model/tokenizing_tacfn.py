"""From texts to token ids, by a tokenizer that threads share."""

import threading
from collections.abc import Sequence
from typing import Any

from .utterances_tacfn import is_blank


# Held during every call of a tokenizer: truncation is a state of the tokenizer, which threads share.
_tokenizing = threading.Lock()


def tokenized(
    tokenizer: Any,
    texts: Sequence[str],
    add_special_tokens: bool,
    limit: int | None,
    truncation: bool = False,
    names: Sequence[str] | None = None,
) -> list[list[int]]:
    """
    The token ids of texts.

    Args:
        texts: strings that are not blank.
        limit: the largest number of tokens; None: there is no limit.
        truncation: cut texts that have more tokens. Without it they are an error.
        names: what messages call each text.

    Raises:
        TypeError: a text is not a string.
        ValueError: a text is empty or has too many tokens.
    """
    names = [f"text {i}" for i in range(len(texts))] if names is None else names
    token_ids = []
    for name, text in zip(names, texts):
        if not isinstance(text, str):
            raise TypeError(f"{name} is a {type(text).__name__}: it must be a string, or None where it is missing.")
        with _tokenizing:
            ids = tokenizer(
                text,
                add_special_tokens=add_special_tokens,
                truncation=truncation,
                max_length=limit if truncation else None,
                verbose=False,
            )["input_ids"]
        if is_blank(text) or not ids:
            raise ValueError(f"{name} is empty ({text!r}): give None where the text is missing.")
        if limit is not None and len(ids) > limit:
            raise ValueError(
                f"{name} has {len(ids)} tokens, the text encoder takes {limit}: shorten it, or cut it with "
                "truncation=True."
            )
        token_ids.append(ids)
    return token_ids
