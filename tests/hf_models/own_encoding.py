"""A user's own position encoding, as the manual shows it: a file that Longreach does not know."""

import torch
from torch import nn
from transformers import initialization as init

from hf_models.position_encoding import PositionEncoding


class Recency(PositionEncoding):
    """Each head prefers recent keys, with a learned strength."""

    def __init__(self, config, start: float = 0.5):
        super().__init__(config)
        self.start = start
        self.power = nn.Parameter(torch.empty(config.num_attention_heads))

    @torch.no_grad()
    def initialise(self):
        """Start with the same strength in all heads."""
        init.constant_(self.power, self.start)

    def pair_bias(self, pairs):
        """Return the bias of each pair: minus the strength times log(1 + distance)."""
        return -self.power[pairs.heads] * torch.log1p(pairs.distances().abs().float())
