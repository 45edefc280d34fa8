"""Decimal addition as the Universal Transformer was tested on it: operands of very different lengths."""

from dataclasses import dataclass

import numpy as np

from eval_harness.tasks.arithmetic.addition import Addition
from eval_harness.tasks.registry import register_task


@register_task
@dataclass(frozen=True, kw_only=True)
class UTAddition(Addition):
    """Add two decimal numbers that share a room, all written with the least significant digit first.

    The first operand has 1 to half the length of digits, all equally likely, and the second 1 to as many as are left
    beside the first and the plus. The source trains on length 40 alone, which so holds shorter sums too, and tests on
    400; its scores are those of these mixtures.

    Attributes:
        order: "plain", "reversed" or "reversed_answer"; see `Operation`.
        padding: "none", "answer", "longer" or "all"; see `Operation`.
        hints: how many index hints there are, 0 for none; see `Operation`.

    Example:
        5 + 7 3 1 -> 2 4 1
    """

    name = "ut_addition"
    source = "Dehghani et al. 2019, Universal Transformers, https://arxiv.org/abs/1807.03819"
    length_meaning = "symbols that the input has at most: the digits of both operands and the plus"
    min_length = 3
    examples = (("5 + 7 3 1", "2 4 1"),)
    order: str = "reversed"

    def digit_pairs(self, length: int) -> np.ndarray:
        """All pairs that fit, the first operand within half the length."""
        return np.array(
            [(first, second) for first in range(1, length // 2 + 1) for second in range(1, length - first)]
        )

    def widest(self, length: int) -> tuple[int, int]:
        """The first operand leaves all other room to the second."""
        return 1, length - 2

    def distinct_inputs(self, length: int) -> int:
        """Every pair of numbers, with every first hint; beyond length 40 those of length 40, a lower bound."""
        return super().distinct_inputs(min(length, 40))

    def draw_digits(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """The first operand's digits are uniform, then the second's are."""
        first = rng.integers(1, length // 2 + 1, size=count)
        return np.column_stack([first, rng.integers(1, length - first)])
