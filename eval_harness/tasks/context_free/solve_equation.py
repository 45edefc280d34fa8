"""Solve equation: which digit is hidden in a bracketed expression of a known value?"""

import numpy as np

from eval_harness.tasks.context_free.bracketed import (
    MINUS,
    OPEN,
    PLUS,
    SYMBOLS,
    count_expressions,
    draw_expressions,
    evaluate,
)
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer
from eval_harness.tasks.task import LABEL_FORMATS, Task


UNKNOWN, EQUALS = 9, 10


@register_task
class SolveEquation(Task):
    """Which digit is x, where both sides are equal modulo five?

    Brackets stand around every operation. A place is drawn uniformly in the expression, and the first digit from there
    on is hidden, going round at the end: digits after long runs of brackets are hidden more often. Lengths begin at 3,
    the shortest equation; the source fills lengths 1 and 2 with zeros.

    Examples:
        ( 3 - ( x + 2 ) ) = 2 -> 4
        - x = 3 -> 2
    """

    name = "solve_equation"
    skill = "stack"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    formats = LABEL_FORMATS
    length_meaning = "symbols of the equation"
    min_length = 3
    examples = (("( 3 - ( x + 2 ) ) = 2", "4"), ("- x = 3", "2"))
    input_alphabet = (*SYMBOLS[: MINUS + 1], "x", "=")
    output_alphabet = SYMBOLS[:5]

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def distinct_inputs(self, length: int) -> int:
        """Every digit of every expression may be hidden, and the value tells it; a lower bound at great lengths."""
        return count_expressions(length - 2, 2)[1]

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Expressions with two operators, one digit hidden, and values; [count, length].

        The value is drawn, not computed: the hidden digit is uniform, and so is its value, whatever else there is.
        """
        width = length - 2
        expressions = draw_expressions(width, count, (PLUS, MINUS), rng)
        digits = expressions < OPEN
        ahead = digits & (np.arange(width) >= rng.integers(width, size=count)[:, None])
        hidden = np.argmax(np.where(ahead.any(axis=1, keepdims=True), ahead, digits), axis=1)
        expressions[np.arange(count), hidden] = UNKNOWN
        return np.column_stack([expressions, np.full(count, EQUALS), rng.integers(5, size=count)])

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Solves a linear equation, whose slope is 1 or -1: the expression is evaluated at x = 0 and at x = 1."""
        values = np.take_along_axis(inputs, input_lengths[:, None] - 1, axis=1)[:, 0]
        both = np.concatenate([np.where(inputs == UNKNOWN, digit, inputs) for digit in range(2)])
        at_zero, at_one = np.split(evaluate(both, np.tile(input_lengths - 2, 2)), 2)
        solution = (at_one - at_zero) * (values - at_zero) % 5
        return Answer(solution[:, None], np.ones_like(input_lengths))
