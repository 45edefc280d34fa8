"""Encodings whose part of a score depends on what the tokens say: relative vectors, counted positions, a network.

B batch   Tq query positions   Tk key positions   H heads   K head width   D model width

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .position_bias_distance import KERPLE, ALiBi
from .position_bias_learned import FIRE
from .position_encoding import PositionEncoding, Positions, all_rows
from .precision import at_least_float32
from .registry import parse_entry


class Shaw(PositionEncoding):
    """A learned vector per distance, added to the key; distances beyond `max_distance` share the last one.

    The table is shared by the heads; a bidirectional model has vectors for both directions.

    Shaw et al. 2018, https://arxiv.org/abs/1803.02155, without the vectors that are added to the values.

    Args:
        max_distance: the greatest distance with a vector of its own, n.
    """

    reads_width = True

    def __init__(self, config, max_distance: int = 16):
        super().__init__(config)
        self.max_distance = max_distance
        self.past_only = config.is_causal
        self.count = (1 if self.past_only else 2) * max_distance + 1  # vectors of a table, R
        self.keys = self.table(config)

    @classmethod
    def check(cls, config, max_distance=16, **arguments):
        """There is a distance to learn."""
        super().check(config, **arguments)
        if max_distance < 1:
            raise ValueError(f"{cls.__name__} needs a max_distance of at least 1, not {max_distance}.")

    def table(self, config) -> nn.Embedding:
        """A vector per clipped distance."""
        return nn.Embedding(self.count, config.head_dim)

    def rows(self, positions: Positions) -> Tensor:
        """Row of the table for each pair `[B, 1, Tq, Tk]`."""
        farthest_future = 0 if self.past_only else self.max_distance
        return positions.distances().clamp(-farthest_future, self.max_distance) + farthest_future

    def bias(self, query, key, positions):
        """The product of the query with the distance's vector, scaled like that with the key."""
        keys = all_rows(self.keys, self.count, query.device).to(query.dtype)
        products = torch.einsum("bhqk,rk->bhqr", query, keys) * positions.scaling
        rows = self.rows(positions)
        return products.gather(-1, rows.expand(*products.shape[:3], rows.shape[-1]))


class ShawValues(Shaw):
    """Shaw's encoding in full: a learned vector per distance for the keys, another for the values.

    Shaw et al. 2018, https://arxiv.org/abs/1803.02155.
    """

    eager_only = True

    def __init__(self, config, max_distance: int = 16):
        super().__init__(config, max_distance)
        self.added_values = self.table(config)

    def values(self, weights, positions):
        """The mean of the distances' vectors under the weights."""
        weights = at_least_float32(weights)
        per_row = weights.new_zeros(*weights.shape[:3], self.count)
        per_row = per_row.scatter_add(-1, self.rows(positions).expand_as(weights), weights)
        added_values = all_rows(self.added_values, self.count, weights.device).to(per_row.dtype)
        return torch.einsum("bhqr,rk->bhqk", per_row, added_values)


