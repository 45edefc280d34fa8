"""Decimal addition, with the length of the longer operand, in four published formats."""

from dataclasses import dataclass

import numpy as np

from eval_harness.tasks.arithmetic.addition import Addition
from eval_harness.tasks.arithmetic.operation import pairs_by_longer
from eval_harness.tasks.registry import register_task


@register_task
@dataclass(frozen=True, kw_only=True)
class DecimalAddition(Addition):
    """Add two decimal numbers, all written with the least significant digit first.

    One operand has as many digits as the length, and all such pairs of digits are equally likely: the sources draw
    both independently up to a bound, which is the same among sums of one length. The source's training data have no
    operand 0.

    Attributes:
        order: "plain", "reversed" or "reversed_answer"; see `Operation`.
        padding: "none", "answer", "longer" or "all"; see `Operation`.
        hints: how many index hints there are, 0 for none; see `Operation`.

    Example:
        5 9 + 7 3 1 -> 2 3 2
    """

    name = "decimal_addition"
    source = (
        "McLeish et al. 2024, Transformers Can Do Arithmetic with the Right Embeddings, "
        "https://arxiv.org/abs/2405.17399"
    )
    length_meaning = "digits of the longer operand"
    examples = (("5 9 + 7 3 1", "2 3 2"),)
    order: str = "reversed"

    def digit_pairs(self, length: int) -> np.ndarray:
        """All pairs of which the greater is the length."""
        return pairs_by_longer(length)

    def widest(self, length: int) -> tuple[int, int]:
        """Both operands at the full length."""
        return length, length


@register_task
@dataclass(frozen=True, kw_only=True)
class PlainAddition(DecimalAddition):
    """Add two decimal numbers, all written as we write them.

    It is `decimal_addition` with other defaults.

    Example:
        9 5 + 1 3 7 -> 2 3 2
    """

    name = "plain_addition"
    source = (
        "Kazemnejad et al. 2023, The Impact of Positional Encoding on Length Generalization in Transformers, "
        "https://arxiv.org/abs/2305.19466"
    )
    examples = (("9 5 + 1 3 7", "2 3 2"),)
    order: str = "plain"


@register_task
@dataclass(frozen=True, kw_only=True)
class HintedAddition(DecimalAddition):
    """Add two decimal numbers, every digit of which has a hint at its place, the sum with the last digit first.

    It is `decimal_addition` with other defaults, in the format of the source's published programs. Digits are uniform:
    sums with long carries are not made more frequent.

    Example:
        h4 0 h5 9 h6 5 + h4 0 h5 3 h6 7 -> h6 2 h5 3 h4 1
    """

    name = "hinted_addition"
    source = (
        "Zhou et al. 2023, What Algorithms can Transformers Learn? A Study in Length Generalization, "
        "https://arxiv.org/abs/2310.16028"
    )
    examples = (("h4 0 h5 9 h6 5 + h4 0 h5 3 h6 7", "h6 2 h5 3 h4 1"),)
    order: str = "reversed_answer"
    padding: str = "all"
    hints: int = 102


@register_task
@dataclass(frozen=True, kw_only=True)
class CoupledAddition(DecimalAddition):
    """Add two decimal numbers of equal width, the sum with the least significant digit first.

    It is `decimal_addition` with other defaults: the format in which the source couples positions. Digits of one place
    share a position id where a model is trained with supplied ids. The source tests on operands that both have the
    full length.

    Example:
        0 9 5 + 1 3 7 -> 2 3 2 0
    """

    name = "coupled_addition"
    source = (
        "Cho et al. 2024, Position Coupling: Improving Length Generalization of Arithmetic Transformers Using Task "
        "Structure, https://arxiv.org/abs/2405.20671"
    )
    examples = (("0 9 5 + 1 3 7", "2 3 2 0"),)
    order: str = "reversed_answer"
    padding: str = "longer"
