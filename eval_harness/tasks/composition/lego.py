"""LEGO: a chain of assignments, each of which needs the one before."""

from dataclasses import dataclass
from math import factorial, perm
from string import ascii_lowercase

import numpy as np

from eval_harness.tasks.drawing import draw_distinct
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, length_mask
from eval_harness.tasks.sources import KAZEMNEJAD
from eval_harness.tasks.task import LABEL_FORMATS, Task


VARIABLES = len(ascii_lowercase)
EQUALS, PLUS, MINUS, ONE, SEMICOLON, QUESTION = range(VARIABLES, VARIABLES + 6)
CLAUSE = 5  # symbols: a variable, an equals sign, a sign, what it is the sign of, and a mark


@register_task
@dataclass(frozen=True, kw_only=True)
class Lego(Task):
    """What is the value of a variable, where each is plus or minus the one before?

    The first variable is plus or minus one. Asked is one of the second half of the chain, without its first where the
    chain is odd. In the source the same stands in words; the task is after Zhang et al. 2022, Unveiling Transformers
    with LEGO, https://arxiv.org/abs/2206.04301.

    Attributes:
        shuffled: whether the clauses come in any order.

    Example:
        x = - 1 ; b = - x ; k = + b ? k -> +1
    """

    name = "lego"
    skill = "composition"
    source = KAZEMNEJAD
    length_meaning = "clauses, at most 26"
    formats = LABEL_FORMATS
    min_length = 2
    max_length = VARIABLES
    examples = (("x = - 1 ; b = - x ; k = + b ? k", "+1"),)
    input_alphabet = (*ascii_lowercase, "=", "+", "-", "1", ";", "?")
    output_alphabet = ("+1", "-1")
    shuffled: bool = False

    def input_length(self, length: int) -> int:
        """Every clause with a mark behind it, and the variable asked for."""
        return CLAUSE * length + 1

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def distinct_inputs(self, length: int) -> int:
        """Any variables, signs and question, in any order where shuffled."""
        orders = factorial(length) if self.shuffled else 1
        return perm(VARIABLES, length) * 2**length * (length - _first_asked(length)) * orders

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Different variables, fair signs and a uniform question; [count, 5 length + 1]."""
        variables = draw_distinct(VARIABLES, length, count, rng)  # [count, length]
        asked = rng.integers(_first_asked(length), length, size=count)
        clauses = np.empty((count, length, CLAUSE), dtype=np.int64)
        clauses[:, :, 0] = variables
        clauses[:, :, 1] = EQUALS
        clauses[:, :, 2] = rng.integers(PLUS, MINUS + 1, size=(count, length))
        clauses[:, 0, 3] = ONE
        clauses[:, 1:, 3] = variables[:, :-1]
        if self.shuffled:
            clauses = np.take_along_axis(clauses, draw_distinct(length, length, count, rng)[:, :, None], axis=1)
        clauses[:, :, 4] = SEMICOLON
        clauses[:, -1, 4] = QUESTION
        return np.column_stack([clauses.reshape(count, -1), variables[np.arange(count), asked]])

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Follows every variable to what it is made of, twice as far at every step, and collects the signs."""
        clauses = inputs[:, : (inputs.shape[1] - 1) // CLAUSE * CLAUSE].reshape(len(inputs), -1, CLAUSE)
        rows, numbers = np.nonzero(length_mask((input_lengths - 1) // CLAUSE, clauses.shape[1]))
        variables, _, signs, made_of, _ = clauses[rows, numbers].T
        source = np.tile(np.arange(ONE + 1), (len(inputs), 1))  # [count, symbols] what each symbol is made of
        negative = np.zeros(source.shape, dtype=bool)
        source[rows, variables] = made_of
        negative[rows, variables] = signs == MINUS
        for _ in range(VARIABLES.bit_length()):
            negative ^= np.take_along_axis(negative, source, axis=1)
            source = np.take_along_axis(source, source, axis=1)
        asked = np.take_along_axis(inputs, input_lengths[:, None] - 1, axis=1)  # [count, 1]
        return Answer(np.take_along_axis(negative, asked, axis=1).astype(np.int64), np.ones_like(input_lengths))


def _first_asked(length: int) -> int:
    """The first clause, from 0, whose variable can be asked for."""
    return length // 2 + length % 2
