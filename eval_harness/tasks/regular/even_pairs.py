"""Even pairs: looks like a count, and is settled by the first and the last bit."""

import numpy as np

from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer
from eval_harness.tasks.task import LABEL_FORMATS, Task


@register_task
class EvenPairs(Task):
    """Is the number of neighbouring bits that differ even or odd?

    Examples:
        0 1 1 0 1 -> odd
        0 1 0 -> even
        1 -> even
    """

    name = "even_pairs"
    skill = "state tracking"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    formats = LABEL_FORMATS
    length_meaning = "bits in the input"
    examples = (("0 1 1 0 1", "odd"), ("0 1 0", "even"), ("1", "even"))
    input_alphabet = ("0", "1")
    output_alphabet = ("even", "odd")

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Fair bits [count, length]."""
        return draw_bits(length, count, rng)

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Every change flips the bit, so the changes are odd in number exactly where the ends differ."""
        ends = inputs[:, 0] ^ inputs[np.arange(len(inputs)), input_lengths - 1]  # [count]
        return Answer(ends[:, None], np.ones_like(input_lengths))
