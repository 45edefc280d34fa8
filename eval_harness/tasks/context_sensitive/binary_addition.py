"""Binary addition: aligning two operands of different lengths and carrying over any distance."""

import numpy as np

from eval_harness.tasks.task import Answer, Task, register_task, within


PLUS = 2


@register_task
class BinaryAddition(Task):
    """Add two binary numbers, all written with the least significant bit first.

    The place of the plus is uniform. Operands are at least 1 and may end in zeros, the sum does not. Lengths begin at
    3, the shortest "a + b"; the source also has lengths 1 and 2, where the input is a single number to be repeated.

    Example:
        1 0 1 + 1 1 -> 0 0 0 1
    """

    name = "binary_addition"
    skill = "arithmetic"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "symbols in the input: the bits of both operands and the plus"
    min_length = 3
    varying_answers = True
    examples = (("1 0 1 + 1 1", "0 0 0 1"),)
    input_alphabet = ("0", "1", "+")
    output_alphabet = ("0", "1")

    def output_length(self, length: int) -> int:
        """One bit more than the longest operand, which leaves one bit and the plus to the rest of the input."""
        return length - 1

    def distinct_inputs(self, length: int) -> int:
        """Every place of the plus, with every pair of operands above zero."""
        return sum((2**bits - 1) * (2 ** (length - 1 - bits) - 1) for bits in range(1, length - 1))

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """A uniform place of the plus, then uniform operands above zero; [count, length]."""
        plus = rng.integers(1, length - 1, size=count)
        inputs = np.empty((count, length), dtype=np.int64)
        rows = np.arange(count)
        while len(rows):  # rows with an operand of zero are drawn again, their plus stays
            inputs[rows] = rng.integers(2, size=(len(rows), length))
            inputs[rows, plus[rows]] = PLUS
            first, second = operands(inputs[rows])
            rows = rows[~(first.any(axis=1) & second.any(axis=1))]
        return inputs

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Adds column by column, all carries at once."""
        first, second = operands(np.where(within(input_lengths, inputs.shape[1]), inputs, 0))
        column_sums = first + second  # [count, L - 1]
        columns = np.arange(column_sums.shape[1])
        # A column that sums to 1 hands on the carry it gets. So what leaves a column is settled by the last column up
        # to it that sums to 0 or 2; before the first such column there is no carry.
        settled = np.maximum.accumulate(np.where(column_sums != 1, columns, -1), axis=1)
        leaving = (np.take_along_axis(column_sums, np.maximum(settled, 0), axis=1) == 2) & (settled >= 0)
        total = column_sums % 2
        total[:, 1:] ^= leaving[:, :-1]
        return Answer(total, np.max(np.where(total == 1, columns + 1, 0), axis=1))


def operands(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts inputs [count, L] at the plus into two arrays of bits [count, L - 1], the rest filled with zeros."""
    length = inputs.shape[1]
    plus = np.argmax(inputs == PLUS, axis=1)[:, None]  # [count, 1]
    columns = np.arange(length - 1)
    first = np.where(columns < plus, inputs[:, :-1], 0)
    source = plus + 1 + columns
    second = np.where(source < length, np.take_along_axis(inputs, np.minimum(source, length - 1), axis=1), 0)
    return first, second
