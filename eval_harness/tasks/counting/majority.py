"""Majority: a counter for every letter, and a comparison of all of them."""

from dataclasses import dataclass
from functools import cache
from math import comb
from string import ascii_lowercase

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, length_mask
from eval_harness.tasks.task import LABEL_FORMATS, Task


@register_task
@dataclass(frozen=True, kw_only=True)
class Majority(Task):
    """Which letter is the most frequent? There is always exactly one such letter.

    Attributes:
        letters: how many different letters there are, 2 to 26.

    Example:
        b a d a c a b -> a
    """

    name = "majority"
    skill = "counting"
    source = (
        "Huang et al. 2025, A Formal Framework for Understanding Length Generalization in Transformers, "
        "https://arxiv.org/abs/2410.02140"
    )
    formats = LABEL_FORMATS
    length_meaning = "letters in the input"
    examples = (("b a d a c a b", "a"),)
    letters: int = 26

    def __post_init__(self):
        super().__post_init__()
        if not 2 <= self.letters <= 26:
            raise HarnessError(f"Task 'majority' cannot have {self.letters} letters; give 2 to 26.")

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """Letters from a."""
        return tuple(ascii_lowercase[: self.letters])

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """The same as the input's."""
        return self.input_alphabet

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def distinct_inputs(self, length: int) -> int:
        """Exact up to length 16; beyond it only inputs that are more than half of one letter are counted."""
        shortest = 1 if length <= 16 else length // 2 + 1
        return self.letters * sum(
            comb(length, most) * _strings(length - most, self.letters - 1, min(most - 1, length - most))
            for most in range(shortest, length + 1)
        )

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely letters [count, length], without the strings whose greatest count is shared."""
        accepted = np.empty((0, length), dtype=np.int64)
        while len(accepted) < count:
            strings = rng.integers(self.letters, size=(count, length))
            counts = self._counts(strings, np.full(count, length))
            unique = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
            accepted = np.concatenate([accepted, strings[unique]])
        return accepted[:count]

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Takes the letter of the greatest count."""
        return Answer(self._counts(inputs, input_lengths).argmax(axis=1)[:, None], np.ones_like(input_lengths))

    def _counts(self, inputs: np.ndarray, input_lengths: np.ndarray) -> np.ndarray:
        """How often each letter occurs in each row; [count, letters]."""
        cells = inputs + self.letters * np.arange(len(inputs))[:, None]
        cells = cells[length_mask(input_lengths, inputs.shape[1])]
        return np.bincount(cells, minlength=len(inputs) * self.letters).reshape(len(inputs), self.letters)


@cache
def _strings(length: int, letters: int, most: int) -> int:
    """The number of strings of a length in which each of the letters occurs at most so often."""
    if most == length:
        return letters**length
    if letters == 0:
        return 0
    return sum(
        comb(length, times) * _strings(length - times, letters - 1, min(most, length - times))
        for times in range(most + 1)
    )
