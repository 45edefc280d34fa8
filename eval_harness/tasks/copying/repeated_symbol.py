"""Copies of one repeated symbol: only the number of times is to be kept.

They are not posed in the parallel format, where the number of masks gives the answer away.
"""

from dataclasses import dataclass

import numpy as np

from eval_harness.tasks.copying.copy import Copy
from eval_harness.tasks.drawing import draw_distinct
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, length_mask
from eval_harness.tasks.sources import KAZEMNEJAD
from eval_harness.tasks.symbols import Numbered, numerals


FORMATS = ("autoregressive", "sequence_to_sequence")


@register_task
@dataclass(frozen=True, kw_only=True)
class CopyRepeated(Copy):
    """Write the symbol as often as it stands there.

    The source's `rsc`: a count. There are as many inputs of a length as there are symbols; the default is about the
    source's number. The baseline that repeats the last symbol is told how often, so it is always right.

    Attributes:
        symbols: how many different symbols there are, at least 2.

    Example:
        31 31 31 31 -> 31 31 31 31
    """

    name = "copy_repeated"
    skill = "counting"
    formats = FORMATS
    examples = (("31 31 31 31", "31 31 31 31"),)
    symbols: int = 6000

    def distinct_inputs(self, length: int) -> int:
        """One for each symbol."""
        return self.symbols

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """A uniform symbol, repeated; [count, length]."""
        return np.repeat(rng.integers(self.symbols, size=(count, 1)), length, axis=1)


@register_task
class CopyRepeatedTwice(CopyRepeated):
    """Write the symbol twice as often as it stands there.

    The source's `rsc2x`, which has no mark between the two copies.

    Example:
        31 31 31 -> 31 31 31 31 31 31
    """

    name = "copy_repeated_twice"
    examples = (("31 31 31", "31 31 31 31 31 31"),)
    backwards = (False, False)


@register_task
@dataclass(frozen=True, kw_only=True)
class ReplaceRepeated(Numbered):
    """Replace one symbol by another in a string of that one alone.

    The source's `rdc`, which says "Replace 31 with 4 in 31 31 31": a count.

    Attributes:
        symbols: how many different symbols there are, at least 2. The default makes about as many inputs of a length
            as the source has.

    Example:
        31 4 : 31 31 31 -> 4 4 4
    """

    name = "replace_repeated"
    skill = "counting"
    source = KAZEMNEJAD
    formats = FORMATS
    length_meaning = "times that the symbol is repeated"
    examples = (("31 4 : 31 31 31", "4 4 4"),)
    symbols: int = 78

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """The numbers from 0 and the colon."""
        return (*self.output_alphabet, ":")

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """The numbers from 0."""
        return numerals(self.symbols)

    def input_length(self, length: int) -> int:
        """The string behind both symbols and the colon."""
        return length + 3

    def output_length(self, length: int) -> int:
        """As long as the string."""
        return length

    def distinct_inputs(self, length: int) -> int:
        """One for each ordered pair of different symbols."""
        return self.symbols * (self.symbols - 1)

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """A uniform pair of different symbols; [count, length + 3]."""
        pair = draw_distinct(self.symbols, 2, count, rng)
        return np.column_stack([pair, np.full(count, self.symbols), np.repeat(pair[:, :1], length, axis=1)])

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Writes the second symbol once for everything behind the colon."""
        target_lengths = input_lengths - 3
        real = length_mask(target_lengths, inputs.shape[1] - 3)
        return Answer(np.where(real, inputs[:, 1:2], 0), target_lengths)
