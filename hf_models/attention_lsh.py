"""Attention over one shared projection of queries and keys: to all of them, or to those that hash alike.

B batch   S tokens   L slots of a round   H heads   K head width   D model width
R rounds   X chunks of all rounds   C tokens of a chunk   W keys that a chunk looks at

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from .attention import Attention
from .attention_lsh_chunks import ChunkAttention, Sight
from .attention_lsh_hashing import (
    Factors,
    columns_for,
    exponent_for,
    factors_of,
    factors_per_row,
    hash_vectors,
    seeded_axes,
)
from .attention_lsh_layout import BEYOND, Hashed, Layout, PairMaker, Rounds
from .attention_normalizers import Softmax, StickBreaking
from .position_encoding import PositionEncoding, Positions
from .precision import at_least_float32


LOWEST = torch.finfo(torch.float32).min


class SharedQueryKeyAttention(Attention):
    """Full attention whose key is the normed query, which attends to itself only where it sees nothing else.

    What LSH attention tends to with ever more rounds, and its control.

    Kitaev et al. 2020, https://arxiv.org/abs/2001.04451.
    """

    projections = 2
    eager_only = True

    @classmethod
    def check_combination(cls, encoding, normalizer):
        """A normalizer that leaves oneself out as well would leave out the token before."""
        if normalizer is StickBreaking:
            raise ValueError(f"{cls.__name__} cannot work with {normalizer.__name__}: both leave out one's own key.")

    def project(self, states):
        """The query of each token, the same with root mean square 1 as its key, and its value."""
        shared, value = self.qkv_proj(states).unflatten(-1, (2, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        norm = torch.rsqrt(at_least_float32(shared).square().mean(-1, keepdim=True) + 1e-6)
        return shared, (shared * norm).to(shared.dtype), value

    def attend_eagerly(self, query, key, value, bias, positions, encoding):
        """As usual, but without oneself."""
        own = positions.query_indices()[:, None, :, None] == torch.arange(key.shape[2], device=query.device)
        others = positions.visible_mask & ~own
        positions = replace(
            positions, visible_mask=others | (positions.visible_mask & own & ~others.any(-1, keepdim=True))
        )
        return super().attend_eagerly(query, key, value, bias, positions, encoding)


class LSHAttention(SharedQueryKeyAttention):
    """Attention to keys that hash alike: Reformer's, in time and memory that grow almost linearly.

    In every round the tokens of a sequence are sorted by bucket, then by position, and cut into chunks. A token
    attends to its own chunk and its neighbours, to itself only where it sees nothing else, and the rounds are mixed by
    the sums of their exponentials. A sequence no longer than a chunk is attended to as a whole, as by
    `SharedQueryKeyAttention`. Any length will do. Nothing of size S x S is made, and no weights are returned.

    Padding is sorted to the end and never seen, and chunks and buckets are counted over the tokens of each row alone,
    so that a row's result depends neither on its padding nor on the side of it (unless `wrap_around`).

    More tokens move the earlier ones to other chunks, so a model with such layers is not `prefix_stable` and has no
    KV cache.

    Encodings act through `embed`, `rotate` and `pair_bias`. A turn by position is hashed along with the vector, so
    that buckets depend on the position. Encodings that read the states of all pairs are refused, and so are
    normalizers with weights of their own; a temperature is that of full attention, whose keys it counts.

    The defaults are the paper's: a key counts once, and chunks are those of one round. transformers' Reformer is
    `deduplicate=False, wrap_around=True, chunks_after=0`.

    Kitaev et al. 2020, https://arxiv.org/abs/2001.04451.

    Args:
        num_rounds: how often the tokens are hashed.
        chunk_length: tokens per chunk.
        num_buckets: an even number; two of them, whose product it is; or "length": the power of two at or below twice
            the number of whole chunks, of two factors beyond twice the chunk length. It follows the number of tokens
            of the row, padding not counted, in every forward pass. transformers instead keeps the number that its
            first forward pass chooses.
        chunks_before: chunks that are looked at before one's own.
        chunks_after: chunks after it; by default none if causal, else one.
        across_buckets: whether tokens of other buckets in these chunks are seen too.
        deduplicate: whether a key that is met in several rounds counts once.
        wrap_around: whether the chunks of all rounds form one circle, so that the first of a round looks at the last
            of the one before it.
        seed: with the layer's place in the model, of the hashing, which is then the same in every call and process.
            None draws anew at every call, with torch's global generator; then repeated calls differ.
    """

    eager_only = False
    dense_bias = False
    prefix_stable = False

    def __init__(  # noqa: PLR0913, the options that a configuration may name
        self,
        config,
        normalizer: str | dict = "softmax",
        num_rounds: int = 1,
        chunk_length: int = 64,
        num_buckets: int | list[int] | tuple[int, int] | str = "length",
        chunks_before: int = 1,
        chunks_after: int | None = None,
        across_buckets: bool = True,
        deduplicate: bool = True,
        wrap_around: bool = False,
        seed: int | None = 0,
    ):
        super().__init__(config, normalizer)
        self.num_rounds, self.chunk_length, self.seed = num_rounds, chunk_length, seed
        self.num_buckets = fixed_factors(num_buckets)
        default_after = 0 if config.is_causal else 1
        self.before, self.after = chunks_before, default_after if chunks_after is None else chunks_after
        self.across_buckets, self.deduplicate, self.wrap_around = across_buckets, deduplicate, wrap_around

    @classmethod
    def check(cls, config, **arguments):
        """Numbers are positive, numbers of buckets even."""
        super().check(config, **arguments)
        given = {name: value for name, value in arguments.items() if (name, value) != ("chunks_after", None)}
        for name, least in (("num_rounds", 1), ("chunk_length", 1), ("chunks_before", 0), ("chunks_after", 0)):
            if not isinstance(given.get(name, least), int) or given.get(name, least) < least:
                raise ValueError(f"{cls.__name__} needs a {name} of at least {least}, not {given[name]!r}.")
        buckets = arguments.get("num_buckets", "length")
        numbers = buckets if isinstance(buckets, (list, tuple)) else [buckets]
        even = all(isinstance(number, int) and number > 1 and number % 2 == 0 for number in numbers)
        if buckets != "length" and not (even and len(numbers) in (1, 2)):
            raise ValueError(
                f"{cls.__name__} has no num_buckets {buckets!r}. Allowed: an even number, two of them, or 'length'."
            )

    @classmethod
    def check_combination(cls, encoding, normalizer):
        """Nothing may need all pairs at once."""
        for hook in ("key_features", "bias", "scores", "values"):
            if getattr(encoding, hook) is not getattr(PositionEncoding, hook):
                raise ValueError(
                    f"{cls.__name__} cannot work with {encoding.__name__}, whose {hook!r} reads states of all pairs."
                )
        if normalizer.weights is not Softmax.weights:
            raise ValueError(f"{cls.__name__} cannot work with {normalizer.__name__}: it mixes its rounds as softmax.")

    def forward(  # noqa: PLR0913, as in `Attention`
        self,
        states,
        mask,
        bias,
        positions,
        encoding,
        past_key_values=None,
        layer_idx=0,
        running=None,
        kept_key=None,
        kept_value=None,
        write_cache=True,
        **kwargs,
    ):
        """As `Attention.forward`; `mask` and `bias` are not read, there are no weights, and there is no cache.

        Raises:
            ValueError: the model is exported.
        """
        if torch.compiler.is_exporting():
            raise ValueError(
                f"{type(self).__name__} cannot be exported: it cuts the tokens into as many chunks and buckets as "
                "their number asks for, and a graph has a fixed number of them."
            )
        batch, length, _ = states.shape
        query, key, value = self.offer(states, positions.rotation, encoding)
        if running is not None:
            key, value = running.keep(key, value, kept_key, kept_value)
        offered = () if running is None else (key, value)
        temperature = self.normalizer.temperature(states, positions)
        if temperature is not None:
            query = query * temperature.to(query.dtype)
        output = self.attend_to_keys(query * self.scaling, key, value, positions, encoding, layer_idx)
        return self.o_proj(output.reshape(batch, length, -1)), None, *offered

    def attend_to_keys(
        self, query, key, value, positions: Positions, encoding: PositionEncoding, layer_idx: int = 0
    ) -> Tensor:
        """Outputs `[B, S, H, K]`.

        Args:
            query: scaled `[B, H, S, K]`.
            key: `[B, H, S, K]`.
            value: `[B, H, S, K]`.
            positions: where the tokens stand.
            encoding: makes the pair bias.
            layer_idx: which of the executed layers this is: a part of the seed.
        """
        batch, heads, total, _ = query.shape
        pairs = PairMaker(self, positions, encoding)
        if total <= self.chunk_length:
            tokens = torch.arange(total, device=key.device).expand(batch, heads, 1, -1)
            bias, sight = pairs.make(tokens, tokens)
            output, _ = self.attend_to_chunks(*(part.flatten(0, 1) for part in (query, key, value)), bias, sight)
            return output.view(batch, heads, total, -1).transpose(1, 2)
        rounds = self.hash_and_sort(key, positions.token_mask, layer_idx)
        output, totals = self.attend_in_chunks(query, key, value, rounds, pairs)
        if self.num_rounds == 1:
            return output[:, :, :, 0]
        return torch.einsum("bthrk,bthr->bthk", output, totals.softmax(dim=-1).to(output.dtype))

    def attend_to_chunks(self, query, key, value, bias, sight: Sight) -> tuple[Tensor, Tensor]:
        """`ChunkAttention`, with the dropout of the configuration; a round where a query is alone counts least."""
        dropout = self.config.attention_dropout if self.training else 0.0
        output, totals = ChunkAttention.apply(query, key, value, bias, sight, dropout)
        return output, totals.masked_fill(sight.alone, LOWEST / 2)

    def axes(self, layer_idx: int, factor: int, columns: int, key: Tensor) -> Tensor:
        """The random axes that hash the vectors of a layer `[columns, H, R, K]`."""
        _, heads, _, width = key.shape
        if self.seed is None:
            return torch.randn(columns, heads, self.num_rounds, width, device=key.device)
        seed = (self.seed * 1_000_003 + layer_idx) * 2 + factor
        return seeded_axes(seed, columns, heads, self.num_rounds, width).to(key.device)

    @torch.no_grad()
    def hash_and_sort(self, key: Tensor, token_mask: Tensor | None, layer_idx: int) -> "Rounds":
        """The tokens of each row and head, sorted by bucket and position in every round, padding last.

        Args:
            key: `[B, H, S, K]`.
            token_mask: which tokens are no padding `[B, S]`, or None.
            layer_idx: which of the executed layers this is.
        """
        total, chunk = key.shape[2], self.chunk_length
        factors = self.num_buckets or factors_of(exponent_for(total, chunk), chunk)
        columns = factors[0] // 2, factors[1] // 2
        if token_mask is not None:
            factors = factors_per_row(token_mask.sum(-1), total, chunk, self.num_buckets)
            columns = columns if self.num_buckets else columns_for(total, chunk)
        axes = [self.axes(layer_idx, factor, number, key) for factor, number in enumerate(columns) if number]
        buckets = hash_vectors(key, axes, factors)
        if token_mask is not None:
            buckets = buckets.masked_fill(~token_mask[:, None, None], BEYOND)
        order = buckets.argsort(dim=-1, stable=True)
        missing = -total % chunk
        places = torch.arange(total + missing, device=key.device).expand(*order.shape[:3], -1)
        order = torch.cat([order, places[..., total:]], dim=-1)
        slots = torch.empty_like(order).scatter_(-1, order, places)
        return Rounds(order, slots, pad(buckets, (0, missing + 1), value=-1))

    def attend_in_chunks(self, query, key, value, rounds: "Rounds", pairs: "PairMaker") -> tuple[Tensor, Tensor]:
        """Outputs `[B, S, H, R, K]` and totals `[B, S, H, R]` of every round, chunk by chunk."""
        total, slots = key.shape[2], rounds.order.shape[3]
        layout = Layout(rounds, self.chunk_length, self.before, self.after, self.wrap_around)
        tokens = layout.chunks(rounds.order), layout.windows(rounds.order, slots)
        buckets = None
        if not self.across_buckets:
            buckets = layout.chunks(rounds.sorted_buckets()), layout.windows(rounds.sorted_buckets(), -1)
        bias, sight = pairs.make(*tokens, Hashed(rounds, buckets), layout.flatten)
        query = layout.sort(query, is_query=True)
        key, value = (layout.sort(part, is_query=False) for part in (key, value))
        output, totals = self.attend_to_chunks(query, key, value, bias, sight)
        output, totals = layout.unsort(output), layout.unsort(totals[..., None])[..., 0]
        return output[:, :total], totals[:, :total]


def fixed_factors(num_buckets: int | list[int] | tuple[int, ...] | str) -> Factors | None:
    """The factors of a number of buckets, of which the second may be 1; None of one that follows the length."""
    if isinstance(num_buckets, str):
        return None
    factors = [num_buckets] if isinstance(num_buckets, int) else num_buckets
    return factors[0], factors[1] if len(factors) == 2 else 1
