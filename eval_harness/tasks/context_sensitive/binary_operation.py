"""What binary addition and multiplication share: how two operands are drawn and read."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.numbers import significant_digits
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.task import Task


OPERATOR = 2


class BinaryOperation(Task):
    """An operation on two binary numbers, all written with the least significant bit first.

    Attributes:
        operator: the symbol between the operands.
    """

    skill = "arithmetic"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "symbols in the input: the bits of both operands and the operator"
    min_length = 3
    varying_answers = True
    output_alphabet = ("0", "1")
    operator: ClassVar[str]

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """Bits and the operator."""
        return ("0", "1", self.operator)

    @abstractmethod
    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The result of operands [count, L - 1], least significant bit first and filled with zeros."""

    def output_length(self, length: int) -> int:
        """As many bits as both operands: a sum has one more than the longer, which leaves one to the other."""
        return length - 1

    def distinct_inputs(self, length: int) -> int:
        """Every place of the operator, with every pair of operands above zero."""
        return sum((2**bits - 1) * (2 ** (length - 1 - bits) - 1) for bits in range(1, length - 1))

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """A uniform place of the operator, then uniform operands above zero; [count, length]."""
        place = rng.integers(1, length - 1, size=count)
        inputs = np.empty((count, length), dtype=np.int64)
        rows = np.arange(count)
        while len(rows):  # rows with an operand of zero are drawn again, their operator stays
            inputs[rows] = draw_bits(length, len(rows), rng)
            inputs[rows, place[rows]] = OPERATOR
            first, second = _operands(inputs[rows])
            rows = rows[~(first.any(axis=1) & second.any(axis=1))]
        return inputs

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Reads the operands; the result has no zeros behind its last 1."""
        operands = _operands(fill_after(inputs, input_lengths))
        result = self.compute(*operands)[:, : inputs.shape[1] - 1]
        return Answer(result, significant_digits(result))


def _operands(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts inputs [count, L] at the operator into two arrays of bits [count, L - 1], the rest filled with zeros."""
    length = inputs.shape[1]
    place = np.argmax(inputs == OPERATOR, axis=1)[:, None]  # [count, 1]
    columns = np.arange(length - 1)
    first = np.where(columns < place, inputs[:, :-1], 0)
    source = place + 1 + columns
    second = np.where(source < length, np.take_along_axis(inputs, np.minimum(source, length - 1), axis=1), 0)
    return first, second
