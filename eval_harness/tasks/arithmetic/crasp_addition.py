"""Binary addition written from the most significant bit, as tested with C-RASP's predictions."""

from dataclasses import dataclass

import numpy as np

from eval_harness.tasks.arithmetic.addition import Addition
from eval_harness.tasks.registry import register_task


@register_task
@dataclass(frozen=True, kw_only=True)
class CRASPAddition(Addition):
    """Add two binary numbers, all written with the most significant bit first.

    The first operand has 1 bit or more, uniformly, and leaves the rest to the second. The length counts the equals
    sign that ends the input in the source, and whose part <sep> takes here.

    Attributes:
        order: "plain", "reversed" or "reversed_answer"; see `Operation`.
        padding: "none", "answer", "longer" or "all"; see `Operation`.
        hints: how many index hints there are, 0 for none; see `Operation`.

    Example:
        1 0 1 + 1 1 -> 1 0 0 0
    """

    name = "crasp_addition"
    source = (
        "Huang et al. 2025, A Formal Framework for Understanding Length Generalization in Transformers, "
        "https://arxiv.org/abs/2410.02140"
    )
    length_meaning = "the bits of both operands, the plus and an equals sign"
    min_length = 4
    examples = (("1 0 1 + 1 1", "1 0 0 0"),)
    base = 2

    def digit_pairs(self, length: int) -> np.ndarray:
        """Every place of the plus."""
        first = np.arange(1, length - 2)
        return np.column_stack([first, length - 2 - first])

    def widest(self, length: int) -> tuple[int, int]:
        """The first operand leaves all other room to the second."""
        return 1, length - 3
