"""Which integers the tokens carry: consecutive, from a random offset, or a sorted random subset.

Ids and encoding are independent choices. Random ids are drawn here in training; in evaluation they are given by the
caller, for the final length at once, so that a result depends neither on the batch nor on the step of a generation.

B batch   T new tokens   S all tokens, cached ones first

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor


def consecutive_ids(length: int, attention_mask: Tensor | None, device) -> Tensor:
    """0, 1, 2 … over the real tokens of each row `[B, S]` or, without a mask, `[1, S]`."""
    if attention_mask is None or attention_mask.dim() != 2:
        return torch.arange(length, device=device)[None]
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def draw_position_ids(scheme: str, batch: int, length: int, size: int, device=None) -> Tensor:
    """Draws random ids `[B, S]` below `size`, one draw per row, with torch's global generator.

    Args:
        scheme: "random_offset" or "randomized".
        batch: number of rows.
        length: number of tokens per row, the final one where tokens are generated.
        size: ids lie in [0, size): `max_position_embeddings`.
        device: where to draw.

    Raises:
        ValueError: the sequence is longer than the range.
    """
    if length > size:
        raise ValueError(f"{length} tokens need as many position ids; max_position_embeddings allows {size}.")
    if scheme == "random_offset":
        offsets = torch.randint(size - length + 1, (batch, 1), device=device)
        return offsets + torch.arange(length, device=device)
    # The indices of the largest of `size` random numbers are a uniform subset without replacement.
    return torch.rand(batch, size, device=device).topk(length, dim=-1).indices.sort(dim=-1).values


def resolve_position_ids(
    config, position_ids: Tensor | None, attention_mask: Tensor | None, states: Tensor, past: int, training: bool
) -> Tensor:
    """Ids of all tokens, cached and new, of a forward pass `[B, S]` or `[1, S]`.

    Args:
        config: the model's configuration.
        position_ids: what the caller gave: ids of all tokens, or of the new ones alone, or None.
        attention_mask: 1 on real tokens `[B, S]`, or None.
        states: the new tokens' states, for their shape and device `[B, T, D]`.
        past: number of cached tokens.
        training: whether the training scheme applies.

    Raises:
        ValueError: ids are missing that cannot be derived.
    """
    batch, length = states.shape[:2]
    scheme = config.position_ids_scheme if training else config.eval_position_ids_scheme
    total = past + length
    if position_ids is not None and position_ids.shape[-1] == total:
        return position_ids
    if position_ids is not None and position_ids.shape[-1] != length:
        raise ValueError(
            f"position_ids cover {position_ids.shape[-1]} tokens; there are {length} new and {past} cached."
        )
    if scheme == "consecutive":
        if position_ids is None:
            return consecutive_ids(total, attention_mask, states.device)
        cached = consecutive_ids(total, attention_mask, states.device)[:, :past]
        rows = max(len(cached), len(position_ids))
        return torch.cat([cached.expand(rows, -1), position_ids.expand(rows, -1)], dim=-1)
    if position_ids is None and training and past == 0:
        return draw_position_ids(scheme, batch, length, config.max_position_embeddings, states.device)
    raise ValueError(
        f"position ids are {scheme!r}: pass position_ids for all {total} tokens, cached ones included "
        "(position_ids.draw_position_ids draws them)."
    )
