"""A transformer layer that also looks at a source: the layer of decoders.

B batch   T target positions   S source positions   H heads   K head width   D model width
R packed rows   n most running in a row

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn

from .halting_packing import PackedContext, Packing
from .layer_transformer import TransformerLayer
from .precision import at_least_float32


class CrossAttention(nn.Module):
    """Multi-head attention from the target to the source, blind to positions: what it knows of them is in the states.

    Where the model's attention is FlexAttention, this one is PyTorch's fused attention all the same: it has no bias
    and no mask of pairs.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.kv_proj = nn.Linear(config.hidden_size, 2 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def offer(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, H, S, K]` of the encoder's states `[B, S, D]`."""
        key, value = self.kv_proj(states).unflatten(-1, (2, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        return key, value

    def forward(self, states: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Outputs `[B, T, D]`, and the weights `[B, H, T, S]` under eager attention.

        Args:
            states: of the target `[B, T, D]`.
            key: of the source `[B, H, S, K]`.
            value: of the source `[B, H, S, K]`.
            mask: which source positions are no padding `[B, 1, 1, S]`, or None where all are real.
        """
        query = self.q_proj(states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        dropout = self.config.attention_dropout if self.training else 0.0
        weights = None
        if self.config._attn_implementation == "eager":
            scores = at_least_float32(torch.einsum("bhtk,bhsk->bhts", query, key)) * self.head_dim**-0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
            weights = nn.functional.dropout(scores.softmax(-1).to(value.dtype), dropout)
            mixed = torch.einsum("bhts,bhsk->bhtk", weights, value)
        else:
            mixed = nn.functional.scaled_dot_product_attention(query, key, value, mask, dropout)
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), weights


class DecoderLayer(TransformerLayer):
    """Attention to the target so far, attention to the source, and feed-forward, each with a residual connection.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    def __init__(self, config, index: int = 0):
        super().__init__(config, index)
        self.cross_attention = CrossAttention(config)
        self.cross_attention_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(
        self, states: Tensor, mask, bias, positions, encoding, key: Tensor, value: Tensor, source_mask, *kept, **kwargs
    ):
        """As in `TransformerLayer`, with what `CrossAttention` takes after the encoding; `kept` follows."""

        def look(states):
            attended, _ = self.cross_attention(self.entering(states), key, value, source_mask)
            return self.add(states, attended)

        return super().forward(states, mask, bias, positions, encoding, *kept, look=look, **kwargs)

    def forward_packed(
        self,
        states: Tensor,
        packed: PackedContext,
        encoding,
        packing: Packing,
        key: Tensor,
        value: Tensor,
        source_mask: Tensor | None,
        *kept,
        **kwargs,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As in `TransformerLayer`; the running positions look at the source of their row."""

        def look(states):
            mask = None if source_mask is None else packing.of_rows(source_mask)
            key_value = packing.offered_in_rows(key), packing.offered_in_rows(value)
            attended, _ = self.cross_attention(packing.pack(self.entering(states)), *key_value, mask)  # [R, n, D]
            return self.add(states, packing.unpack(attended))

        return super().forward_packed(states, packed, encoding, packing, *kept, look=look, **kwargs)

    def entering(self, states: Tensor) -> Tensor:
        """What the attention to the source reads of states `[..., D]`."""
        return self.cross_attention_norm(states) if self.pre_norm else states

    def add(self, states: Tensor, attended: Tensor) -> Tensor:
        """States with what attention to the source gives `[..., D]`."""
        states = states + self.dropout(attended)
        return states if self.pre_norm else self.cross_attention_norm(states)
