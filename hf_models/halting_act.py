"""Adaptive computation: each position decides after how many steps it halts.

A rule looks at the states before and after each step. It says which positions go on, and what comes out of them in the
end. The state of a halted position is frozen.

B batch   T positions   D model width

SPDX-License-Identifier: Apache-2.0
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .precision import at_least_float32, exact_dtype


class HaltingUnit(nn.Linear):
    """The logit of the halting probability of a state `[B, T, 1]`."""

    def __init__(self, config):
        self.initial_bias = float(config.halting_bias)
        super().__init__(config.hidden_size, 1)

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
        total: sum of the weights, or of the probabilities, so far `[B, T]`.
        steps: number of steps taken, N in the end `[B, T]`.
        remainders: weight of the halting step, R `[B, T]`; 0 while running and on padding.
        weight: share of the state after the last step in the output `[B, T]`.
        probabilities: of halting at each step so far, where the loss needs them, `[B, T]` each.
        rows: the sequence of each position, where positions of several are in one row `[T]`.
        predicted: the token that each position predicts now, where the rule looks at that `[B, T]`.
    """

    running: Tensor
    total: Tensor
    steps: Tensor
    remainders: Tensor
    weight: Tensor
    probabilities: tuple[Tensor, ...] = ()
    predicted: Tensor | None = None
    rows: Tensor | None = None

    @classmethod
    def start(cls, states: Tensor, token_mask: Tensor | None) -> "Halting":
        """Nothing done yet; padding, where `token_mask` `[B, T]` is false, has halted before the first step."""
        zeros = states.new_zeros(states.shape[:2], dtype=exact_dtype(states.dtype))
        running = torch.ones_like(zeros, dtype=torch.bool) if token_mask is None else token_mask.bool()
        return cls(running, zeros, zeros, zeros, zeros)

    def select(self, chosen: Tensor) -> "Halting":
        """Of one row of positions, those with these indices."""

        def part(values):
            return values[0].index_select(0, chosen)[None]

        return Halting(
            part(self.running),
            part(self.total),
            part(self.steps),
            part(self.remainders),
            part(self.weight),
            probabilities=tuple(map(part, self.probabilities)),
            predicted=None if self.predicted is None else part(self.predicted),
        )

    @classmethod
    def place(cls, index: Tensor, parts: Sequence["Halting"], batch: int, length: int) -> "Halting":
        """All positions `[B, T]`, of rows of some `[1, L]` and the indices of all these; the others are zero."""

        def placed(name):
            values = torch.cat([getattr(part, name)[0] for part in parts])
            every = values.new_zeros(batch * length, *values.shape[1:])
            return every.index_copy(0, index, values).unflatten(0, (batch, length))

        return cls(*map(placed, ("running", "total", "steps", "remainders", "weight")))


