"""Exits at inference: a trained model stops where further steps change little.

B batch   T positions   D model width   V vocabulary

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .halting_act import HaltingRule
from .precision import at_least_float32


class EarlyExit(HaltingRule):
    """Leaves the loop where a criterion holds; the output is the state there.

    "latent_difference": the step changes the state by less than `exit_threshold` times its length. "stable_argmax":
    the predicted token has stayed the same for `exit_threshold` steps. Per position, or per sequence: then all real
    positions of a row must meet the criterion in the same step. Geiping et al. 2025, https://arxiv.org/abs/2502.05171,
    compare such criteria.
    """

    mixes = False

    def __init__(self, config):
        nn.Module.__init__(self)
        self.config = config

    def advance(self, halting, before, after, last, readout: Any = None):
        """Halts where the criterion holds."""
        if self.config.exit_criterion == "latent_difference":
            step, length = (at_least_float32(states).norm(dim=-1) for states in (after - before, before))
            change = step / length.clamp(min=1e-6)
            held, total, predicted = change < self.config.exit_threshold, halting.total, None
        else:
            predicted = readout(after).argmax(-1)  # [B, T]
            same = torch.zeros_like(halting.running) if halting.predicted is None else predicted == halting.predicted
            total = torch.where(same, halting.total + 1, torch.zeros_like(halting.total))
            held = total >= self.config.exit_threshold
        if self.config.exit_scope == "sequence":
            held = whole(held | ~halting.running, halting.rows)
        halts = halting.running & (torch.ones_like(halting.running) if last else held)
        return replace(
            halting,
            running=halting.running & ~halts,
            total=total,
            steps=halting.steps + halting.running,
            weight=halts.to(total.dtype),
            predicted=predicted,
        )


def whole(held: Tensor, rows: Tensor | None) -> Tensor:
    """Whether a criterion holds at all positions of a sequence, for each of them `[B, T]`."""
    if rows is None:
        return held.all(-1, keepdim=True).expand_as(held)
    _, row = rows.unique(return_inverse=True)
    every = held.new_ones(len(rows), dtype=torch.int).scatter_reduce(0, row, held[0].int(), "amin")
    return every[row].bool()[None]