class TransformerXL(PositionEncoding):
    """A sinusoid of the signed distance, projected, as a second key; each head prefers some keys and some distances.

    The score is ((q + u) k + (q + v) W R(i - j)) / sqrt(K). R is never made for each pair: the sine and cosine of a
    difference are products of those of i and of j.

    Dai et al. 2019, https://arxiv.org/abs/1901.02860.
    """

    reads_width = True
    base = 10000.0

    def __init__(self, config):
        super().__init__(config)
        self.key_preference = nn.Parameter(torch.empty(config.num_attention_heads, config.head_dim))  # u
        self.distance_preference = nn.Parameter(torch.empty(config.num_attention_heads, config.head_dim))  # v
        self.projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)  # W

    @classmethod
    def check(cls, config, **arguments):
        """Sines and cosines come in pairs."""
        super().check(config, **arguments)
        if config.hidden_size % 2:
            raise ValueError(f"{cls.__name__} needs an even hidden_size, not {config.hidden_size}.")

    @torch.no_grad()
    def initialise(self):
        """Preferences begin small."""
        init.normal_(self.key_preference, std=0.02)
        init.normal_(self.distance_preference, std=0.02)

    def bias(self, query, key, positions):
        """What the query's own terms leave of the score: all but q k / sqrt(K)."""
        with torch.autocast(query.device.type, enabled=False):  # angles and what they multiply stay exact
            query, key = at_least_float32(query), at_least_float32(key)
            liked = torch.einsum("hk,bhsk->bhs", self.key_preference.to(key.dtype), key)[:, :, None]
            asked = query + self.distance_preference.to(query.dtype)[:, None]
            sine, cosine = torch.einsum(
                "bhqk,fchk->cbhqf", asked, self.weight_by_frequency().to(query.dtype)
            )  # [B, H, Tq, D / 2]
            return (liked + self.of_distances(sine, cosine, positions)) * positions.scaling

    def weight_by_frequency(self) -> Tensor:
        """W by frequency, by sine or cosine, and by head `[D / 2, 2, H, K]`."""
        heads, width = self.key_preference.shape
        if is_plain(self.projection):  # calling it costs D ** 3 in every layer
            rows = self.projection.weight.mT
        else:  # what it makes of the basis, so that adapters, hooks and quantised maps take part
            rows = self.projection(torch.eye(heads * width).to(self.key_preference))
        return rows.reshape(-1, 2, heads, width)  # interleaved: sine, cosine

    def of_distances(self, sine: Tensor, cosine: Tensor, positions: Positions) -> Tensor:
        """Sum over frequencies w of sine * sin(w (i - j)) + cosine * cos(w (i - j)) `[B, H, Tq, Tk]`."""
        frequencies = torch.arange(0, 2 * sine.shape[-1], 2, dtype=sine.dtype, device=sine.device)
        frequencies = self.base ** (-frequencies / (2 * sine.shape[-1]))
        if positions.randomized_distances is not None:
            return self.of_drawn_distances(
                sine, cosine, positions.randomized_distances, positions.query_ids, positions.key_ids, frequencies
            )
        # Ids are counted from the last query, since sines of small numbers are exact.
        last = positions.query_ids[:, -1:]
        angles = (positions.query_ids - last)[:, None, :, None] * frequencies  # [B, 1, Tq, D / 2]
        others = (positions.key_ids - last)[:, None, :, None] * frequencies  # [B, 1, Tk, D / 2]
        with_cosines = sine * angles.sin() + cosine * angles.cos()
        with_sines = cosine * angles.sin() - sine * angles.cos()
        return with_cosines @ others.cos().mT + with_sines @ others.sin().mT

    @staticmethod
    def of_drawn_distances(sine, cosine, randomized_distances, query_ids, key_ids, frequencies) -> Tensor:
        """The same over drawn distances, no functions of i and j: each row's few are tabled and looked up."""
        sizes = nn.functional.pad(randomized_distances[:, 1:], (1, 0))  # distance 0 counts as 0
        angles = sizes[:, None, :, None] * frequencies  # [B, 1, S, D / 2]
        distances = (query_ids[:, None, :, None] - key_ids[:, None, None, :]).expand(*sine.shape[:2], -1, -1)
        index = distances.abs().clamp(max=sizes.shape[1] - 1)
        odd, even = (sine @ angles.sin().mT).gather(-1, index), (cosine @ angles.cos().mT).gather(-1, index)
        return odd * distances.sign() + even


def is_plain(linear: nn.Module) -> bool:
    """Whether a linear map is its weight and nothing else: no adapter, no hook, no other kind of tensor."""
    hooks = (linear._forward_hooks, linear._forward_pre_hooks, linear._backward_hooks, linear._backward_pre_hooks)
    plain = type(linear) is nn.Linear and type(linear.weight) is nn.Parameter and "forward" not in vars(linear)
    return plain and not any(hooks)


