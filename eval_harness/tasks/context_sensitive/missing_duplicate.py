"""Missing duplicate: looking for the other copy of what was taken out."""

import numpy as np

from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer
from eval_harness.tasks.task import LABEL_FORMATS, Task


HOLE = 2


@register_task
class MissingDuplicate(Task):
    """Which bit is missing in a string of bits that stands there twice?

    Lengths are even. At odd lengths the source's code draws a string that is one shorter and puts a fourth symbol
    behind it.

    Example:
        0 1 1 0 ? 1 -> 1
    """

    name = "missing_duplicate"
    skill = "copying"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    formats = LABEL_FORMATS
    length_meaning = "bits of both copies, the missing one included; even"
    min_length = 2
    examples = (("0 1 1 0 ? 1", "1"),)
    input_alphabet = ("0", "1", "?")
    output_alphabet = ("0", "1")

    def valid_length(self, length: int) -> bool:
        """Even lengths."""
        return super().valid_length(length) and length % 2 == 0

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def distinct_inputs(self, length: int) -> int:
        """Every string, with every place of both copies."""
        return 2 ** (length // 2) * length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Fair bits, twice, and a uniform place of the missing one; [count, length]."""
        inputs = np.tile(draw_bits(length // 2, count, rng), 2)
        inputs[np.arange(count), rng.integers(length, size=count)] = HOLE
        return inputs

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Looks half a string further, going round at the end."""
        hole = np.argmax(inputs == HOLE, axis=1)
        other = (hole + input_lengths // 2) % input_lengths
        return Answer(np.take_along_axis(inputs, other[:, None], axis=1), np.ones_like(input_lengths))
