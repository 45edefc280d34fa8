"""Expressions of digits in brackets: drawing them to a depth, and working them out from the inside.

N expressions   W symbols   M nodes (digits and operators) of all expressions, in the order in which they are written
K operators   P parts of an operator: symbols and arguments
"""

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.composition.expressions import Expressions
from eval_harness.tasks.sample import Answer, length_mask
from eval_harness.tasks.sources import CSORDAS
from eval_harness.tasks.task import LABEL_FORMATS, Task


@dataclass(frozen=True, kw_only=True)
class Trees(Task):
    """Base of the tasks that ask for the value, a digit, of an expression of a certain depth.

    An expression is drawn in two steps, as in the source. First a random one: a node is an operator with a fixed
    probability, otherwise a uniform digit. Deep ones are rare, so it is then grown at its root until the depth is
    right: a random operator takes it as one of its arguments, any of them, the others being random expressions again.
    An operator that does not add to the depth is drawn again, and so is one that makes an expression of depth d, on
    its way to depth D, longer than (d + 1) / D of the longest input: every step has an equal share of the room. The
    source instead throws away what has grown too long in the end, which is nearly everything at great depths.

    For speed, the examples of one block are not quite independent: the operators that grow them are picked, with their
    other arguments, from 16 times as many as examples that are drawn for the block, and the operators in random
    expressions from twice as many. So a part of one example may come again in others of its block. Blocks share
    nothing.

    Attributes:
        operators: the probability that a node is an operator.
        max_symbols: the longest input.
    """

    skill = "composition"
    source = CSORDAS
    formats = LABEL_FORMATS
    min_length = 2
    output_alphabet = tuple("0123456789")
    sign_place: ClassVar[int]  # where among the parts of an operator its sign is
    operators: float = 0.3
    max_symbols: int = 50

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.operators <= 0.5:
            raise HarnessError(f"Option 'operators' of task {self.name!r} cannot be {self.operators}; give 0 to 0.5.")
        if self.max_symbols < 8:
            raise HarnessError(f"Task {self.name!r} cannot have at most {self.max_symbols} symbols; give at least 8.")

    @abstractmethod
    def draw_operators(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws operators: symbols [count, P], an ARGUMENT for every argument, blanks behind."""

    @abstractmethod
    def apply(
        self, signs: np.ndarray, counts: np.ndarray, values: np.ndarray, depths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Applies operators.

        Args:
            signs: [K] the symbols that say what they do.
            counts: [K] how many of the arguments are each one's.
            values: of the arguments.
            depths: of the arguments.

        Returns:
            Their values and depths [K].
        """

    @abstractmethod
    def parse(self, rows: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds the nodes, digits and operators, of expressions [N, W] of which some symbols [N, W] are real.

        Returns:
            The digit or the operator's sign of each node [M], and how many operators it is inside of [M].
        """

    @property
    def blank(self) -> int:
        """What stands in the place of a symbol where there is none."""
        return len(self.input_alphabet)

    @property
    def max_length(self) -> int:  # ty: ignore[incompatible-property-override]  (a constant elsewhere)
        """The depth that leaves four symbols to every step."""
        return self.max_symbols // 4

    def input_length(self, length: int) -> int:
        """The longest expression that is drawn, whatever the depth."""
        return self.max_symbols

    def output_length(self, length: int) -> int:
        """One digit."""
        return 1

    def draw(self, length: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Expressions of this very depth; [count, max_symbols], and their lengths."""
        table = Expressions(self, count, rng)
        drawn = self._draw_seeds(table, length, count)
        while len(low := np.flatnonzero(table.depths[drawn] < length)):
            low = np.repeat(low, max(1, 2 * count // len(low)))  # several tries at a time where few are left
            depths = table.depths[drawn[low]]
            parts, kept = table.draw_around(drawn[low], self._room(depths + 1, length))
            values, grown = table.work_out(parts)
            deeper = np.flatnonzero((grown > depths[kept]) & (grown <= length))
            low = low[kept[deeper]]
            first = np.flatnonzero(np.diff(low, prepend=-1))  # the first try of each that adds to the depth
            taken = deeper[first]
            drawn[low[first]] = table.add(parts[taken], values[taken], grown[taken])
        return table.write(drawn, self.max_symbols), table.lengths[drawn]

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Works every expression out."""
        values, _ = self.evaluate(inputs, input_lengths)
        return Answer(values[:, None], np.ones_like(input_lengths))

    def evaluate(self, rows: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values and depths [N] of expressions [N, W] of these lengths [N], the innermost operators first."""
        values, levels = self.parse(
            rows, length_mask(lengths, rows.shape[1])
        )  # [M], of operators their signs at first
        depths = np.ones_like(values)
        by_level = np.split(np.argsort(levels, kind="stable"), np.cumsum(np.bincount(levels))[:-1])
        for arguments, nodes in pairwise(reversed(by_level)):
            owners = np.searchsorted(nodes, arguments) - 1  # the last node before it that is one level up
            counts = np.bincount(owners)
            operators, counts = nodes[np.flatnonzero(counts)], counts[counts > 0]
            values[operators], depths[operators] = self.apply(
                values[operators], counts, values[arguments], depths[arguments]
            )
        return values[by_level[0]], depths[by_level[0]]

    def _room(self, depths: np.ndarray, depth: int) -> np.ndarray:
        """The greatest lengths of expressions of these depths that are to grow to `depth`."""
        return self.max_symbols * depths // depth

    def _draw_seeds(self, table: Expressions, depth: int, count: int) -> np.ndarray:
        """Draws random expressions that can grow to a depth; their numbers [count]."""
        seeds = np.zeros(0, dtype=np.int64)
        while len(seeds) < count:
            drawn = table.draw(count)
            depths = table.depths[drawn]
            fits = (table.lengths[drawn] <= self._room(depths, depth)) & (depths <= depth)
            seeds = np.concatenate([seeds, drawn[fits]])
        return seeds[:count]