class CoPE(PositionEncoding):
    """Positions that are counted: a gate per query and key says how much the key counts, and positions are their sums.

    Key j of query i stands at the sum of the gates from j to i, at most `positions` - 1; each position has a learned
    vector, and between two positions the query's products with theirs are interpolated. They are not scaled by
    1 / sqrt(K), as in the paper. A bidirectional model counts from i outwards on each side, with vectors of its own
    for the keys to come, so that direction is seen.

    Golovneva et al. 2024, https://arxiv.org/abs/2405.18719.

    Args:
        positions: how many positions are told apart, P.
    """

    reads_width = True
    needs_visible_mask = True

    def __init__(self, config, positions: int = 64):
        super().__init__(config)
        self.positions = positions
        sides = 1 if config.is_causal else 2
        self.vectors = nn.Parameter(torch.empty(sides * positions, config.head_dim))

    @classmethod
    def check(cls, config, positions=64, **arguments):
        """There are positions to tell apart."""
        super().check(config, **arguments)
        if positions < 2:
            raise ValueError(f"{cls.__name__} needs at least 2 positions, not {positions}.")

    @torch.no_grad()
    def initialise(self):
        """Positions begin without effect."""
        init.zeros_(self.vectors)

    def bias(self, query, key, positions):
        """The query's product with the vector of the key's counted position."""
        index = torch.arange(key.shape[2], device=key.device)
        own = positions.query_indices()[:, None, :, None]  # [B, 1, Tq, 1]
        scores = at_least_float32(torch.einsum("bhqk,bhsk->bhqs", query, key)) * positions.scaling
        counted = self.counted(scores.sigmoid() * positions.visible_mask, index - own)
        lower = counted.detach().floor()
        share = counted - lower
        lower = lower.long()
        upper = (lower + 1).clamp(max=self.positions - 1)
        # Causal models have no vectors for keys to come, and see none.
        offset = 0 if positions.is_causal else (index > own) * self.positions
        products = at_least_float32(torch.einsum("bhqk,pk->bhqp", query, self.vectors.to(query.dtype)))
        return products.gather(-1, lower + offset) * (1 - share) + products.gather(-1, upper + offset) * share

    def counted(self, gates: Tensor, ahead: Tensor) -> Tensor:
        """The position of each key: the sum of the gates between it and its query, both included `[B, H, Tq, Tk]`.

        Args:
            gates: how much each key counts `[B, H, Tq, Tk]`.
            ahead: how far it comes after its query `[B, 1, Tq, Tk]`.
        """
        past = (gates * (ahead <= 0)).flip(-1).cumsum(-1).flip(-1)
        future = (gates * (ahead >= 0)).cumsum(-1)
        return torch.where(ahead > 0, future, past).clamp(max=self.positions - 1)


class DAPE(PositionEncoding):
    """A small network over the heads that corrects each score, given the scores and the biases of another encoding.

    The score is s + b + network(s, b), for each pair of a query and a key by itself.

    Zheng et al. 2024, https://arxiv.org/abs/2405.14722.

    Args:
        base: the encoding whose bias is b: an entry, of a name in `bases`.
        width: hidden units of the network.
    """

    eager_only = True
    bases = {"alibi": ALiBi, "kerple": KERPLE, "fire": FIRE}

    def __init__(self, config, base: str | dict = "kerple", width: int = 32):
        super().__init__(config)
        encoding, arguments = parse_entry(base, self.bases, "base of DAPE")
        self.base = encoding(config, **arguments)
        self.relative = self.base.relative
        heads = config.num_attention_heads
        self.network = nn.Sequential(nn.Linear(2 * heads, width), nn.LeakyReLU(), nn.Linear(width, heads))

    @classmethod
    def check(cls, config, base="kerple", width=32, **arguments):
        """The base exists and fits."""
        super().check(config, **arguments)
        encoding, base_arguments = parse_entry(base, cls.bases, "base of DAPE")
        encoding.check(config, **base_arguments)
        if width < 1:
            raise ValueError(f"{cls.__name__} needs a width of at least 1, not {width}.")

    @property
    def sees_direction(self):
        """Whether its base does."""
        return self.base.sees_direction

    @property
    def prefix_stable(self):
        """Whether its base is."""
        return self.base.prefix_stable

    def pair_bias(self, pairs):
        """That of the base."""
        return self.base.pair_bias(pairs)

    def scores(self, query, key, bias, positions):
        """Scores and biases, and the network's correction."""
        products = super().scores(query, key, None, positions)
        biases = bias.expand_as(products)
        features = torch.cat([products, biases.to(products.dtype)], dim=1)  # [B, 2H, Tq, Tk]
        return products + biases + self.network(features.movedim(1, -1)).movedim(-1, 1)
