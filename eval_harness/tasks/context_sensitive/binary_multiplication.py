"""Binary multiplication: as many additions as the second operand has ones."""

import numpy as np

from eval_harness.tasks.context_sensitive.binary_operation import BinaryOperation
from eval_harness.tasks.numbers import multiply
from eval_harness.tasks.registry import register_task


@register_task
class BinaryMultiplication(BinaryOperation):
    """Multiply two binary numbers, all written with the least significant bit first.

    The place of the operator is uniform. Operands are at least 1 and may end in zeros, the product does not. Lengths
    begin at 3, the shortest "a * b"; at lengths 1 and 2 the source has no product to be computed.

    Example:
        1 0 1 * 1 1 -> 1 1 1 1
    """

    name = "binary_multiplication"
    examples = (("1 0 1 * 1 1", "1 1 1 1"),)
    operator = "*"

    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The product."""
        return multiply(first, second, 2)
