"""The position-wise feed-forward layer.

SPDX-License-Identifier: Apache-2.0
"""

from torch import Tensor, nn

from .transformers_internals import ACT2FN


class FeedForward(nn.Module):
    """Two linear maps with an activation between them (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762)."""

    def __init__(self, config):
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """Maps each position `[B, T, D]` on its own."""
        return self.down_proj(self.activation(self.up_proj(states)))
