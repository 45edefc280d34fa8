"""Decimal multiplication, with operands of any length or with a short multiplier."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.arithmetic.operation import Operation, pairs_by_longer
from eval_harness.tasks.numbers import multiply
from eval_harness.tasks.registry import register_task


@register_task
@dataclass(frozen=True, kw_only=True)
class DecimalMultiplication(Operation):
    """Multiply two decimal numbers, all written with the least significant digit first.

    One operand has as many digits as the length, and all such pairs of digits are equally likely.

    Attributes:
        order: "plain", "reversed" or "reversed_answer"; see `Operation`.
        padding: "none", "answer", "longer" or "all"; see `Operation`.
        hints: how many index hints there are, 0 for none; see `Operation`.
        multiplier_digits: how many digits the second operand has, and then the first has as many as the length; 0 for
            any.

    Example:
        5 9 * 2 1 -> 0 4 1 1
    """

    name = "decimal_multiplication"
    source = (
        "McLeish et al. 2024, Transformers Can Do Arithmetic with the Right Embeddings, "
        "https://arxiv.org/abs/2405.17399"
    )
    length_meaning = "digits of the longer operand, or of the first where the second's are fixed"
    examples = (("5 9 * 2 1", "0 4 1 1"),)
    operator = "*"
    order: str = "reversed"
    multiplier_digits: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.multiplier_digits < 0:
            raise HarnessError(f"Task {self.name!r} cannot have {self.multiplier_digits} digits in a multiplier.")

    def digit_pairs(self, length: int) -> np.ndarray:
        """All pairs of which the greater is the length, or the one that the option says."""
        return np.array([[length, self.multiplier_digits]]) if self.multiplier_digits else pairs_by_longer(length)

    def widest(self, length: int) -> tuple[int, int]:
        """Both operands at the full length, if the second is free."""
        return length, self.multiplier_digits or length

    def answer_digits(self, first: Any, second: Any) -> Any:
        """As many as both operands."""
        return first + second

    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The products."""
        return multiply(first, second, self.base)


@register_task
@dataclass(frozen=True, kw_only=True)
class CoupledMultiplication(DecimalMultiplication):
    """Multiply a decimal number by one of two digits, the product with the least significant digit first.

    It is `decimal_multiplication` with other defaults: the format in which the source couples positions. Digits of one
    place share a position id where a model is trained with supplied ids. The source's multipliers may begin with 0.

    Example:
        9 5 * 1 2 -> 0 4 1 1
    """

    name = "coupled_multiplication"
    source = (
        "Cho et al. 2024, Position Coupling: Improving Length Generalization of Arithmetic Transformers Using Task "
        "Structure, https://arxiv.org/abs/2405.20671"
    )
    examples = (("9 5 * 1 2", "0 4 1 1"),)
    order: str = "reversed_answer"
    padding: str = "answer"
    multiplier_digits: int = 2
