"""Which integers the tokens carry: consecutive, from a random offset, a sorted random subset, counted within runs.

Ids and encoding are independent choices. Random ids are drawn here in training; in evaluation they are given by the
caller, for the final length at once, so that a result depends neither on the batch nor on the step of a generation.

B batch   T new tokens   S all tokens, cached ones first

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor


RANDOM_SCHEMES = ("random_offset", "randomized", "randomized_distances")  # drawn, for the final length at once

GROWING_SCHEMES = ("consecutive", "random_offset", "randomized")  # within a sequence each id is greater than the last


def consecutive_ids(length: int, attention_mask: Tensor | None, device) -> Tensor:
    """0, 1, 2 … over the real tokens of each row `[B, S]` or, without a mask, `[1, S]`."""
    if attention_mask is None or attention_mask.dim() != 2:
        return torch.arange(length, device=device)[None]
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def draw_position_ids(scheme: str, batch: int, length: int, size: int, device=None) -> Tensor:
    """Draws random ids `[B, S]` below `size`, one draw per row, with torch's global generator.

    Args:
        scheme: "random_offset", "randomized", or "randomized_distances": then entry d is what distance d counts as.
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


def abacus_ids(input_ids: Tensor, tokens: list[int], offsets: Tensor | None = None) -> Tensor:
    """Index of each token within its run of `tokens`, from 1; 0 on other tokens `[B, S]`.

    McLeish et al. 2024, https://arxiv.org/abs/2405.17399.

    Args:
        input_ids: all tokens, cached ones first `[B, S]`.
        tokens: those whose runs are counted: the digits.
        offsets: what is added to the ids of a row's runs `[B, 1]`, or None.
    """
    counted = torch.isin(input_ids, torch.tensor(tokens, device=input_ids.device))
    places = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device).expand_as(input_ids)
    last_other = torch.where(counted, 0, places).cummax(dim=-1)[0]
    ids = places - last_other
    return ids if offsets is None else ids + offsets * counted


def resolve_position_ids(
    config,
    position_ids: Tensor | None,
    attention_mask: Tensor | None,
    states: Tensor,
    past: int,
    training: bool,
    input_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Ids of all tokens of a forward pass, cached and new, and what distances count as if those are drawn at random.

    Args:
        config: the model's configuration.
        position_ids: what the caller gave: ids of all tokens, or of the new ones alone, or None. Where the scheme
            draws distances, what each distance counts as.
        attention_mask: 1 on real tokens `[B, S]`, or None.
        states: the new tokens' states, for their shape and device `[B, T, D]`.
        past: number of cached tokens.
        training: whether the training scheme applies.
        input_ids: the new tokens `[B, T]`, or None where the caller gave embeddings.

    Returns:
        Ids `[B, S]` or `[1, S]`, and drawn distances `[B, S]` or None.

    Raises:
        ValueError: ids are missing that cannot be derived.
    """
    batch, length = states.shape[:2]
    scheme = config.position_ids_scheme if training else config.eval_position_ids_scheme
    total = past + length
    given = 0 if position_ids is None else position_ids.shape[-1]
    # A learned prefix is cached before the first token: ids of all tokens are then fewer than keys.
    fits = length <= given <= total if scheme == "consecutive" else given in (length, total)
    if position_ids is not None and not fits:
        raise ValueError(f"position_ids cover {given} tokens; there are {length} new and {past} cached.")
    complete = position_ids if given == total else None
    if scheme == "randomized_distances":
        if complete is None:
            complete = _drawn(config, scheme, batch, length, past, training, states.device)
        return consecutive_ids(total, attention_mask, states.device), complete.expand(batch, -1)
    if complete is not None:
        return complete, None
    if scheme == "consecutive":
        ids = consecutive_ids(total, attention_mask, states.device)
        if position_ids is None:
            return ids, None
        rows = max(ids.shape[0], position_ids.shape[0])
        return torch.cat([ids[:, : total - given].expand(rows, -1), position_ids.expand(rows, -1)], dim=-1), None
    if scheme == "abacus" and position_ids is None and past == 0 and input_ids is not None:
        offsets = torch.randint(config.abacus_offset, (batch, 1), device=states.device) if training else None
        return abacus_ids(input_ids, config.abacus_tokens, offsets), None
    return _drawn(config, scheme, batch, length, past, training, states.device), None


def _drawn(config, scheme, batch, length, past, training, device) -> Tensor:
    if scheme in RANDOM_SCHEMES and training and past == 0:
        return draw_position_ids(scheme, batch, length, config.max_position_embeddings, device)
    hint = " (position_ids.draw_position_ids draws them)" if scheme in RANDOM_SCHEMES else ""
    raise ValueError(
        f"position ids are {scheme!r}: pass position_ids for all {past + length} tokens, cached ones included{hint}."
    )
