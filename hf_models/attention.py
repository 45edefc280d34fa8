"""One attention layer; it knows no position encoding by name.

B batch   T positions   Tq query positions   Tk key positions   H heads   K head width   D model width

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .position_encodings import PositionEncoding


def eager_attention_forward(
    module, query, key, value, attention_mask, scaling, dropout=0.0, position_bias=None, **kwargs
) -> tuple[Tensor, Tensor]:
    """Attention as the formula says it: softmax(q k / sqrt(K) + bias + mask) v.

    Args:
        module: the attention layer; only its training flag is read.
        query: `[B, H, Tq, K]`.
        key: `[B, H, Tk, K]`.
        value: `[B, H, Tk, K]`.
        attention_mask: additive, 0 where visible and very negative elsewhere `[B, 1, Tq, Tk]`, or None.
        scaling: 1 / sqrt(K).
        dropout: probability with which a weight is dropped.
        position_bias: `[B, H, Tq, Tk]`, or None.
        kwargs: what other implementations take.

    Returns:
        Outputs `[B, Tq, H, K]` and weights `[B, H, Tq, Tk]`.
    """
    scores = torch.einsum("bhqk,bhsk->bhqs", query, key) * scaling
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, dropout, module.training)
    return torch.einsum("bhqs,bhsk->bqhk", weights, value), weights


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762)."""

    num_key_value_groups = 1  # read by transformers' attention functions: every head has its own keys

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.is_causal = config.is_causal
        self.head_dim = config.head_dim
        self.scaling = config.head_dim**-0.5
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self,
        states: Tensor,
        mask,
        bias: Tensor | None,
        ids: Tensor,
        encoding: PositionEncoding,
        past_key_values=None,
        slot: int = 0,
        **kwargs,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from the new tokens to all.

        Args:
            states: `[B, T, D]`.
            mask: as transformers' mask functions make it for the implementation in use.
            bias: `[B, H, T, Tk]`, or None.
            ids: position ids of the new tokens `[B, T]`.
            encoding: turns queries and keys.
            past_key_values: cache that takes the new keys and values, or None.
            slot: the cache layer to use.
            kwargs: passed to the attention function.

        Returns:
            Outputs `[B, T, D]`, and the weights `[B, H, T, Tk]` where the implementation gives them.
        """
        batch, length, _ = states.shape
        qkv = self.qkv_proj(states).view(batch, length, 3, -1, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [B, H, T, K]
        query, key = encoding.rotate(query, key, ids)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, slot)
        if bias is not None:
            # FlexAttention indexes the batch dimension, so it must have its real size.
            bias = bias.to(query.dtype).expand(batch, -1, -1, -1)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attention_dropout if self.training else 0.0
        output, weights = attend(
            self,
            query,
            key,
            value,
            mask,
            scaling=self.scaling,
            dropout=dropout,
            is_causal=self.is_causal,
            position_bias=bias,
            **kwargs,
        )
        return self.o_proj(output.reshape(batch, length, -1)), weights
