"""Several sequences in one row, without padding between them: position ids that start again separate them.

Attention then sees its own sequence only, and recurrent states begin anew, as in transformers
(`DataCollatorWithFlattening`).

B batch   T tokens   N sequences of all rows   L tokens of the longest   D model width

SPDX-License-Identifier: Apache-2.0
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def find_sequences(position_ids: Tensor, attention_mask: Tensor | None, batch: int) -> Tensor:
    """The index, within its row, of the sequence that each token belongs to `[B, T]`.

    A real token begins a sequence where its id is not greater than that of the real token before it.

    Args:
        position_ids: `[B, T]` or `[1, T]`.
        attention_mask: 1 on real tokens, 0 on padding `[B, T]`, or None.
        batch: B.
    """
    ids = position_ids.expand(batch, -1)
    token_mask = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    last_real = torch.where(token_mask, places, -1).cummax(dim=-1)[0]
    # The real token before each, or -1; without slices of T - 1, for which a graph would not hold for every length.
    before = torch.where(places > 0, last_real.gather(1, (places - 1).clamp(min=0)), -1)
    starts_again = token_mask & (before >= 0) & (ids <= ids.gather(1, before.clamp(min=0)))
    return starts_again.long().cumsum(-1)


def same_sequence(sequences: Tensor) -> Callable:
    """A mask function of transformers: whether query and key are of one sequence, given `[B, T]`."""

    def is_same(batch_idx, head_idx, q_idx, kv_idx):
        return sequences[batch_idx, q_idx] == sequences[batch_idx, kv_idx]

    return is_same


class Unpacking:
    """Moves sequences of packed rows `[B, T, D]` to rows of their own `[N, L, D]`, and back.

    Args:
        sequences: the sequence of each token within its row `[B, T]`.
    """

    def __init__(self, sequences: Tensor):
        counts = sequences[:, -1:] + 1  # [B, 1]
        self.rows = sequences + counts.cumsum(0) - counts  # [B, T]
        places = torch.arange(sequences.shape[1], device=sequences.device).expand_as(sequences)
        begins = nn.functional.pad(sequences[:, 1:] != sequences[:, :-1], (1, 0), value=True)
        self.places = places - torch.where(begins, places, 0).cummax(dim=-1)[0]  # [B, T]
        self.shape = int(counts.sum()), int(self.places.max()) + 1

    def unpack(self, values: Tensor) -> Tensor:
        """Values `[B, T, …]` as `[N, L, …]`, with zeros after the end of a sequence."""
        rows = values.new_zeros(*self.shape, *values.shape[2:])
        return rows.index_put((self.rows, self.places), values)

    def pack(self, rows: Tensor) -> Tensor:
        """Values `[N, L, …]` as `[B, T, …]`."""
        return rows[self.rows, self.places]
