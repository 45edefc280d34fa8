"""Binary addition: aligning two operands of different lengths and carrying over any distance."""

import numpy as np

from eval_harness.tasks.context_sensitive.binary_operation import BinaryOperation
from eval_harness.tasks.numbers import add
from eval_harness.tasks.registry import register_task


@register_task
class BinaryAddition(BinaryOperation):
    """Add two binary numbers, all written with the least significant bit first.

    The place of the plus is uniform. Operands are at least 1 and may end in zeros, the sum does not. Lengths begin at
    3, the shortest "a + b"; the source also has lengths 1 and 2, where the input is a single number to be repeated.

    Example:
        1 0 1 + 1 1 -> 0 0 0 1
    """

    name = "binary_addition"
    examples = (("1 0 1 + 1 1", "0 0 0 1"),)
    operator = "+"

    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The sum."""
        return add(first, second, 2)
