"""Pretrained text encoders whose features do not depend on what a text is batched with."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from .cpu_kernels_tacfn import cpu_kernels
from .pretrained_encoders_tacfn import PretrainedEncoder, batches_by_length, in_evaluation, padding_mask


# Padded size of one batch, in tokens.
BATCH_TOKENS = 4096

# Text encoders whose attention mask keeps all padding out. Others mix tokens outside of their attention, as ConvBERT,
# FNet and MobileBERT do. Their batches hold texts of one length.
EXACT_WITH_PADDING = (
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "modernbert",
    "mpnet",
    "rembert",
    "roberta",
    "xlm-roberta",
)


class TextEncoder(PretrainedEncoder):
    """
    A BERT-like encoder. Features are the same alone and in any batch.

    Attributes:
        max_tokens: the number of tokens that its position embeddings allow; None: no limit.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]):
        super().__init__(model, layers)
        limit = getattr(model.config, "max_position_embeddings", None) or 0
        for name, module in model.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                limit -= module.padding_idx + 1  # RoBERTa and its relatives count positions from there
        self.max_tokens = limit if limit > 0 else None

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            input_ids: int64 `[B, L]`.
            lengths: int64 `[B]`, the number of tokens of each text.

        Returns:
            float32 features `[B, L, d]`, and the lengths. Features behind them are meaningless.
        """
        attention_mask = (~padding_mask(lengths, input_ids.shape[1])).long()
        output = self.model(input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return self.select(output.hidden_states), lengths

    def encode(self, token_ids: Sequence[Sequence[int]], use_onednn: bool | None = None) -> list[torch.Tensor]:
        """
        Features `[L_i, d]`, float32 on the CPU, of each sequence of token ids, in batches of similar length.

        `use_onednn`: see `cpu_kernels`.
        """
        features: list[torch.Tensor] = [torch.empty(0)] * len(token_ids)
        pad = self.model.config.pad_token_id or 0
        padding = self.model.config.model_type in EXACT_WITH_PADDING
        with in_evaluation(self), cpu_kernels(use_onednn, self.device):
            for batch in batches_by_length([len(ids) for ids in token_ids], BATCH_TOKENS, padding):
                lengths = torch.tensor([len(token_ids[i]) for i in batch])
                padded = nn.utils.rnn.pad_sequence(
                    [torch.tensor(token_ids[i]) for i in batch], batch_first=True, padding_value=pad
                )
                h, _ = self(padded.to(self.device), lengths.to(self.device))
                for i, row, count in zip(batch, h.cpu(), lengths.tolist()):
                    features[i] = row[:count].clone()
        return features
