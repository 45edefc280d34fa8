"""Odds first: a permutation that takes two passes over the input."""

import numpy as np

from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.task import Task


@register_task
class OddsFirst(Task):
    """Write the bits at odd places, then those at even places, counted from one.

    So the source's text says; its code begins with the even places, which is no harder.

    Example:
        0 1 0 1 1 -> 0 0 1 1 1
    """

    name = "odds_first"
    skill = "copying"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "bits in the input"
    examples = (("0 1 0 1 1", "0 0 1 1 1"),)
    input_alphabet = ("0", "1")
    output_alphabet = ("0", "1")

    def output_length(self, length: int) -> int:
        """As long as the input."""
        return length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Fair bits [count, length]."""
        return draw_bits(length, count, rng)

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Takes every second bit, twice."""
        width = inputs.shape[1]
        places = np.arange(width)
        odds = (input_lengths[:, None] + 1) // 2  # [count, 1]
        source = np.where(places < odds, 2 * places, 2 * (places - odds) + 1)  # [count, L]
        ordered = np.take_along_axis(inputs, fill_after(source, input_lengths), axis=1)
        return Answer(fill_after(ordered, input_lengths), input_lengths)
