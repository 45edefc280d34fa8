"""A transformer layer, pre-norm or post-norm: the position transformer stacks it, the Universal one repeats it.

B batch   T positions   Tk key positions   H heads   D model width

SPDX-License-Identifier: Apache-2.0
"""

from typing import Any

from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_types import parse_attention_type
from .feed_forward import FeedForward
from .position_encoding import PositionEncoding, Positions


class TransformerLayer(GradientCheckpointingLayer):
    """Attention and feed-forward, each with a residual connection.

    Norm before the sub-layer: Xiong et al. 2020, https://arxiv.org/abs/2002.04745; after the sum: Vaswani et al. 2017,
    https://arxiv.org/abs/1706.03762.

    Args:
        config: the model's configuration.
        index: which of the layers with weights of their own this is; the attention type and the normalizer of that
            layer are built.
    """

    def __init__(self, config, index: int = 0):
        super().__init__()
        self.pre_norm = config.norm_position == "pre"
        attention, arguments = parse_attention_type(config.attention_type_per_layer()[index])
        self.attention: Any = attention(config, config.attention_normalizer_per_layer()[index], **arguments)
        self.attention_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self, states: Tensor, mask, bias: Tensor | None, at: Positions, encoding: PositionEncoding, **kwargs
    ) -> Tensor:
        """Maps states `[B, T, D]` to states `[B, T, D]`; the arguments are those of `Attention`.

        Tensors that need a gradient are positional, since re-entrant checkpointing sees no others.
        """
        if self.pre_norm:
            attended, _ = self.attention(self.attention_norm(states), mask, bias, at, encoding, **kwargs)
            states = states + self.dropout(attended)
            return states + self.dropout(self.feed_forward(self.feed_forward_norm(states)))
        attended, _ = self.attention(states, mask, bias, at, encoding, **kwargs)
        states = self.attention_norm(states + self.dropout(attended))
        return self.feed_forward_norm(states + self.dropout(self.feed_forward(states)))
