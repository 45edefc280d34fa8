"""Learned biases of the scores that are no kernel of the distance: buckets of distances, and FIRE's network.

Tq query positions   Tk key positions   H heads

SPDX-License-Identifier: Apache-2.0
"""

import math

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .position_encoding import Pairs, PositionEncoding, all_rows


class T5(PositionEncoding):
    """A learned bias per head and bucket of distances.

    Half of a direction's buckets hold one distance each, the others grow logarithmically up to `max_distance`; beyond,
    the last one. Causal models spend all buckets on the past, bidirectional ones half on each side.

    Raffel et al. 2020, https://arxiv.org/abs/1910.10683.

    Args:
        buckets: how many there are, B.
        max_distance: from where on all distances share the last bucket, N.
    """

    scalar = True

    def __init__(self, config, buckets: int = 32, max_distance: int = 128):
        super().__init__(config)
        self.is_causal = config.is_causal
        self.buckets, self.heads = buckets, config.num_attention_heads
        self.side = buckets if config.is_causal else buckets // 2  # buckets of one direction
        self.max_distance = max_distance
        self.table = nn.Embedding(self.buckets, self.heads)

    @classmethod
    def check(cls, config, buckets=32, max_distance=128, **arguments):
        """Each direction needs single and logarithmic buckets, and distances for the latter."""
        super().check(config, **arguments)
        side = buckets if config.is_causal else buckets // 2
        if side < 2 or max_distance <= side // 2:
            raise ValueError(f"T5 cannot lay {buckets} buckets over distances up to {max_distance}.")

    def bucket(self, distances: Tensor) -> Tensor:
        """Bucket of each signed distance (key to query), of the same shape."""
        distances = distances.clamp(min=0) if self.is_causal else distances
        single = self.side // 2
        # In float32 in models of float64 too: a distance has the same bucket in every precision.
        size = distances.abs()
        growth = torch.log(size.clamp(min=1) / single) / math.log(self.max_distance / single)
        logarithmic = (single + (growth * (self.side - single)).long()).clamp(max=self.side - 1)
        return torch.where(size < single, size, logarithmic) + self.side * (distances < 0)

    def pair_bias(self, pairs):
        """The bucket's bias; it is not scaled by 1 / sqrt(K)."""
        entries = self.entries(pairs)
        table = all_rows(self.table, self.buckets, entries.device).flatten()
        return table.index_select(0, entries.flatten()).view(entries.shape)  # on a CPU twice as fast as an index

    def scalar_bias(self, device):
        """The same of single pairs; FlexAttention inlines nothing but plain indices."""
        table = all_rows(self.table, self.buckets, device).flatten()
        return lambda pairs: table[self.entries(pairs)]

    def entries(self, pairs: Pairs) -> Tensor:
        """Index of the bias of each pair in the flattened table, in the shape of the pairs."""
        return self.bucket(pairs.distances()) * self.heads + pairs.heads


class FIRE(PositionEncoding):
    """A small network of the distance, relative to the query's position.

    With psi(x) = log(|c| x + 1), its input is psi(i - j) / psi(max(i, threshold)). The paper is causal; here the
    denominator takes max(i, j, threshold), which is the same under a causal mask, and the numerator keeps the sign of
    i - j, so that a bidirectional model tells left from right.

    Li et al. 2024, https://arxiv.org/abs/2310.04418.

    Args:
        width: hidden units of the network.
        threshold: what the denominator's position is at least, to begin with; it is trained, L.
    """

    relative = False
    distances_only = False

    def __init__(self, config, width: int = 32, threshold: int = 512):
        super().__init__(config)
        self.network = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, config.num_attention_heads))
        self.scale = nn.Parameter(torch.empty(()))  # c
        self.threshold_factor = nn.Parameter(torch.empty(()))
        self.threshold = threshold

    @torch.no_grad()
    def initialise(self):
        """c begins at 0.1 and the threshold at the one configured."""
        init.constant_(self.scale, 0.1)
        init.ones_(self.threshold_factor)

    def psi(self, distances: Tensor) -> Tensor:
        """log(|c| x + 1)."""
        return torch.log(self.scale.abs() * distances + 1)

    def pair_bias(self, pairs):
        """The network's output for the pair's head."""
        distances = pairs.distances().to(pairs.dtype)
        farthest = torch.maximum(pairs.query_ids, pairs.key_ids)
        farthest = torch.maximum(farthest, (self.threshold_factor * self.threshold).abs())
        relative = distances.sign() * self.psi(distances.abs()) / self.psi(farthest).clamp(min=1e-6)
        return pairs.of_heads(self.network(relative[..., None].to(self.scale.dtype)))
