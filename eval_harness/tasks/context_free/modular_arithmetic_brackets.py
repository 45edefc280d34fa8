"""Modular arithmetic with brackets: a stack of half-finished operations."""

import numpy as np

from eval_harness.tasks.context_free.bracketed import (
    MINUS,
    PLUS,
    SYMBOLS,
    TIMES,
    count_expressions,
    draw_expressions,
    evaluate,
)
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer
from eval_harness.tasks.task import LABEL_FORMATS, Task


@register_task
class ModularArithmeticBrackets(Task):
    """What is the value of the bracketed expression modulo five?

    Brackets stand around every operation, and a digit may have a minus. Products make 0 the most frequent answer, so
    read the accuracy beside the input-blind baseline.

    Examples:
        ( 3 * ( 4 - 2 ) ) -> 1
        ( ( - 1 ) + - 3 ) -> 1
    """

    name = "modular_arithmetic_brackets"
    skill = "stack"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    formats = LABEL_FORMATS
    length_meaning = "digits, operators and brackets of the expression"
    examples = (("( 3 * ( 4 - 2 ) )", "1"), ("( ( - 1 ) + - 3 )", "1"))
    input_alphabet = SYMBOLS
    output_alphabet = SYMBOLS[:5]

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def distinct_inputs(self, length: int) -> int:
        """Every expression of the length; a lower bound at great lengths."""
        return count_expressions(length, 3)[0]

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Expressions [count, length] with the three operators."""
        return draw_expressions(length, count, (PLUS, MINUS, TIMES), rng)

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Evaluates."""
        return Answer(evaluate(inputs, input_lengths)[:, None], np.ones_like(input_lengths))
