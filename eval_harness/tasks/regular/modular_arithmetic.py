"""Modular arithmetic: a sum of products, of which a finite memory is enough."""

import numpy as np

from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.task import LABEL_FORMATS, Task


PLUS, MINUS, TIMES = 5, 6, 7


@register_task
class ModularArithmetic(Task):
    """What is the value of the expression modulo five, where products come before sums and differences?

    Lengths are odd. The source also names even lengths, at which its code draws expressions that are one shorter.

    Examples:
        2 + 3 * 4 -> 4
        1 - 3 -> 3
    """

    name = "modular_arithmetic"
    skill = "arithmetic"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    formats = LABEL_FORMATS
    length_meaning = "digits and operators of the expression; odd"
    examples = (("2 + 3 * 4", "4"), ("1 - 3", "3"))
    input_alphabet = ("0", "1", "2", "3", "4", "+", "-", "*")
    output_alphabet = ("0", "1", "2", "3", "4")

    def valid_length(self, length: int) -> bool:
        """Odd lengths."""
        return super().valid_length(length) and length % 2 == 1

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def distinct_inputs(self, length: int) -> int:
        """Digits and operators are independent."""
        return 5 ** ((length + 1) // 2) * 3 ** (length // 2)

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely digits, and operators between them; [count, length]."""
        inputs = rng.integers(5, size=(count, length))
        inputs[:, 1::2] = rng.integers(PLUS, TIMES + 1, size=(count, length // 2))
        return inputs

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Reads from left to right, keeping the sum so far and the product that is still open."""
        symbols = fill_after(inputs, input_lengths)
        total, product = np.zeros_like(input_lengths), symbols[:, 0]
        for column in range(1, inputs.shape[1] - 1, 2):
            operator, digit = symbols[:, column], symbols[:, column + 1]
            times = operator == TIMES
            total = np.where(times, total, total + product)
            product = np.where(times, product * digit % 5, np.where(operator == MINUS, -digit, digit))
        return Answer((total + product)[:, None] % 5, np.ones_like(input_lengths))
