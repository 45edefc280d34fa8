"""Cycle navigation: modular counting with a state of five values."""

import numpy as np

from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.task import LABEL_FORMATS, Task


@register_task
class CycleNavigation(Task):
    """Where on a cycle of five places does a walk from place 0 end?

    Symbol 0 is a step back, 1 stays, 2 is a step forward.

    Examples:
        2 2 1 0 2 -> 2
        0 -> 4
    """

    name = "cycle_navigation"
    skill = "state tracking"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    formats = LABEL_FORMATS
    length_meaning = "steps of the walk"
    examples = (("2 2 1 0 2", "2"), ("0", "4"))
    input_alphabet = ("0", "1", "2")
    output_alphabet = ("0", "1", "2", "3", "4")

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely steps [count, length]."""
        return rng.integers(3, size=(count, length))

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Adds the steps modulo five."""
        steps = fill_after(inputs - 1, input_lengths)  # [count, L]
        return Answer(steps.sum(axis=1, keepdims=True) % 5, np.ones_like(input_lengths))
