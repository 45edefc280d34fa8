"""Duplicate: copying twice, which a stack cannot do."""

import numpy as np

from eval_harness.tasks.task import Answer, Task, register_task, within


@register_task
class Duplicate(Task):
    """Write the bits twice.

    Example:
        0 1 1 -> 0 1 1 0 1 1
    """

    name = "duplicate"
    skill = "copying"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "bits in the input"
    examples = (("0 1 1", "0 1 1 0 1 1"),)
    input_alphabet = ("0", "1")
    output_alphabet = ("0", "1")

    def output_length(self, length: int) -> int:
        """Twice as long as the input."""
        return 2 * length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Fair bits [count, length]."""
        return rng.integers(2, size=(count, length))

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Reads every row round and round, twice."""
        width = 2 * inputs.shape[1]
        copies = np.take_along_axis(inputs, np.arange(width) % input_lengths[:, None], axis=1)  # [count, 2 L]
        return Answer(np.where(within(2 * input_lengths, width), copies, 0), 2 * input_lengths)
