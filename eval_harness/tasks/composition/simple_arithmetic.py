"""Simple arithmetic: sums and products modulo ten, every one in brackets."""

from dataclasses import dataclass

import numpy as np

from eval_harness.tasks.composition.expressions import ARGUMENT, DIGITS
from eval_harness.tasks.composition.trees import Trees
from eval_harness.tasks.registry import register_task


OPEN, CLOSE, PLUS, TIMES = range(DIGITS, DIGITS + 4)


@register_task
@dataclass(frozen=True, kw_only=True)
class SimpleArithmetic(Trees):
    """What is the value, modulo ten, of nested sums and products?

    A digit has depth 1, an operator one more than the deeper of its arguments. The source trains on depths 2 to 6 and
    tests on 8 and 9. It means to put the deeper argument on either side, as here; its code puts it on the right.

    Attributes:
        operators: the probability that a node is an operator, at most 0.5; the source has 0.2 in training and 0.3 in
            tests.
        max_symbols: the longest input, at least 8.

    Example:
        ( 7 * ( 2 + 6 ) ) -> 6
    """

    name = "simple_arithmetic"
    length_meaning = "depth: a digit has 1, an operator one more than the deeper argument"
    examples = (("( 7 * ( 2 + 6 ) )", "6"),)
    input_alphabet = (*"0123456789", "(", ")", "+", "*")
    sign_place = 2
    operators: float = 0.2

    def distinct_inputs(self, length: int) -> int:
        """At least the innermost operator, and operators on what is inside and a digit on either side."""
        return 2 * DIGITS**2 * (4 * DIGITS) ** (length - 2)

    def draw_operators(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws sums and products, equally likely."""
        parts = np.tile([OPEN, ARGUMENT, PLUS, ARGUMENT, CLOSE], (count, 1))
        parts[:, self.sign_place] = rng.integers(PLUS, TIMES + 1, size=count)
        return parts

    def parse(self, rows: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Brackets of one level open in the order in which their signs come, one level further in."""
        opens, closes, is_sign = real & (rows == OPEN), real & (rows == CLOSE), real & (rows >= PLUS)
        inside = np.cumsum(opens.view(np.int8) - closes, axis=1)
        is_node = real & (rows <= OPEN)
        nodes, levels = rows[is_node], (inside - opens)[is_node]
        operators = np.flatnonzero(nodes == OPEN)
        by_level = operators[np.argsort(levels[operators], kind="stable")]
        nodes[by_level] = rows[is_sign][np.argsort(inside[is_sign], kind="stable")]
        return nodes, levels

    def apply(
        self, signs: np.ndarray, counts: np.ndarray, values: np.ndarray, depths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Adds or multiplies the two arguments of every operator."""
        left, right = values.reshape(-1, 2).T
        results = np.where(signs == TIMES, left * right, left + right) % DIGITS
        return results, np.maximum(depths[::2], depths[1::2]) + 1
