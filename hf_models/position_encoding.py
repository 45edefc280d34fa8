"""The position-encoding contract: the hooks that attention calls.

    embed         adds to the states that enter the first layer (or, in a looped model, every step)
    rotation      what `rotate` reads of the ids, computed once per forward pass: cosines and sines, say
    rotate        rotates queries and keys of the new tokens
    key_features  extra channels of each key, which go into the cache
    pair_bias     added to the scores: a function of head, query id and key id only
    scalar_bias   the same as FlexAttention inlines it
    bias          added to the scores: a function of the states too
    scores        the scores themselves
    values        added to the output: a function of the attention weights

B batch   T positions   Tq query positions   Tk key positions   H heads   K head width   D model width   E key features
Ids may have a first dimension of 1 when all rows of a batch share them.

SPDX-License-Identifier: Apache-2.0
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .registry import check_arguments


@dataclass
class Pairs:
    """Pairs of a query and a key, in any arrangement.

    All fields but `randomized_distances` broadcast against each other.

    Attributes:
        rows: index of the pair's sequence in the batch.
        heads: index of its head.
        query_ids: position id of the query.
        key_ids: position id of the key.
        randomized_distances: what a distance counts as, where distances are drawn at random `[B, S]`.
        dtype: in which functions of ids are computed: float32, or float64 in a model of float64.
    """

    rows: Tensor
    heads: Tensor
    query_ids: Tensor
    key_ids: Tensor
    randomized_distances: Tensor | None = None
    dtype: torch.dtype = torch.float32

    def distances(self) -> Tensor:
        """Signed distance from key to query, positive in the past."""
        distances = self.query_ids - self.key_ids
        if self.randomized_distances is None:
            return distances
        return (
            distances.sign()
            * self.randomized_distances[self.rows, distances.abs().clamp(max=self.randomized_distances.shape[1] - 1)]
        )

    def of_heads(self, values: Tensor) -> Tensor:
        """Select the value of each pair's head, given those of all heads `[..., H]`."""
        heads = self.heads
        if heads.dim() > 1 and values.shape[1] == 1 and heads.numel() == heads.shape[1]:  # heads share the values
            return values.transpose(1, -1)[..., 0].index_select(1, heads.flatten())
        return values.gather(-1, heads.expand(values.shape[:-1])[..., None])[..., 0]


@dataclass
class Positions:
    """Where the tokens of a forward pass stand, and what they see: shared by the layers of one attention type.

    Attributes:
        query_ids: position ids of the tokens that are computed now `[B, Tq]`.
        key_ids: position ids of all tokens they may attend to, cached ones first `[B, Tk]`.
        num_heads: H.
        scaling: factor on the product of query and key, 1 / sqrt(K).
        first_query: index of the first query among the keys.
        is_causal: whether queries see their past alone.
        token_mask: which keys are no padding `[B, Tk]`, or None where all are real.
        visible_mask: which keys each query sees `[B, 1, Tq, Tk]`, or None where nothing asked for it.
        randomized_distances: what a distance counts as, where distances are drawn at random `[B, S]`.
        key_features: what the encoding left for each key `[B, H, Tk, E]`, or None.
        columns: index of each query among the keys `[B, Tq]`, where they do not follow one another from `first_query`.
        rotation: what `rotate` reads of the new tokens' ids `[B, T, …]`, or None.
        dtype: in which functions of ids are computed: float32, or float64 in a model of float64.
        sequences: which sequence of its row each key belongs to `[B, Tk]`, or None where each row holds one.
    """

    query_ids: Tensor
    key_ids: Tensor
    num_heads: int
    scaling: float
    first_query: int = 0
    is_causal: bool = True
    token_mask: Tensor | None = None
    visible_mask: Tensor | None = None
    randomized_distances: Tensor | None = None
    key_features: Tensor | None = None
    columns: Tensor | None = None
    rotation: Tensor | None = None
    dtype: torch.dtype = torch.float32
    sequences: Tensor | None = None

    def query_indices(self) -> Tensor:
        """Index of each query among the keys `[B, Tq]` or `[1, Tq]`."""
        if self.columns is not None:
            return self.columns
        return self.first_query + torch.arange(self.query_ids.shape[1], device=self.query_ids.device)[None]

    def distances(self) -> Tensor:
        """Signed distance from key to query, positive in the past `[B, 1, Tq, Tk]`."""
        return self.pairs().distances()

    def pairs(self) -> Pairs:
        """Every pair of a query and a key, to broadcast as `[B, H, Tq, Tk]`."""
        device = self.query_ids.device
        rows = torch.arange(
            (self.query_ids if self.randomized_distances is None else self.randomized_distances).shape[0],
            device=device,
        )
        return Pairs(
            rows=rows[:, None, None, None],
            heads=torch.arange(self.num_heads, device=device)[None, :, None, None],
            query_ids=self.query_ids[:, None, :, None],
            key_ids=self.key_ids[:, None, None, :],
            randomized_distances=self.randomized_distances,
            dtype=self.dtype,
        )

    def with_rotation(self, encoding: "PositionEncoding") -> "Positions":
        """The same positions with what this encoding's `rotate` reads of them."""
        with torch.no_grad():
            rotation = encoding.rotation(self.query_ids, self.dtype)
        return replace(self, rotation=rotation)

    def with_key_features(self, key_features: Tensor | None) -> "Positions":
        """The same positions with other key features."""
        return replace(self, key_features=key_features)


