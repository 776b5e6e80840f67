"""Features of text are those of the encoder itself, and the same alone and in any batch."""

import pytest
import torch
import transformers
from stock_encoders import TEXT, TEXT_SIZES, difference, hidden_states_of, padded, text_model, token_ids
from transformers import AutoModel

from tacfn_hf.model.exact_text_encoders_tacfn import EXACT_WITH_PADDING, TextEncoder


@torch.no_grad()
@pytest.mark.parametrize("name", [*EXACT_WITH_PADDING, "big_bird", "convbert", "fnet", "mobilebert"])
def test_text_alone_is_the_encoder_itself_and_a_batch_changes_nothing(name):
    stock = text_model(name)
    texts = token_ids()
    alone = [hidden_states_of(stock, torch.tensor(ids)) for ids in texts]
    for layer in range(stock.config.num_hidden_layers + 1):
        encoder = TextEncoder(stock, [layer])
        together = encoder.encode(texts)
        reverse = encoder.encode(texts[::-1])[::-1]
        for hidden_states, h, again, ids in zip(alone, together, reverse, texts):
            expected = hidden_states[layer][0]
            assert difference(h, expected) < 1e-5
            assert difference(again, expected) < 1e-5
            assert difference(encoder.encode([ids])[0], expected) < 1e-5


@torch.no_grad()
def test_padded_texts_may_hold_any_token_behind_their_end():
    encoder = TextEncoder(text_model("bert"), [3])
    texts = token_ids()
    batches = [padded([torch.tensor(ids) for ids in texts], 40, padding) for padding in (0, 50)]
    for row, other, ids in zip(*(encoder(*batch)[0] for batch in batches), texts):
        assert difference(row[: len(ids)], other[: len(ids)]) < 1e-5


@pytest.mark.parametrize(("name", "limit"), [("bert", 50), ("roberta", 49), ("distilbert", 50), ("deberta-v2", 50)])
def test_the_longest_text_fits_and_no_longer_one(name, limit):
    config = transformers.AutoConfig.for_model(
        name, **{**TEXT_SIZES, "pad_token_id": 0, "max_position_embeddings": 50, **TEXT.get(name, {})}
    )
    encoder = TextEncoder(AutoModel.from_config(config).eval(), [1])
    assert encoder.max_tokens == limit
    assert len(encoder.encode([[7] * limit])[0]) == limit
    with pytest.raises((IndexError, RuntimeError)):
        encoder.encode([[7] * (limit + 1)])
