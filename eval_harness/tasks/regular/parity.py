"""Parity: the smallest task that needs a state carried through the whole input."""

import numpy as np

from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.task import LABEL_FORMATS, Task


@register_task
class Parity(Task):
    """Is the number of ones even or odd?

    The bits are independent and fair: the number of ones grows with the length.

    Examples:
        1 0 1 0 1 0 0 -> odd
        0 1 1 -> even
    """

    name = "parity"
    skill = "state tracking"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    formats = LABEL_FORMATS
    length_meaning = "bits in the input"
    examples = (("1 0 1 0 1 0 0", "odd"), ("0 1 1", "even"))
    input_alphabet = ("0", "1")
    output_alphabet = ("even", "odd")

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Fair bits [count, length]."""
        return draw_bits(length, count, rng)

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Counts the ones modulo two."""
        bits = fill_after(inputs, input_lengths)
        return Answer(np.bitwise_xor.reduce(bits, axis=1, keepdims=True), np.ones_like(input_lengths))
