"""Tasks over many symbols, all alike: numbers."""

from dataclasses import dataclass
from functools import cache
from math import perm

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.drawing import draw_distinct
from eval_harness.tasks.task import Task


@cache
def numerals(count: int) -> tuple[str, ...]:
    """The numbers from 0, as symbols."""
    return tuple(str(number) for number in range(count))


@dataclass(frozen=True, kw_only=True)
class Numbered(Task):
    """Base of the tasks whose symbols are numbers.

    Attributes:
        symbols: how many different symbols there are, at least 2.
    """

    symbols: int

    def __post_init__(self):
        super().__post_init__()
        if self.symbols < 2:
            raise HarnessError(f"Task {self.name!r} cannot have {self.symbols} symbols; give at least 2.")

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """The numbers from 0, in order."""
        return numerals(self.symbols)


@dataclass(frozen=True, kw_only=True)
class Distinct(Numbered):
    """Base of the tasks whose inputs are different symbols.

    Attributes:
        symbols: how many different symbols there are, at least 2: the longest input.
    """

    symbols: int = 150

    @property
    def max_length(self) -> int:  # ty: ignore[incompatible-property-override]  (a constant elsewhere)
        """As many symbols as there are."""
        return self.symbols

    def distinct_inputs(self, length: int) -> int:
        """Every choice of different symbols, in every order."""
        return perm(self.symbols, length)

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Different symbols [count, length], all choices and orders equally likely."""
        return draw_distinct(self.symbols, length, count, rng)
