"""Summation: adding a list of digits up in a cycle."""

import numpy as np

from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.task import LABEL_FORMATS, Task


@register_task
class Summation(Task):
    """What is the last digit of the sum?

    The words and plus signs of the source's template are left out.

    Example:
        7 9 1 4 -> 1
    """

    name = "summation"
    skill = "arithmetic"
    source = (
        "Kazemnejad et al. 2023, The Impact of Positional Encoding on Length Generalization in Transformers, "
        "https://arxiv.org/abs/2305.19466"
    )
    formats = LABEL_FORMATS
    length_meaning = "terms of the sum"
    examples = (("7 9 1 4", "1"),)
    input_alphabet = ("1", "2", "3", "4", "5", "6", "7", "8", "9")
    output_alphabet = ("0", *input_alphabet)

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely digits above zero; [count, length]."""
        return rng.integers(9, size=(count, length))

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Adds modulo ten."""
        digits = fill_after(inputs + 1, input_lengths)
        return Answer(digits.sum(axis=1, keepdims=True) % 10, np.ones_like(input_lengths))
