"""The context of a layer in a forward pass: masks, biases, positions.

B batch   T new tokens   Tq query positions   Tk key positions   H heads

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .position_encoding import PositionEncoding, Positions


@dataclass
class AttentionContext:
    """Masks, biases and positions of a layer in a forward pass.

    Attributes:
        mask: as transformers' mask functions make it, or a tensor added to the scores; None under eager attention,
            which reads `positions.visible_mask`.
        bias: the pair bias of the layer's encoding `[B, H, T, Tk]`, or None; where the mask is added, part of it.
        positions: where the tokens stand, and what they see.
        needs_visible_mask: whether attention reads `positions.visible_mask`.
        added: the mask as it is added to the scores `[B, 1 or H, T, Tk]`, where positions may be put together.
        source: in a decoder, what `CrossAttention` takes after the states: keys, values and mask of the source.
    """

    mask: Any
    bias: Tensor | None
    positions: Positions
    needs_visible_mask: bool = True
    added: Tensor | None = None
    source: tuple = ()

    def of(self, states: Tensor, encoding: PositionEncoding) -> tuple:
        """The positional arguments of a layer for these states."""
        return states, self.mask, self.bias, self.positions, encoding, *self.source


def added_mask(mask: Tensor | None, bias: Tensor | None, positions: Positions, dtype: torch.dtype) -> Tensor:
    """Mask and bias as one tensor that is added to the scores `[B, 1 or H, T, Tk]`.

    What is not visible is finite, so that a query that sees nothing has a result; nobody reads it.

    Args:
        mask: which keys each query sees, or what is added to their scores already `[B, 1, T, Tk]`; None where queries
            see their past alone, if the model is causal, or everything.
        bias: the pair bias `[B, H, T, Tk]`, or None.
        positions: where the tokens stand.
        dtype: that of queries and keys.
    """
    if mask is not None and mask.is_floating_point():
        return mask if bias is None else mask + bias.to(mask.dtype)
    if mask is None:
        mask = visible_pairs(positions, positions.query_ids.shape[1], None, None)
    bias = torch.zeros((), dtype=dtype, device=mask.device) if bias is None else bias.to(dtype)
    return torch.where(mask, bias, torch.finfo(dtype).min)


def fit(values: Tensor, offset: int, length: int) -> Tensor:
    """`length` columns of `values` from `offset` on, zeros after their end `[B, length]`."""
    return torch.nn.functional.pad(values[:, offset : offset + length], (0, max(0, length + offset - values.shape[1])))


def visible_pairs(positions: Positions, queries: int, attention_mask: Tensor | None, window: int | None) -> Tensor:
    """Which keys each query sees `[B, 1, Tq, Tk]`.

    Args:
        positions: where the tokens stand.
        queries: Tq.
        attention_mask: what the caller gave; one of four dimensions is the answer.
        window: how many keys a query sees, itself included; on each side if the model is not causal.
    """
    if attention_mask is not None and attention_mask.dim() == 4:
        return attention_mask == 0 if attention_mask.is_floating_point() else attention_mask.bool()
    device = positions.key_ids.device
    query = positions.first_query + torch.arange(queries, device=device)[:, None]
    key = torch.arange(positions.key_ids.shape[1], device=device)[None]
    visible_mask = key <= query if positions.is_causal else torch.ones_like(key <= query)
    if window is not None:
        visible_mask = visible_mask & (query - key < window if positions.is_causal else (query - key).abs() <= window)
    visible_mask = visible_mask[None, None]
    if positions.sequences is not None:
        visible_mask = visible_mask & (positions.sequences[:, None, :, None] == positions.sequences[:, None, None, :])
    return visible_mask if positions.token_mask is None else visible_mask & positions.token_mask[:, None, None, :]