def all_rows(table: nn.Embedding, count: int, device) -> Tensor:
    """All rows of a table `[count, E]`; the module is called, so that adapters and hooks take part."""
    return table(torch.arange(count, device=device))


class PositionEncoding(nn.Module):
    """No position encoding, and the base of all others.

    A causal model still sees the order through its mask; a bidirectional one is blind to it.

    Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466.
    """

    has_table = False  # position ids must stay below max_position_embeddings
    recurrent_only = False  # needs the step of a model that is recurrent in depth
    causal_only = False  # has no bidirectional form
    relative = True  # shifting all ids by the same number changes nothing
    distances_only = True  # ids act through `distances()` alone, so that distances may be drawn at random
    scalar = False  # pair_bias is arithmetic on single numbers, which FlexAttention can inline as it goes
    eager_only = False  # overrides scores or values, which no fused kernel computes
    needs_visible_mask = False  # reads `visible_mask`
    widens = False  # rotate changes the width of queries and keys
    reads_width = False  # multiplies queries or keys with vectors of the head's width
    key_features_width = 0  # E

    def __init__(self, config):
        super().__init__()

    @classmethod
    def check(cls, config, **arguments):
        """Raises ValueError where the encoding does not fit the configuration or has no such argument."""
        check_arguments(cls, arguments)
        if cls.recurrent_only and not hasattr(config, "num_steps"):
            raise ValueError(f"{cls.__name__} needs a model that is recurrent in depth, not {config.model_type!r}.")
        if cls.causal_only and not config.is_causal:
            raise ValueError(f"{cls.__name__} has no bidirectional form; it needs is_causal=True.")
        schemes = (config.position_ids_scheme, config.eval_position_ids_scheme)
        if "randomized_distances" in schemes and not cls.distances_only:
            raise ValueError(f"{cls.__name__} reads ids, not distances alone; take the scheme 'randomized'.")

    @property
    def sees_direction(self) -> bool:
        """Whether a bidirectional model with this encoding can tell left from right."""
        return type(self) is not PositionEncoding

    @property
    def prefix_stable(self) -> bool:
        """Whether later tokens leave what is computed of earlier ones as it is, under a causal mask."""
        return True

    def initialise(self):
        """Sets the encoding's own parameters; modules inside it begin as everywhere in the model."""

    def embed(self, states: Tensor, ids: Tensor, step: int = 0) -> Tensor:
        """States with what the encoding adds to them `[B, T, D]`; `step` is the depth of a recurrent model, from 0."""
        return states

    def rotation(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor | None:
        """The tensor that `rotate` reads, made of the new tokens' ids: `[B, T, …]` of type `dtype`, or None.

        Computed once per forward pass for all layers that share the encoding, without gradient: what is learned of a
        rotation belongs in `rotate`.
        """
        return None

    def rotate(self, query: Tensor, key: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor]:
        """Queries and keys of the new tokens, turned by what `rotation` made of their ids `[B, H, T, K]`."""
        return query, key

    def key_features(self, states: Tensor) -> Tensor | None:
        """Extra channels of each new key `[B, H, T, E]`, which go into the cache; read as `positions.key_features`.

        It says what a token *is*, never a running state: sums and products are taken over all keys when it is read.
        """
        return None

    def pair_bias(self, pairs: Pairs) -> Tensor | None:
        """What is added to the score of each pair, after the scaling by 1 / sqrt(K), in the shape of the pairs.

        Computed once per forward pass for all layers that share the encoding.
        """
        return None

    def scalar_bias(self, device) -> Callable[[Pairs], Tensor | None]:
        """`pair_bias` for FlexAttention, which inlines it for single pairs: modules are called here, outside of it."""
        return self.pair_bias

    def bias(self, query: Tensor, key: Tensor, positions: Positions) -> Tensor | None:
        """What is added to the scores of one layer, after the scaling by 1 / sqrt(K) `[B, H, Tq, Tk]`.

        Args:
            query: as turned by `rotate` `[B, H, Tq, K]`.
            key: of all tokens, cached ones first `[B, H, Tk, K]`.
            positions: where they stand.
        """
        return None

    def scores(self, query: Tensor, key: Tensor, bias: Tensor | None, positions: Positions) -> Tensor:
        """The scores, biases included and nothing masked `[B, H, Tq, Tk]`."""
        scores = torch.einsum("bhqk,bhsk->bhqs", query, key) * positions.scaling
        return scores if bias is None else scores + bias

    def values(self, weights: Tensor, positions: Positions) -> Tensor | None:
        """What is added to each head's output `[B, H, Tq, K]`; weights are `[B, H, Tq, Tk]`."""
        return None
