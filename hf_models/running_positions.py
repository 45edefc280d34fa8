"""Which positions a step of a recurrent model computes, when some have halted, and how they are put together.

A halted position leaves the queries and the feed-forward layer. Others go on seeing it: what it offers them, its keys
and values, is computed once more in the step after it halted, and kept from then on.

B batch   T positions   A running positions of the batch   L those that halted in the step before   P = A + L
R rows with any running   n most in a row   H heads   K head width   D model width

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .position_encoding import Positions


@dataclass
class Running:
    """The positions of one step, where all are computed and the halted ones thrown away.

    Attributes:
        now: which positions take the step `[B, T]`.
        fresh: which of them, or of those that halted in the step before, offer something new to others `[B, T]`.
    """

    now: Tensor
    fresh: Tensor

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
        running: index of each running position among all `[A]`, in their order.
        fresh: index of each running and then of each leaving position `[P]`.
        rows: the rows that have any running `[R]`.
        columns: column of each running position, 0 after their end `[R, n]`.
        places: index of each running position in the packed rows `[A]`.
    """

    batch: int
    length: int
    running: Tensor
    fresh: Tensor
    rows: Tensor
    columns: Tensor
    places: Tensor

    @classmethod
    def of(cls, running: Tensor, leaving: Tensor, batch: int, length: int) -> "Packing":
        """The packing of the positions with these indices `[A]`, when those at `[L]` have just halted."""
        row = running // length
        counts = torch.bincount(row, minlength=batch)
        rows = counts.nonzero()[:, 0]
        width = int(counts.max())
        before = counts.cumsum(0) - counts  # running positions in earlier rows
        place_of_row = (counts > 0).cumsum(0) - 1
        places = place_of_row[row] * width + torch.arange(len(running), device=row.device) - before[row]
        columns = running.new_zeros(len(rows) * width).index_copy(0, places, running % length)
        return cls(
            batch, length, running, torch.cat([running, leaving]), rows, columns.view(len(rows), width), places
        )

    def keep(self, offered: Tensor, kept: Tensor | None) -> Tensor:
        """What all positions offer `[B, H, T, …]`: the fresh ones anew `[1, H, P, …]`, the others as before."""
        _, heads, _, width = offered.shape
        offered = offered[0].transpose(0, 1)  # [P, H, …]
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
        """The values of the rows that have any running `[R, …]` of `[B, …]`."""
        return values if len(self.rows) == self.batch else values.index_select(0, self.rows)

    def pack(self, values: Tensor) -> Tensor:
        """Values of the running positions `[A, …]` in rows, zeros after their end `[R, n, …]`."""
        packed = values.new_zeros(self.columns.numel(), *values.shape[1:]).index_copy(0, self.places, values)
        return packed.view(*self.columns.shape, *values.shape[1:])

    def unpack(self, packed: Tensor) -> Tensor:
        """The values of the running positions `[A, …]` from rows `[R, n, …]`."""
        return packed.flatten(0, 1).index_select(0, self.places)

    def ids(self, at: Positions) -> Tensor:
        """Position ids of the fresh positions `[1, P]`."""
        if len(at.query_ids) == 1:
            return at.query_ids[:, self.fresh % self.length]
        return at.query_ids.flatten()[None, self.fresh]

    def positions(self, at: Positions) -> Positions:
        """Where the running positions stand, as queries."""
        return replace(
            at,
            query_ids=self.of_rows(at.query_ids.expand(self.batch, -1)).gather(1, self.columns),
            key_ids=self.of_rows(at.key_ids.expand(self.batch, -1)),
            columns=at.first_query + self.columns,
            real=None if at.real is None else self.of_rows(at.real),
            visible=None if at.visible is None else self.pairs(at.visible),
            drawn=None if at.drawn is None else self.of_rows(at.drawn),
        )

    def pairs(self, values: Tensor) -> Tensor:
        """Of values of all pairs `[B, H, T, Tk]`, those of the running queries `[R, H, n, Tk]`."""
        if len(values) == 1:
            heads = [head.index_select(0, self.columns.flatten()) for head in values[0]]
            return torch.stack([head.view(*self.columns.shape, -1) for head in heads], dim=1)
        values = self.of_rows(values)
        columns = self.columns[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[3])
        return values.gather(2, columns)
