"""Adaptive computation time: each position decides after how many steps it halts.

Graves 2016, https://arxiv.org/abs/1603.08983, applied per position as in Dehghani et al. 2019,
https://arxiv.org/abs/1807.03819. At step n a running position halts with probability p_n = sigmoid(w s + b), read
before the step. It stops at the first step N at which p_1 + … + p_N reaches the threshold, or at the last step; that
step has the remainder R = 1 - (p_1 + … + p_{N-1}) as its weight. The output is the weighted sum of the states
after each step, so the weights of a position sum to one. The state of a halted position is frozen. The ponder cost is
N + R.

B batch   T positions   D model width

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import initialization as init


class HaltingUnit(nn.Linear):
    """The halting probability of a state; the sigmoid is taken in float32."""

    def __init__(self, config):
        self.initial_bias = float(config.halting_bias)
        super().__init__(config.hidden_size, 1)

    def forward(self, input: Tensor) -> Tensor:
        """Halting probabilities `[B, T]` of states `[B, T, D]`."""
        return super().forward(input)[..., 0].float().sigmoid()

    @torch.no_grad()
    def initialise(self):
        """Weights of scale 1 / sqrt(D) and the configured bias: positive, so that few steps are taken at first."""
        init.normal_(self.weight, std=self.in_features**-0.5)
        init.constant_(self.bias, self.initial_bias)


@dataclass
class Halting:
    """How far each position has come.

    Attributes:
        running: whether the position takes the next step `[B, T]`.
        total: sum of the weights so far `[B, T]`.
        steps: number of steps taken, N in the end `[B, T]`.
        remainders: weight of the halting step, R `[B, T]`; 0 while running and on padding.
        output: weighted sum of the states `[B, T, D]`.
    """

    running: Tensor
    total: Tensor
    steps: Tensor
    remainders: Tensor
    output: Tensor

    @classmethod
    def start(cls, states: Tensor, real: Tensor | None) -> "Halting":
        """Nothing done yet; padding, where `real` `[B, T]` is false, has halted before the first step."""
        zeros = torch.zeros(states.shape[:2], dtype=torch.float32, device=states.device)
        running = torch.ones_like(zeros, dtype=torch.bool) if real is None else real.bool()
        return cls(running, zeros, zeros, zeros, torch.zeros_like(states))

    def advance(self, before: Tensor, after: Tensor, probability: Tensor, threshold: float, last: bool):
        """Takes one step; returns the new Halting and the states `[B, T, D]`, frozen where halted.

        Args:
            before: states before the step `[B, T, D]`.
            after: states after it `[B, T, D]`.
            probability: halting probability of this step `[B, T]`.
            threshold: sum of probabilities at which a position halts.
            last: whether there is no further step, so that all running positions halt.
        """
        reached = self.total + probability >= threshold
        halts = self.running & (torch.ones_like(reached) if last else reached)
        remainder = 1 - self.total
        weight = torch.where(halts, remainder, probability) * self.running
        halting = Halting(
            running=self.running & ~halts,
            total=self.total + weight,
            steps=self.steps + self.running,
            remainders=torch.where(halts, remainder, self.remainders),
            output=self.output + weight[..., None].to(after.dtype) * after,
        )
        return halting, torch.where(self.running[..., None], after, before)


def ponder_loss(steps: Tensor, remainders: Tensor, real: Tensor | None, labels: Tensor | None, items=None) -> Tensor:
    """Mean ponder cost N + R over the real positions, normalised like the task loss.

    Each sequence's mean cost counts as often as it has labels, and the sum is divided by the number of labels in the
    whole batch. So four micro-batches of one add up to one of four, on any number of processes.

    Args:
        steps: N `[B, T]`.
        remainders: R `[B, T]`; the only part with a gradient.
        real: 1 on real tokens `[B, T]`, or None.
        labels: what the task scores, -100 left out, any shape beginning with B; None counts every sequence once.
        items: number of labels over all micro-batches and processes (`num_items_in_batch`), or None for this batch's.
    """
    real = torch.ones_like(steps) if real is None else real.to(steps.dtype)
    cost = ((steps + remainders) * real).sum(-1) / real.sum(-1).clamp(min=1)  # [B]
    counts = torch.ones_like(cost) if labels is None else (labels != -100).reshape(len(cost), -1).sum(-1)
    items = counts.sum().clamp(min=1) if items is None else torch.as_tensor(items, device=cost.device)
    return (cost * counts).sum() / items
