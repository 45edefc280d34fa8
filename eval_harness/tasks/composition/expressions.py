"""A table of expressions that are made of each other, and random ones in bulk.

N expressions   S numbers in the table   P parts of an operator: brackets, sign, arguments, blanks
"""

from typing import ClassVar, Protocol

import numpy as np


DIGITS = 10
ARGUMENT = -1  # in an operator: the place of a digit or of another operator
OPERATORS, FRAMES = 2, 16  # how many random ones are drawn for each example; a part of what defines the data


class Grammar(Protocol):
    """The parts of `Trees` that expressions are drawn with and evaluated by."""

    sign_place: ClassVar[int]

    @property
    def operators(self) -> float:
        """The probability that a node is an operator."""
        ...

    @property
    def max_symbols(self) -> int:
        """The greatest number of symbols of an input."""
        ...

    @property
    def blank(self) -> int:
        """The symbol of an empty place."""
        ...

    def draw_operators(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws operators [count, P]."""
        ...

    def apply(
        self, signs: np.ndarray, counts: np.ndarray, values: np.ndarray, depths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Applies operators to their arguments."""
        ...


class Expressions:
    """A table of expressions, each known by its number, in which the parts of an operator are numbers again.

    So an expression becomes the argument of another without being copied, and symbols are written once, at the end.
    First come the symbols of the alphabet, then the blank, which is no symbol, then the operators.

    A random expression is an operator with a fixed probability, otherwise a uniform digit, and so are its arguments.
    Its operators are taken in turn from some that are drawn once for the table. Those with more symbols than an input
    may have are cut off, but still have more.

    Args:
        task: whose expressions they are.
        count: how many examples are made of them.
        rng: what they are drawn with.

    Attributes:
        lengths: [S] in symbols.
        values: [S] of expressions, anything for other symbols.
        depths: [S] of expressions, 0 for other symbols.
    """

    def __init__(self, task: Grammar, count: int, rng: np.random.Generator):
        self.task, self.rng = task, rng
        self.values = np.arange(task.blank + 1)
        self.lengths = (self.values < task.blank).astype(np.int64)
        self.depths = (self.values < DIGITS).astype(np.int64)
        self.taken = 0
        self.parts: list[np.ndarray] = []  # of the operators, any number [any number, P] at a time
        self.operators = self._draw_operators(OPERATORS * count)
        self.frames, self.holes = self._draw_frames(FRAMES * count)
        self.frame_lengths = self._count_symbols(self.frames)

    def draw(self, count: int) -> np.ndarray:
        """Draws random expressions; their numbers [count]."""
        drawn = self.rng.integers(DIGITS, size=count)
        is_operator = self.rng.random(count) < self.task.operators
        drawn[is_operator] = self._take_operators(int(is_operator.sum()))
        return drawn

    def draw_around(self, inner: np.ndarray, rooms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draws operators of which any one argument is `inner` [N] and the others are random expressions.

        Returns:
            The parts [K, P] of those that have at most as many symbols as there is room [N] for, and their indices.
        """
        drawn = self.rng.integers(len(self.frames), size=len(inner))
        fits = np.flatnonzero(self.frame_lengths[drawn] + self.lengths[inner] <= rooms)
        parts = self.frames[drawn[fits]]
        parts[np.arange(len(fits)), self.holes[drawn[fits]]] = inner[fits]
        return parts, fits

    def work_out(self, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values and depths [N] of operators with these parts [N, P]."""
        is_argument = self.depths[parts] > 0
        arguments, signs = parts[is_argument], parts[:, self.task.sign_place]
        return self.task.apply(signs, is_argument.sum(axis=1), self.values[arguments], self.depths[arguments])

    def add(self, parts: np.ndarray, values: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """Adds operators with these parts [N, P], values and depths [N]; their numbers [N]."""
        first = len(self.lengths)
        self.parts.append(parts)
        self.lengths = np.concatenate([self.lengths, self._count_symbols(parts)])
        self.values = np.concatenate([self.values, values])
        self.depths = np.concatenate([self.depths, depths])
        return np.arange(first, len(self.lengths))

    def write(self, numbers: np.ndarray, width: int) -> np.ndarray:
        """The symbols [N, width] of operators [N], the outermost first."""
        written = np.zeros(len(numbers) * width, dtype=np.int64)
        starts, operators = width * np.arange(len(numbers)), np.concatenate(self.parts)
        while len(numbers):
            parts = operators[numbers - self.task.blank - 1]
            lengths = self.lengths[parts]
            places = starts[:, None] + np.cumsum(lengths, axis=1) - lengths
            is_symbol, is_operator = parts < self.task.blank, parts > self.task.blank
            written[places[is_symbol]] = parts[is_symbol]
            numbers, starts = parts[is_operator], places[is_operator]
        return written.reshape(-1, width)

    def _count_symbols(self, parts: np.ndarray) -> np.ndarray:
        return self.lengths[parts].sum(axis=1)

    def _take_operators(self, count: int) -> np.ndarray:
        """The next of the random operators [count]; behind the last comes the first again."""
        self.taken += count
        return self.operators[np.arange(self.taken - count, self.taken) % len(self.operators)]

    def _draw_frames(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws operators on random expressions, with a blank for one argument; their parts, and where it is."""
        parts, is_argument, is_operator = self._draw_level(count)
        parts[is_operator] = self._take_operators(int(is_operator.sum()))
        numbers = np.cumsum(is_argument, axis=1)  # [N, P] of each argument, from 1
        holes = np.argmax(numbers == 1 + self.rng.integers(numbers[:, -1:]), axis=1)
        parts[np.arange(count), holes] = self.task.blank
        return parts, holes

    def _draw_level(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws operators on digits; where their arguments are, and which of those are to become operators."""
        parts = self.task.draw_operators(count, self.rng)
        is_argument = parts == ARGUMENT
        parts[is_argument] = self.rng.integers(DIGITS, size=np.count_nonzero(is_argument))
        return parts, is_argument, is_argument & (self.rng.random(parts.shape) < self.task.operators)

    def _draw_operators(self, count: int) -> np.ndarray:
        """Adds random operators, drawn level by level; their numbers [count]."""
        levels, end = [], len(self.lengths)
        roots, lengths = np.arange(count), np.ones(count)  # lengths as if no more arguments became operators
        while len(roots):
            parts, _, is_operator = self._draw_level(len(roots))
            lengths += np.bincount(roots, self._count_symbols(parts) - 1, minlength=count)
            is_operator &= (lengths <= self.task.max_symbols)[roots, None]
            end += len(parts)
            parts[is_operator] = end + np.arange(np.count_nonzero(is_operator))
            roots = np.repeat(roots, is_operator.sum(axis=1))
            levels.append(parts)
        return self._add_levels(levels)

    def _add_levels(self, levels: list[np.ndarray]) -> np.ndarray:
        """Adds operators whose arguments are those of the next level; the numbers of those of the first."""
        self.parts.extend(levels)
        end = len(self.lengths) + sum(map(len, levels))
        self.lengths, self.values, self.depths = (
            np.pad(known, (0, end - len(known))) for known in (self.lengths, self.values, self.depths)
        )
        for parts in reversed(levels):
            own = slice(end - len(parts), end)
            self.lengths[own] = self._count_symbols(parts)
            self.values[own], self.depths[own] = self.work_out(parts)
            end = own.start
        return np.arange(end, end + len(levels[0]))
