"""The heads: from what was fused to the logits."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from .configuration_tacfn import TacfnConfig


class ClassificationHead(nn.Module):
    """`[B, d] -> [B, num_labels]`: ReLU, Dropout, Linear; of `head="mlp"` a LayerNorm and a Linear in front."""

    def __init__(self, config: TacfnConfig):
        super().__init__()
        self.norm: nn.Module = nn.Identity()
        self.dense: nn.Module = nn.Identity()
        if config.head == "mlp":
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Logits `[B, num_labels]` of fused vectors `[B, d]`."""
        return self.out_proj(self.dropout(F.relu(self.dense(self.norm(h)))))


class QueryHead(nn.Module):
    """
    A learned query of each label attends to the fused sequence, and what it finds gives the label's logit.

    With the positions `h_i [d]` of a fused sequence, in each of the attention heads: `a_ci = softmax_i(q_c . K h_i /
    sqrt(d_head))` over the valid positions, `v_c = sum_i a_ci V h_i`. The heads' results side by side are `v_c [d]`,
    and the logit of label c is `w_c . Dropout(ReLU(v_c)) + b_c`. Queries start near 0: each label starts with the mean
    of all positions.
    """

    def __init__(self, config: TacfnConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.queries = nn.Parameter(torch.empty(config.num_labels, config.hidden_size))
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def init_queries(self, std: float) -> None:
        """Starts the queries, which are no module that transformers would start."""
        init.normal_(self.queries, mean=0.0, std=std)

    def forward(self, h: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            h: a fused sequence `[B, L, d]`.
            mask: boolean `[B, L]`, True = PAD; each sample has a position that is not.

        Returns:
            Logits `[B, num_labels]`, and the attention of each label to each position, `[B, num_labels, L]`: the mean
            of the heads' weights, which sums to 1.
        """
        key = self.k_proj(h).unflatten(-1, (self.num_heads, -1))
        value = self.v_proj(h).unflatten(-1, (self.num_heads, -1))
        queries = self.queries.unflatten(-1, (self.num_heads, -1))
        scores = torch.einsum("chd,blhd->bhcl", queries, key) / key.shape[-1] ** 0.5
        scores = scores.masked_fill(mask[:, None, None, :], torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1, dtype=torch.float32)
        found = torch.einsum("bhcl,blhd->bchd", weights.to(value.dtype), value).flatten(2)
        logits = (self.dropout(F.relu(found)) * self.out_proj.weight).sum(dim=-1) + self.out_proj.bias
        return logits, weights.mean(dim=1)
