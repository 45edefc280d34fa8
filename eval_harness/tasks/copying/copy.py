"""Copy: the input again, once or twice, forwards or backwards."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, is_full
from eval_harness.tasks.sources import KAZEMNEJAD
from eval_harness.tasks.symbols import Numbered
from eval_harness.tasks.task import Task


class Passes(Task):
    """Base of the tasks that write the input in one or more passes.

    Attributes:
        backwards: for each pass, whether it goes from last to first.
        separators: the symbol between two passes, if there is one.
    """

    backwards: ClassVar[tuple[bool, ...]] = (False,)
    separators: ClassVar[tuple[str, ...]] = ()

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """The input's symbols and the separator."""
        return self.input_alphabet + self.separators

    def output_length(self, length: int) -> int:
        """The input once for each pass, with the separators."""
        return (length + len(self.separators)) * len(self.backwards) - len(self.separators)

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely symbols [count, length]."""
        symbols = len(self.input_alphabet)
        return draw_bits(length, count, rng) if symbols == 2 else rng.integers(symbols, size=(count, length))

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Writes all rows of one length at a time."""
        count, width = inputs.shape
        target_lengths = np.full(count, self.output_length(width))
        if is_full(input_lengths, width):
            return Answer(self._write(inputs), target_lengths)
        targets = np.zeros((count, self.output_length(width)), dtype=np.int64)
        for length in set(input_lengths.tolist()):
            rows = input_lengths == length
            target_lengths[rows] = self.output_length(length)
            targets[rows, : self.output_length(length)] = self._write(inputs[rows, :length])
        return Answer(targets, target_lengths)

    def _write(self, rows: np.ndarray) -> np.ndarray:
        """Writes rows [count, L] pass by pass, with the separator between; [count, L_out]."""
        separators = [np.full((len(rows), 1), len(self.input_alphabet)) for _ in self.separators]
        first, *others = (rows[:, ::-1] if backwards else rows for backwards in self.backwards)
        return np.concatenate([first, *(part for other in others for part in (*separators, other))], axis=1)


@register_task
@dataclass(frozen=True, kw_only=True)
class Copy(Numbered, Passes):
    """Write the symbols again.

    The source's `cmc`.

    Attributes:
        symbols: how many different symbols there are, at least 2.

    Example:
        31 4 15 9 26 -> 31 4 15 9 26
    """

    name = "copy"
    skill = "copying"
    source = KAZEMNEJAD
    length_meaning = "symbols in the input"
    examples = (("31 4 15 9 26", "31 4 15 9 26"),)
    symbols: int = 100


@register_task
class CopyTwice(Copy):
    """Write the symbols twice, with a mark between.

    The source's `cmc2x`.

    Example:
        31 4 15 -> 31 4 15 [NEXT] 31 4 15
    """

    name = "copy_twice"
    examples = (("31 4 15", "31 4 15 [NEXT] 31 4 15"),)
    backwards = (False, False)
    separators = ("[NEXT]",)


@register_task
class CopyReversed(Copy):
    """Write the symbols from last to first.

    The source's `mc`; `reverse` with many symbols.

    Example:
        31 4 15 9 26 -> 26 9 15 4 31
    """

    name = "copy_reversed"
    skill = "stack"
    examples = (("31 4 15 9 26", "26 9 15 4 31"),)
    backwards = (True,)


@register_task
class CopyReversedTwice(Copy):
    """Write the symbols from last to first, twice, with a mark between.

    The source's `mc2x`.

    Example:
        31 4 15 -> 15 4 31 [NEXT] 15 4 31
    """

    name = "copy_reversed_twice"
    examples = (("31 4 15", "15 4 31 [NEXT] 15 4 31"),)
    backwards = (True, True)
    separators = ("[NEXT]",)


@register_task
class CopyReversedThenForward(Copy):
    """Write the symbols from last to first, then a mark, then from first to last.

    The source's `mcrv`.

    Example:
        31 4 15 -> 15 4 31 [NEXT] 31 4 15
    """

    name = "copy_reversed_then_forward"
    examples = (("31 4 15", "15 4 31 [NEXT] 31 4 15"),)
    backwards = (True, False)
    separators = ("[NEXT]",)