class HaltingRule(nn.Module):
    """Adaptive computation time, and the base of all rules.

    At step n a running position halts with probability p_n = sigmoid(w s + b), read before the step. It stops at the
    first step N at which p_1 + … + p_N reaches the threshold, or at the last step; that step has the remainder
    R = 1 - (p_1 + … + p_{N-1}) as its weight. The output is the weighted sum of the states after each step, so the
    weights of a position sum to one. The ponder cost is N + R.

    Graves 2016, https://arxiv.org/abs/1603.08983, applied per position as in Dehghani et al. 2019,
    https://arxiv.org/abs/1807.03819.
    """

    freezes = True  # a halted position takes no further step
    mixes = True  # the output is a mixture of the states, of which the halting step has the remainder

    @property
    def keeps_all(self) -> bool:
        """Whether all positions take all steps for now."""
        return False

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.unit = HaltingUnit(config)

    def probability(self, states: Tensor) -> Tensor:
        """Halting probabilities `[B, T]` of states `[B, T, D]`; the sigmoid is taken in float32."""
        return at_least_float32(self.unit(states)[..., 0]).sigmoid()

    def goes_on(self, halting: Halting) -> Tensor:
        """Which positions take the next step `[B, T]`."""
        return halting.running

    def advance(self, halting: Halting, before: Tensor, after: Tensor, last: bool, readout=None) -> Halting:
        """The halting after one more step.

        Args:
            halting: the halting before it.
            before: states before the step `[B, T, D]`.
            after: states after it, those of halted positions as before `[B, T, D]`.
            last: whether there is no further step, so that all running positions halt.
            readout: maps states to logits, for rules that look at predictions.
        """
        probability = self.probability(before)
        reached = halting.total + probability >= self.config.halting_threshold
        halts = halting.running & (torch.ones_like(reached) if last else reached)
        remainder = 1 - halting.total
        weight = torch.where(halts, remainder, probability) * halting.running
        return replace(
            halting,
            running=halting.running & ~halts,
            total=halting.total + weight,
            steps=halting.steps + halting.running,
            remainders=torch.where(halts, remainder, halting.remainders),
            weight=weight,
        )

    def mix(self, output: Tensor, weight: Tensor, after: Tensor) -> Tensor:
        """The output one step later `[B, T, D]`; `weight` is that of the state after the step."""
        return torch.addcmul(output, weight[..., None].to(after.dtype), after)

    def cost(self, halting: Halting) -> Tensor | None:
        """The ponder cost of each position `[B, T]`: N + R, of which R alone has a gradient; None if there is none."""
        return halting.steps + halting.remainders


class PublishedHalting(HaltingRule):
    """The halting of the Universal Transformer's published code, which differs from its paper; for comparison.

    Halted positions go on changing with the others, until all have halted. The output is mixed as w s + (1 - w) o
    instead of summed, and nothing is forced at the last step, so that the weights need not sum to one.

    Dehghani et al. 2019, https://arxiv.org/abs/1807.03819, in tensor2tensor.
    """

    freezes = False

    def goes_on(self, halting):
        """All of them, as long as one runs."""
        return torch.ones_like(halting.running) & halting.running.any()

    def advance(self, halting, before, after, last, readout=None):
        """Running positions take their share of the state."""
        probability = self.probability(before) * halting.running
        reached = halting.total + probability > self.config.halting_threshold
        halts = halting.running & reached
        goes_on = halting.running & ~reached
        remainder = (1 - halting.total) * halts
        weight = probability * goes_on + remainder
        return replace(
            halting,
            running=goes_on,
            total=halting.total + weight,
            steps=halting.steps + halting.running,
            remainders=halting.remainders + remainder,
            weight=weight,
        )

    def mix(self, output, weight, after):
        """The published mixture."""
        weight = weight[..., None].to(after.dtype)
        return weight * after + (1 - weight) * output


def mean_ponder_cost(cost: Tensor, token_mask: Tensor | None, labels: Tensor | None, items=None) -> Tensor:
    """Mean of a cost over the real positions, normalised like the task loss.

    Each sequence's mean cost counts as often as it has labels, and the sum is divided by the number of labels in the
    whole batch. So four micro-batches of one add up to one of four, on any number of processes.

    Args:
        cost: of each position `[B, T]`.
        token_mask: 1 on real tokens `[B, T]`, or None.
        labels: what the task scores, -100 left out, any shape beginning with B; None counts every sequence once.
        items: number of labels over all micro-batches and processes (`num_items_in_batch`), or None for this batch's.
    """
    token_mask = torch.ones_like(cost) if token_mask is None else token_mask.to(cost.dtype)
    mean = (cost * token_mask).sum(-1) / token_mask.sum(-1).clamp(min=1)  # [B]
    counts = torch.ones_like(mean) if labels is None else (labels != -100).reshape(mean.shape[0], -1).sum(-1)
    items = counts.sum().clamp(min=1) if items is None else torch.as_tensor(items, device=mean.device)
    return (mean * counts).sum() / items
