"""Compute sqrt: a root that no digit can be said of without all the digits above it."""

from dataclasses import dataclass

import numpy as np

from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.numbers import floor_sqrt
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.task import Task


@register_task
@dataclass(frozen=True, kw_only=True)
class ComputeSqrt(Task):
    """What is the square root of a binary number, rounded down?

    The number is at least 1 and may begin with zeros, and the answer always has half as many bits, rounded up. The
    source's text writes the least significant bit first, its code, and so its published scores, the most significant.

    Attributes:
        most_significant_first: whether numbers are written as in the source's code.

    Example:
        1 0 1 1 0 -> 1 1 0
    """

    name = "compute_sqrt"
    skill = "arithmetic"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "bits in the input"
    examples = (("1 0 1 1 0", "1 1 0"),)
    input_alphabet = ("0", "1")
    output_alphabet = ("0", "1")
    most_significant_first: bool = False

    def output_length(self, length: int) -> int:
        """Half as many bits, rounded up."""
        return (length + 1) // 2

    def distinct_inputs(self, length: int) -> int:
        """All numbers but zero."""
        return 2**length - 1

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Uniform numbers above zero; [count, length]."""
        inputs = draw_bits(length, count, rng)
        while (zeros := ~inputs.any(axis=1)).any():
            inputs[zeros] = draw_bits(length, int(zeros.sum()), rng)
        return inputs

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Turns numbers to have the least significant bit first, takes the roots, and turns them back."""
        root_lengths = (input_lengths + 1) // 2
        roots = floor_sqrt(self._turned(fill_after(inputs, input_lengths), input_lengths))
        return Answer(self._turned(roots, root_lengths), root_lengths)

    def _turned(self, bits: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Reverses the bits [count, W] before each row's length, where the most significant one comes first."""
        if not self.most_significant_first:
            return bits
        places = np.arange(bits.shape[1])
        source = np.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
        return np.take_along_axis(bits, source, axis=1)
