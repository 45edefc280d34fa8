"""How LSH attention sorts tokens and cuts them into chunks, and which keys the queries of a chunk look at.

Ten tokens, two buckets a and b, one round, chunks of C = 4; with one chunk before, as in causal models:

    token        0  1  2  3  4  5  6  7  8  9
    bucket       b  a  a  b  a  b  b  a  b  a

    sorted by bucket, then by position (`Rounds.order`); token L stands for none and fills the last chunk

    slot         0  1  2  3 | 4  5  6  7 | 8  9 10 11
    token        1  2  4  5 | 7  9  0  3 | 6  8  L  L
    chunk             0     |      1     |     2

    queries of chunk 1 look at its window, chunks 0 and 1:    1  2  4  5  7  9  0  3
    causal: a key that comes after its query is masked;       query 3 sees 1  2  0
    `across_buckets=False`: keys of other buckets are too;    query 3 sees 0

A token looks at itself only where it sees nothing else. Each round sorts by another hash; the rounds are mixed by the
sums of their exponentials.

B batch   S tokens   L slots of a round   H heads   K head width   R rounds   X chunks of all rounds
M chunks of all rows   C tokens of a chunk   W keys that a chunk looks at

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .attention_lsh_chunks import Meetings, Reorder, Sight
from .position_encoding import Pairs, PositionEncoding, Positions


BEYOND = 2**32  # more than there are buckets


def look_up(table: Tensor, tokens: Tensor) -> Tensor:
    """The entries of a table `[B or 1, H or 1, L + 1]` for tokens `[B, H, X, Y]`."""
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
    """The hashing of chunks of queries and of the keys in their windows.

    Attributes:
        rounds: the sorted tokens.
        buckets: those of the queries `[B, H, X, C]` and of the keys `[B, H, X, W]`, where they limit what is seen.
    """

    rounds: Rounds
    buckets: tuple[Tensor, Tensor] | None


class PairMaker:
    """Makes the bias and the visible pairs of chunks of tokens."""

    def __init__(self, attention, positions: Positions, encoding: PositionEncoding):
        self.attention, self.positions, self.encoding = attention, positions, encoding
        self.total = positions.key_ids.shape[1]  # S

    def make(
        self, queries: Tensor, keys: Tensor, hashed: Hashed | None = None, flatten=None
    ) -> tuple[Tensor | None, Sight]:
        """Bias `[M, C, W]` or None, and sight, of chunks of queries and the keys they look at.

        Args:
            queries: tokens `[B, H, X, C]`.
            keys: tokens `[B, H, X, W]`.
            hashed: their hashing, or None where nothing was hashed.
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
        """The column of each token in its row; padding and missing tokens come after all others."""
        token_mask = self.positions.token_mask
        if token_mask is None:
            return tokens
        table = (
            torch.arange(self.total, device=token_mask.device)
            .expand_as(token_mask)
            .masked_fill(~token_mask, self.total)
        )
        table = pad(table, (0, self.attention.chunk_length), value=self.total)
        return look_up(table[:, None], tokens)

    def ids(self, tokens: Tensor) -> Tensor:
        """The position id of each token, 0 of missing ones."""
        table = pad(self.positions.key_ids, (0, self.attention.chunk_length))
        return look_up(table[:, None], tokens)

    def bias(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """The pair bias `[B, H, X, C, W]`, or None."""
        if type(self.encoding).pair_bias is PositionEncoding.pair_bias:
            return None
        dense = self.positions.pairs()
        pairs = Pairs(
            dense.rows[..., None],
            dense.heads[..., None],
            self.ids(queries)[..., None],
            self.ids(keys)[..., None, :],
            dense.randomized_distances,
            dense.dtype,
        )
        bias = self.encoding.pair_bias(pairs)
        return None if bias is None else bias.expand(*queries.shape, keys.shape[-1])

    def restrictions(self, queries: Tensor, keys: Tensor, hashed: Hashed, flatten) -> dict:
        """The restrictions of the sight by the hashing."""
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
