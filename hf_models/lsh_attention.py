"""Attention over one shared projection of queries and keys: to all of them, or to those that hash alike.

B batch   T new tokens   S all tokens, cached ones first   L slots of a round   H heads   K head width   D model width
R rounds   X chunks of all rounds   C tokens of a chunk   W keys that a chunk looks at

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .attention import Attention
from .attention_normalizers import Softmax, StickBreaking
from .chunk_attention import ChunkAttention, Meetings, Reorder, Sight
from .hashing import Factors, columns_for, exponent_for, factors_of, factors_per_row, hash_vectors, seeded_axes
from .position_encoding import Pairs, PositionEncoding, Positions
from .precision import at_least_float32


BEYOND = 2**32  # more than there are buckets
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

    def attend_eagerly(self, query, key, value, bias, at, encoding):
        """As usual, but without oneself."""
        own = at.query_indices()[:, None, :, None] == torch.arange(key.shape[2], device=query.device)
        others = at.visible & ~own
        at = replace(at, visible=others | (at.visible & own & ~others.any(-1, keepdim=True)))
        return super().attend_eagerly(query, key, value, bias, at, encoding)


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
        for hook in ("trace", "bias", "scores", "values"):
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
        at,
        encoding,
        past_key_values=None,
        slot=0,
        running=None,
        kept_key=None,
        kept_value=None,
        stays=True,
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
        query, key, value = self.offer(states, at.turns, encoding)
        if running is not None:
            key, value = running.keep(key, value, kept_key, kept_value)
        offered = () if running is None else (key, value)
        temperature = self.normalizer.temperature(states, at)
        if temperature is not None:
            query = query * temperature.to(query.dtype)
        output = self.attend_to_keys(query * self.scaling, key, value, at, encoding, slot)
        return self.o_proj(output.reshape(batch, length, -1)), None, *offered

    def attend_to_keys(self, query, key, value, at: Positions, encoding: PositionEncoding, slot: int = 0) -> Tensor:
        """Outputs `[B, S, H, K]`.

        Args:
            query: scaled `[B, H, S, K]`.
            key: `[B, H, S, K]`.
            value: `[B, H, S, K]`.
            at: where the tokens stand.
            encoding: makes the pair bias.
            slot: which of the executed layers this is: a part of the seed.
        """
        batch, heads, total, _ = query.shape
        pairs = PairMaker(self, at, encoding, total)
        if total <= self.chunk_length:
            tokens = torch.arange(total, device=key.device).expand(batch, heads, 1, -1)
            bias, sight = pairs.make(tokens, tokens)
            output, _ = self.attend_to_chunks(*(part.flatten(0, 1) for part in (query, key, value)), bias, sight)
            return output.view(batch, heads, total, -1).transpose(1, 2)
        rounds = self.hash_and_sort(key, None if at.real is None else at.real[:, :total], slot)
        output, totals = self.attend_in_chunks(query, key, value, rounds, pairs)
        if self.num_rounds == 1:
            return output[:, :, :, 0]
        return torch.einsum("bthrk,bthr->bthk", output, totals.softmax(dim=-1).to(output.dtype))

    def attend_to_chunks(self, query, key, value, bias, sight: Sight) -> tuple[Tensor, Tensor]:
        """`ChunkAttention`, with the dropout of the configuration; a round where a query is alone counts least."""
        dropout = self.config.attention_dropout if self.training else 0.0
        output, totals = ChunkAttention.apply(query, key, value, bias, sight, dropout)
        return output, totals.masked_fill(sight.alone, LOWEST / 2)

    def axes(self, slot: int, factor: int, columns: int, key: Tensor) -> Tensor:
        """What the vectors of a layer are hashed by `[columns, H, R, K]`."""
        _, heads, _, width = key.shape
        if self.seed is None:
            return torch.randn(columns, heads, self.num_rounds, width, device=key.device)
        seed = (self.seed * 1_000_003 + slot) * 2 + factor
        return seeded_axes(seed, columns, heads, self.num_rounds, width).to(key.device)

    @torch.no_grad()
    def hash_and_sort(self, key: Tensor, real: Tensor | None, slot: int) -> "Rounds":
        """The tokens of each row and head, sorted by bucket and position in every round, padding last.

        Args:
            key: `[B, H, S, K]`.
            real: which tokens are no padding `[B, S]`, or None.
            slot: which of the executed layers this is.
        """
        total, chunk = key.shape[2], self.chunk_length
        factors = self.num_buckets or factors_of(exponent_for(total, chunk), chunk)
        columns = factors[0] // 2, factors[1] // 2
        if real is not None:
            factors = factors_per_row(real.sum(-1), total, chunk, self.num_buckets)
            columns = columns if self.num_buckets else columns_for(total, chunk)
        axes = [self.axes(slot, factor, number, key) for factor, number in enumerate(columns) if number]
        buckets = hash_vectors(key, axes, factors)
        if real is not None:
            buckets = buckets.masked_fill(~real[:, None, None], BEYOND)
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


def look_up(table: Tensor, tokens: Tensor) -> Tensor:
    """What a table `[B or 1, H or 1, L + 1]` says of tokens `[B, H, X, Y]`."""
    return table.expand(*tokens.shape[:2], -1).gather(-1, tokens.flatten(2)).view_as(tokens)


@dataclass
class Rounds:
    """The tokens of all rounds, sorted; those beyond S fill the last chunk, and token L stands for none.

    Attributes:
        order: the token in each slot `[B, H, R, L]`.
        slots: the slot of each token `[B, H, R, L]`.
        buckets: the bucket of each token `[B, H, R, L + 1]`.
    """

    order: Tensor
    slots: Tensor
    buckets: Tensor

    def sorted_buckets(self) -> Tensor:
        """The bucket in each slot, another number in every round `[B, H, R, L]`."""
        rounds = torch.arange(self.order.shape[2], device=self.order.device)
        return self.buckets.gather(-1, self.order) + 2 * BEYOND * rounds[:, None]


@dataclass
class Hashed:
    """What a hashing says of chunks of queries and the keys they look at.

    Attributes:
        rounds: the sorted tokens.
        buckets: those of the queries `[B, H, X, C]` and of the keys `[B, H, X, W]`, where they limit what is seen.
    """

    rounds: Rounds
    buckets: tuple[Tensor, Tensor] | None


class PairMaker:
    """Says of chunks of tokens what they see, and with which bias."""

    def __init__(self, attention: LSHAttention, at: Positions, encoding: PositionEncoding, total: int):
        self.attention, self.at, self.encoding, self.total = attention, at, encoding, total

    def make(
        self, queries: Tensor, keys: Tensor, hashed: Hashed | None = None, flatten=None
    ) -> tuple[Tensor | None, Sight]:
        """Bias `[M, C, W]` or None, and sight, of chunks of queries and the keys they look at.

        Args:
            queries: tokens `[B, H, X, C]`.
            keys: tokens `[B, H, X, W]`.
            hashed: what their hashing says, or None where nothing was hashed.
            flatten: makes M chunks of B, H and X, given a value for what is none of them.
        """
        flatten = flatten or (lambda values, fill: values.flatten(0, 2))
        bias = self.bias(queries, keys)
        sight = Sight(
            flatten(self.places(queries), 0),
            flatten(self.places(keys), self.total),
            nowhere=self.total,
            is_causal=self.attention.is_causal,
            **({} if hashed is None else self.restrictions(queries, keys, hashed, flatten)),
        )
        return None if bias is None else flatten(bias, 0), sight

    def places(self, tokens: Tensor) -> Tensor:
        """Where each token stands in its row; padding and missing tokens beyond all others."""
        if self.at.real is None:
            return tokens
        real = self.at.real[:, : self.total]
        table = torch.arange(self.total, device=real.device).expand_as(real).masked_fill(~real, self.total)
        table = pad(table, (0, self.attention.chunk_length), value=self.total)
        return look_up(table[:, None], tokens)

    def ids(self, tokens: Tensor) -> Tensor:
        """The position id of each token, 0 of missing ones."""
        table = pad(self.at.key_ids[:, : self.total], (0, self.attention.chunk_length))
        return look_up(table[:, None], tokens)

    def bias(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """The pair bias `[B, H, X, C, W]`, or None."""
        if type(self.encoding).pair_bias is PositionEncoding.pair_bias:
            return None
        dense = self.at.pairs()
        pairs = Pairs(
            dense.rows[..., None],
            dense.heads[..., None],
            self.ids(queries)[..., None],
            self.ids(keys)[..., None, :],
            dense.drawn,
            dense.dtype,
        )
        bias = self.encoding.pair_bias(pairs)
        return None if bias is None else bias.expand(*queries.shape, keys.shape[-1])

    def restrictions(self, queries: Tensor, keys: Tensor, hashed: Hashed, flatten) -> dict:
        """What the hashing adds to the sight."""
        attention, rounds = self.attention, hashed.rounds
        found: dict[str, Any] = {}
        if hashed.buckets is not None:
            found["buckets"] = tuple(flatten(buckets, -index) for index, buckets in enumerate(hashed.buckets, 1))
        number, length = rounds.order.shape[2:]
        circle = number * length // attention.chunk_length if attention.wrap_around else None
        repeated = number > 1 or (circle is not None and attention.before + 1 + attention.after > circle)
        if not (attention.deduplicate and repeated):
            return found
        few = number * length // attention.chunk_length < 2**12
        chunks = pad(rounds.slots // attention.chunk_length, (0, 1)).to(torch.int16 if few else torch.int32)
        if circle is not None:
            first = torch.arange(number, device=chunks.device, dtype=chunks.dtype) * (circle // number)
            chunks = chunks + first[:, None]

        def in_rounds(table):
            return tuple(
                flatten(torch.stack([look_up(table[:, :, each], tokens) for each in range(number)], dim=-1), 0)
                for tokens in (queries, keys)
            )

        buckets = None if attention.across_buckets else in_rounds(rounds.buckets)
        found["meetings"] = Meetings(attention.before, attention.after, circle, *in_rounds(chunks), buckets)
        return found


class Layout:
    """All rounds as lists of chunks: a single one, or one for each row and head where it is a circle.

    `before` chunks precede a list and `after` chunks follow it. In a circle these are its last and first ones; else
    anything, and never seen.
    """

    def __init__(self, rounds: Rounds, chunk: int, before: int, after: int, circular: bool):
        self.shape = batch, heads, number, length = rounds.order.shape
        self.rounds, self.chunk, self.before, self.after, self.circular = rounds, chunk, before, after, circular
        device = rounds.order.device
        self.front, self.back = before * chunk, after * chunk
        self.lists = torch.arange(batch * heads, device=device).view(batch, heads, 1, 1)
        rows = torch.arange(batch, device=device).view(-1, 1, 1, 1) * length + rounds.order
        self.listed = rows * heads + torch.arange(heads, device=device).view(-1, 1, 1)  # tokens as in [B, L, H]
        in_list = torch.arange(number, device=device)[:, None] * length + rounds.slots
        if circular:
            size = number * length
            self.columns = torch.arange(-self.front, size + self.back, device=device) % size
            self.index = self.listed.flatten(2)[..., self.columns].flatten()
            padded = size + self.front + self.back
            self.places = self.lists * padded + self.front + in_list
            ends = torch.cat(
                [
                    torch.arange(self.front, device=device),
                    torch.arange(size, size + self.back, device=device) + self.front,
                ]
            )
            twice = (torch.arange(batch * heads, device=device)[:, None] * padded + ends).flatten()
            self.extra = twice, self.index[twice]
        else:
            self.index = pad(self.listed.flatten(), (self.front, self.back))
            self.places = self.lists * (number * length) + self.front + in_list
            self.extra = None
        self.count = len(self.index) // chunk - before - after

    def chunks(self, values: Tensor) -> Tensor:
        """Values of slots `[B, H, R, L]` by chunk `[B, H, X, C]`."""
        return values.flatten(2).unflatten(2, (-1, self.chunk))

    def windows(self, values: Tensor, none: int) -> Tensor:
        """Values of slots `[B, H, R, L]` in the window of each chunk `[B, H, X, W]`; `none` where no slot is."""
        window = self.front + self.chunk + self.back
        if self.circular:
            return values.flatten(2)[..., self.columns].unfold(-1, window, self.chunk)
        return pad(values, (self.front, self.back), value=none).unfold(-1, window, self.chunk).flatten(2, 3)

    def flatten(self, values: Tensor, fill: int) -> Tensor:
        """Values of chunks `[B, H, X, ...]` as `[M, ...]`; chunks that stand between two circles get `fill`."""
        if not self.circular:
            return values.flatten(0, 2)
        values = values.flatten(0, 1)
        between = values.new_full((len(values), self.before + self.after, *values.shape[2:]), fill)
        return torch.cat([values, between], dim=1).flatten(0, 1)[: self.count]

    def sort(self, values: Tensor, is_query: bool) -> Tensor:
        """Values of tokens `[B, H, S, K]` as chunks: `[M, C, K]`, of keys with `before + after` more."""
        missing = self.shape[3] - values.shape[2]
        rows = values.transpose(1, 2)  # as the projection left them, so that flattening needs no copy
        if missing:
            rows = pad(rows, (0, 0, 0, 0, 0, missing))
        index, places, extra = self.index, by_token(self.places), self.extra
        if is_query:
            index = index[self.front : self.front + self.count * self.chunk]
            places, extra = places - self.front, None
        rows = Reorder.apply(rows.flatten(0, 2), index, places.flatten(0, 2), extra)
        return rows.unflatten(0, (-1, self.chunk))

    def unsort(self, values: Tensor) -> Tensor:
        """Values of chunks `[M, C, K]` as those of tokens `[B, L, H, R, K]`."""
        batch, heads, number, length = self.shape
        if self.circular:
            values = pad(values, (0, 0, 0, 0, 0, self.before + self.after))
            values = values.unflatten(0, (batch * heads, -1))[:, : number * length // self.chunk]
        rounds = torch.arange(number, device=values.device)[:, None]
        index = by_token((self.lists * number + rounds) * length + self.rounds.slots)
        places = self.listed * number + rounds
        rows = values.reshape(-1, values.shape[-1])
        return Reorder.apply(rows, index.flatten(), places.view(-1, 1), None).view(*index.shape, -1)


def by_token(values: Tensor) -> Tensor:
    """Values `[B, H, R, L]` as `[B, L, H, R]`."""
    return values.permute(0, 3, 1, 2)
