"""Which positions a step of a recurrent model computes, when some have halted, and how they are put together.

A halted position leaves the queries and the feed-forward layer. Others go on seeing it: what it offers them, its keys
and values, is computed once more in the step after it halted, and kept from then on.

B batch   T positions   P fresh positions: those that took the step before   A of them running, the others just halted
R packed rows   n most running in a row   H heads   K head width   D model width

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .attention_context import AttentionContext
from .position_encoding import Positions


# Copying the keys and values of the other rows costs more than attending from a few empty ones.
MANY_ROWS = 0.9


@dataclass
class Running:
    """The positions of one step, where all are computed and the halted ones thrown away.

    Attributes:
        now: which positions take the step `[B, T]`.
        fresh: which of them, or of those that halted in the step before, offer something new to others `[B, T]`.
    """

    now: Tensor
    fresh: Tensor

    def freeze(self, after: Tensor, before: Tensor) -> Tensor:
        """States `[B, T, D]` after a layer, those of halted positions as before."""
        return torch.where(self.now[..., None], after, before)

    def keep(self, key: Tensor, value: Tensor, kept_key: Tensor | None, kept_value: Tensor | None):
        """Keys and values `[B, H, T, K]`, with those kept from the step before where a position is not fresh."""
        if kept_key is None or kept_value is None:
            return key, value
        fresh = self.fresh[:, None, :, None]
        return torch.where(fresh, key, kept_key), torch.where(fresh, value, kept_value)


@dataclass
class Packing:
    """Where the running positions of a batch go: row by row, without the gaps of those that have halted.

    Attributes:
        batch: B.
        length: T.
        fresh: index of each fresh position among all, ascending `[P]`.
        chosen: index of each running position among the fresh ones `[A]`.
        rows: the rows that are packed `[R]`: all, or those that have any running where enough others are left out.
        columns: column of each running position, any after their end `[R, n]`.
        places: index of each running position in the packed rows `[A]`.
        sources: the reverse: which running position is where, any after their end `[R n]`.
    """

    batch: int
    length: int
    fresh: Tensor
    chosen: Tensor
    rows: Tensor
    columns: Tensor
    places: Tensor
    sources: Tensor

    @classmethod
    def of(cls, fresh: Tensor, chosen: Tensor, batch: int, length: int) -> "Packing":
        """The packing of the `chosen` ones `[A]` among the positions with these indices, ascending `[P]`."""
        running = fresh.index_select(0, chosen)
        row = running // length
        counts = torch.bincount(row, minlength=batch)
        taken = counts > 0
        if int(taken.sum()) > MANY_ROWS * batch:
            taken = torch.ones_like(taken)
        rows = taken.nonzero()[:, 0]
        width = int(counts.max())
        # The first place of each row, less the number of running positions before it.
        shift = (taken.cumsum(0) - 1) * width - (counts.cumsum(0) - counts)
        numbers = torch.arange(len(running), device=row.device)
        places = numbers + shift.index_select(0, row)
        sources = running.new_zeros(len(rows) * width).index_copy(0, places, numbers)
        columns = (running - row * length).index_select(0, sources) if len(running) else sources
        return cls(batch, length, fresh, chosen, rows, columns.view(len(rows), width), places, sources)

    @property
    def whole(self) -> bool:
        """Whether all positions are fresh."""
        return len(self.fresh) == self.batch * self.length

    def lay_out(self, values: Tensor) -> Tensor:
        """Values of the fresh positions `[P, …]` as a batch: `[B, T, …]` of all, else `[1, P, …]`."""
        return values.unflatten(0, (self.batch, self.length)) if self.whole else values[None]

    def running(self, values: Tensor) -> Tensor:
        """The values of the running positions `[A, …]` of the fresh ones `[P, …]`."""
        return values if len(self.chosen) == len(self.fresh) else values.index_select(0, self.chosen)

    def go_on(self, values: Tensor, running: Tensor) -> Tensor:
        """Values of the fresh positions `[P, …]`, with those of the running ones `[A, …]` in their place."""
        return values.index_copy(0, self.chosen, running)

    def keep(self, offered: Tensor, kept: Tensor | None) -> Tensor:
        """What all positions offer `[B, H, T, K]`: fresh ones anew, as they are laid out, the others as before."""
        if self.whole:
            return offered
        _, heads, _, width = offered.shape
        offered = offered[0].transpose(0, 1)  # [P, H, K]
        if kept is None:
            flat = offered.new_zeros(self.batch * self.length, heads, width)
        else:
            flat = kept.transpose(1, 2).flatten(0, 1)
        if torch.is_grad_enabled():
            flat = flat.index_copy(0, self.fresh, offered)
        else:
            flat.index_copy_(0, self.fresh, offered)
        return flat.view(self.batch, self.length, heads, width).transpose(1, 2)

    def of_rows(self, values: Tensor) -> Tensor:
        """The values of the packed rows `[R, …]` of `[B, …]`."""
        return values if len(self.rows) == self.batch else values.index_select(0, self.rows)

    def offered_in_rows(self, offered: Tensor) -> Tensor:
        """Keys or values `[B, H, T, K]` of the packed rows `[R, H, T, K]`."""
        return self.of_rows(offered.transpose(1, 2)).transpose(1, 2)  # as they lie in memory, which is faster

    def pack(self, values: Tensor) -> Tensor:
        """Values of the running positions `[A, …]` in rows, anything after their end `[R, n, …]`."""
        return values.index_select(0, self.sources).view(*self.columns.shape, *values.shape[1:])

    def unpack(self, packed: Tensor) -> Tensor:
        """The values of the running positions `[A, …]` from rows `[R, n, …]`."""
        return packed.flatten(0, 1).index_select(0, self.places)

    def of_fresh(self, values: Tensor) -> Tensor:
        """The values of the fresh positions `[P, …]`, of `[B, T, …]` or `[1, T, …]` for all rows."""
        index = self.fresh % self.length if len(values) == 1 else self.fresh
        return values.flatten(0, 1).index_select(0, index)

    def contexts(self, context: AttentionContext) -> "PackedContext":
        """What the packed positions are told."""
        positions = context.positions
        ids = self.of_fresh(positions.query_ids)
        rotation = (
            positions.rotation if positions.rotation is None or self.whole else self.of_fresh(positions.rotation)[None]
        )
        if not len(self.chosen):
            return PackedContext(ids, rotation, None, None, positions)
        visible_mask = (
            None
            if positions.visible_mask is None or not context.needs_visible_mask
            else self.pairs(positions.visible_mask)
        )
        packed = replace(
            positions,
            query_ids=self.of_rows(positions.query_ids.expand(self.batch, -1)).gather(1, self.columns),
            key_ids=self.of_rows(positions.key_ids.expand(self.batch, -1)),
            columns=positions.first_query + self.columns,
            token_mask=None if positions.token_mask is None else self.of_rows(positions.token_mask),
            sequences=None if positions.sequences is None else self.of_rows(positions.sequences),
            visible_mask=visible_mask,
            randomized_distances=None
            if positions.randomized_distances is None
            else self.of_rows(positions.randomized_distances),
        )
        mask = None if context.added is None else self.pairs(context.added)
        bias = None if context.bias is None else self.pairs(context.bias)
        return PackedContext(ids, rotation, mask, bias, packed)

    def pairs(self, values: Tensor) -> Tensor:
        """Of values of all pairs `[B, H, T, Tk]`, those of the running queries `[R, H, n, Tk]`."""
        batch, heads, length, keys = values.shape
        rows = self.rows[:, None, None] if batch > 1 else 0
        head = torch.arange(heads, device=values.device)[:, None]
        index = (rows * heads + head) * length + self.columns[:, None]  # [R, H, n]
        return values.reshape(-1, keys).index_select(0, index.flatten()).view(*index.shape, keys)


@dataclass
class PackedContext:
    """What a layer is told of packed positions.

    Attributes:
        ids: position ids of the fresh positions `[P]`.
        rotation: what `rotate` reads of these ids, laid out as a batch; or None.
        mask: added to the scores `[R, 1, n, Tk]` or `[R, H, n, Tk]`, biases included; None under eager attention.
        bias: under eager attention, the pair bias of the layer's encoding `[R, H, n, Tk]`, or None.
        positions: where the running positions stand.
    """

    ids: Tensor
    rotation: Tensor | None
    mask: Tensor | None
    bias: Tensor | None
    positions: Positions
