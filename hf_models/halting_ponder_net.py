"""PonderNet: a distribution over the number of steps, trained through the loss of every step.

Banino et al. 2021, https://arxiv.org/abs/2107.05407.

B batch   T positions   N steps   V classes

SPDX-License-Identifier: Apache-2.0
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from .halting_act import HaltingRule
from .precision import at_least_float32


class PonderNet(HaltingRule):
    """Each step halts with a probability of its own; the last step takes what is left.

    With q_n = sigmoid(w s_n + b), read after step n, a position halts at step n with probability
    p_n = q_n (1 - q_1) … (1 - q_{n-1}). In training all steps are taken by all positions, the task loss is the mixture
    of the losses of each step, and the ponder cost is the divergence of p from a geometric prior. In evaluation a
    position halts for certain at the first step at which p_1 + … + p_n reaches the threshold, and its output is the
    state there.

    Banino et al. 2021, https://arxiv.org/abs/2107.05407.
    """

    mixes = False

    @property
    def keeps_all(self):
        """In training, where every step is scored."""
        return self.training

    def goes_on(self, halting):
        """In training all, in evaluation those that have not halted."""
        return torch.ones_like(halting.running) if self.training else halting.running

    def advance(self, halting, before, after, last, readout=None):
        """Records the step's probability; in evaluation halts where the sum reaches the threshold."""
        left = 1 - halting.total
        probability = left if last else self.probability(after) * left
        total = halting.total + probability
        reached = torch.ones_like(halting.running) if last else total >= self.config.halting_threshold
        halts = halting.running & (reached if not self.training else torch.full_like(reached, last))
        return replace(
            halting,
            running=halting.running & ~halts,
            total=torch.where(halting.running, total, halting.total),
            steps=halting.steps + halting.running,
            weight=halts.to(total.dtype),
            probabilities=(*halting.probabilities, probability * halting.running) if self.training else (),
        )

    def cost(self, halting):
        """In training, the divergence of the halting distribution from the prior, of each position `[B, T]`."""
        if not self.training:
            return None
        return divergence(torch.stack(halting.probabilities), self.config.halting_prior)


def divergence(probabilities: Tensor, prior: float) -> Tensor:
    """KL divergence from a geometric distribution, cut off after N steps and normalised, to `probabilities`.

    Args:
        probabilities: of halting at each step `[N, B, T]`.
        prior: probability with which the geometric distribution halts at each step.
    """
    steps = torch.arange(len(probabilities), dtype=probabilities.dtype, device=probabilities.device)
    geometric = prior * (1 - prior) ** steps
    geometric = (geometric / geometric.sum())[:, None, None]
    ratio = probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log() - geometric.log()
    return (probabilities * ratio).sum(0)


def expected_loss(
    logits: Iterable[Tensor], probabilities: Iterable[Tensor], labels: Tensor, items=None, smoothing: float = 0.0
) -> Tensor:
    """The task loss: the cross-entropy of each step, weighted by the probability of halting there.

    Args:
        logits: after each step `[B, T, V]`, or `[B, V]` of sequences.
        probabilities: of halting at each step `[B, T]`, or `[B]`.
        labels: classes `[B, T]`, or `[B]`; -100 is not scored.
        items: number of labels over all micro-batches and processes, or None for this batch's.
        smoothing: share of the uniform distribution in the targets of every step.

    Raises:
        ValueError: the labels are numbers to regress on, or several classes at once.
    """
    if labels.is_floating_point():
        raise ValueError("PonderNet's mixture of losses needs labels of classes, one each.")
    losses = []
    for predicted, probability in zip(logits, probabilities, strict=True):
        flat = at_least_float32(predicted).flatten(0, -2)
        loss = nn.functional.cross_entropy(flat, labels.flatten(), reduction="none", label_smoothing=smoothing)
        losses.append((loss * probability.flatten()).sum())
    scored = (labels != -100).sum().clamp(min=1) if items is None else torch.as_tensor(items, device=labels.device)
    return sum(losses[1:], losses[0]) / scored
