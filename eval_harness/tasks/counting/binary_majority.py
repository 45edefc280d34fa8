"""Binary majority: two counters and their comparison, once or for three strings at a time."""

from math import comb

import numpy as np

from eval_harness.tasks.drawing import draw_bits_by_count
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, length_mask
from eval_harness.tasks.sources import HUANG
from eval_harness.tasks.task import LABEL_FORMATS, SEQUENCE_FORMATS, Task


class _Majorities(Task):
    """Base: so many strings of bits, shuffled together like cards, each with a majority."""

    skill = "counting"
    source = HUANG
    input_alphabet = ("0", "1")
    output_alphabet = ("0", "1")
    strings = 1

    def valid_length(self, length: int) -> bool:
        """Strings of equal length."""
        return super().valid_length(length) and length % self.strings == 0

    def output_length(self, length: int) -> int:
        """One bit for each string."""
        return self.strings

    def distinct_inputs(self, length: int) -> int:
        """Every string without a tie."""
        bits = length // self.strings
        ties = comb(bits, bits // 2) if bits % 2 == 0 else 0
        return (2**bits - ties) ** self.strings

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """For each string a uniform number of ones without the tie, in uniform order; [count, length]."""
        bits = length // self.strings
        ones = rng.integers(bits + bits % 2, size=count * self.strings)  # the tie of even lengths is skipped
        ones += (bits % 2 == 0) & (ones >= bits // 2)
        strings = draw_bits_by_count(ones, bits, rng).reshape(count, self.strings, bits)
        return strings.transpose(0, 2, 1).reshape(count, length)

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Compares the counts of every string."""
        real = length_mask(input_lengths, inputs.shape[1])
        excess = np.where(real, 2 * inputs - 1, 0)  # [count, L]
        balance = [excess[:, start :: self.strings].sum(axis=1) for start in range(self.strings)]
        return Answer((np.stack(balance, axis=1) > 0).astype(np.int64), np.full_like(input_lengths, self.strings))


@register_task
class BinaryMajority(_Majorities):
    """Which bit is the more frequent? There is never a tie.

    The number of ones is uniform, not the bits: most majorities are clear.

    Example:
        1 0 0 1 0 -> 0
    """

    name = "binary_majority"
    formats = LABEL_FORMATS
    length_meaning = "bits in the input"
    examples = (("1 0 0 1 0", "0"),)


@register_task
class BinaryMajorityInterleave(_Majorities):
    """Which bit is the more frequent in each of three strings that take turns?

    The first, fourth and seventh bit are of the first string, and so on. In each string the number of ones is uniform,
    without ties.

    Example:
        1 0 0 1 1 0 0 0 1 -> 1 0 0
    """

    name = "binary_majority_interleave"
    formats = SEQUENCE_FORMATS
    length_meaning = "bits in the input, a multiple of 3"
    min_length = 3
    examples = (("1 0 0 1 1 0 0 0 1", "1 0 0"),)
    strings = 3
