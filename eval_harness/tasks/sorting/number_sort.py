"""Number sort: numbers of several digits, compared before they are written."""

import numpy as np

from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after, length_mask
from eval_harness.tasks.sources import KAZEMNEJAD
from eval_harness.tasks.task import Task


COMMA = 10
LEAST, MOST = 10, 9999
POWERS = np.array([1000, 100, 10, 1])


@register_task
class NumberSort(Task):
    """Sort the numbers, each of two to four digits.

    They are uniform from 10 to 9999, so most have four digits.

    Example:
        3 1 4 , 1 5 9 2 , 6 5 -> 6 5 , 3 1 4 , 1 5 9 2
    """

    name = "number_sort"
    skill = "sorting"
    source = KAZEMNEJAD
    length_meaning = "numbers in the input"
    varying_answers = True
    examples = (("3 1 4 , 1 5 9 2 , 6 5", "6 5 , 3 1 4 , 1 5 9 2"),)
    input_alphabet = (*"0123456789", ",")
    output_alphabet = input_alphabet

    def input_length(self, length: int) -> int:
        """Four digits for each number, and the commas between."""
        return 5 * length - 1

    def output_length(self, length: int) -> int:
        """The same as the input's."""
        return self.input_length(length)

    def distinct_inputs(self, length: int) -> int:
        """Any numbers."""
        return (MOST - LEAST + 1) ** length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Independent, equally likely numbers."""
        return write_numbers(rng.integers(LEAST, MOST + 1, size=(count, length)), np.full(count, length))

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Reads the numbers, sorts them and writes them again."""
        numbers, counts = read_numbers(inputs, input_lengths)
        numbers = np.sort(fill_after(numbers, counts, MOST + 1), axis=1)
        return Answer(*write_numbers(numbers, counts))


def write_numbers(numbers: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Writes the first `counts` [count] numbers [count, N] of each row; symbols [count, 5 N - 1], their lengths."""
    items = numbers.shape[1]
    digits = numbers[:, :, None] // POWERS % 10  # [count, N, 4]
    symbols = np.insert(digits, 4, COMMA, axis=2).reshape(len(numbers), -1)
    shown = (numbers[:, :, None] >= POWERS) & length_mask(counts, items)[:, :, None]
    shown = np.concatenate([shown, length_mask(counts - 1, items)[:, :, None]], axis=2).reshape(len(numbers), -1)
    lengths = shown.sum(axis=1)
    written = np.zeros((len(numbers), 5 * items - 1), dtype=np.int64)
    written[length_mask(lengths, written.shape[1])] = symbols[shown]
    return written, lengths


def read_numbers(inputs: np.ndarray, input_lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads rows of symbols; numbers [count, N], and how many each row has [count]."""
    width = inputs.shape[1]
    real = length_mask(input_lengths, width)
    commas = real & (inputs == COMMA)
    places = np.arange(width)
    # Where each number ends: the next comma, or the end of the row.
    ends = np.minimum.accumulate(np.where(commas, places, input_lengths[:, None])[:, ::-1], axis=1)[:, ::-1]
    weights = np.where(real & ~commas, inputs * 10 ** np.clip(ends - places - 1, 0, 3), 0)  # [count, L]
    counts = commas.sum(axis=1) + 1
    shape = len(inputs), int(counts.max())
    cells = np.cumsum(commas, axis=1) + shape[1] * np.arange(shape[0])[:, None]
    numbers = np.bincount(cells.ravel(), weights.ravel(), minlength=shape[0] * shape[1])
    return numbers.astype(np.int64).reshape(shape), counts
