"""Compositional table lookup: a state sent through one table after another."""

from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np

from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer
from eval_harness.tasks.sources import CSORDAS
from eval_harness.tasks.task import LABEL_FORMATS, Task


STATES = 8
TABLES = 9
# The source's own tables; this old generator's stream never changes.
_SOURCE = np.random.RandomState(0x12345678)
TABLE = np.stack([_SOURCE.permutation(STATES) for _ in range(TABLES)])  # [tables, states]


@register_task
@dataclass(frozen=True, kw_only=True)
class CompositionalTableLookup(Task):
    """What becomes of three bits that are sent through so many tables?

    The tables are fixed permutations of the eight strings of three bits, named by letters, and have to be learned. The
    source keeps two more for other questions, and trains on all inputs of one table at every step.

    Attributes:
        backward: whether the last table stands first, as in f(g(x)), which the source finds much harder; otherwise the
            bits come first and the tables in the order in which they are applied.

    Example:
        101 c a a -> 110
    """

    name = "compositional_table_lookup"
    skill = "composition"
    source = CSORDAS
    length_meaning = "tables applied"
    formats = LABEL_FORMATS
    examples = (("101 c a a", "110"),)
    input_alphabet = (*(f"{state:03b}" for state in range(STATES)), *ascii_lowercase[:TABLES])
    output_alphabet = tuple(f"{state:03b}" for state in range(STATES))
    backward: bool = False

    def input_length(self, length: int) -> int:
        """The tables and the bits."""
        return length + 1

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def distinct_inputs(self, length: int) -> int:
        """Any bits and tables."""
        return STATES * TABLES**length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely bits and tables; [count, length + 1]."""
        states = rng.integers(STATES, size=(count, 1))
        tables = rng.integers(STATES, STATES + TABLES, size=(count, length))
        return np.column_stack([tables, states] if self.backward else [states, tables])

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Applies one table of every row at a time."""
        depth = input_lengths - 1
        rows = np.arange(len(inputs))
        states = inputs[rows, depth if self.backward else 0]
        for step in range(inputs.shape[1] - 1):
            places = np.maximum(depth - 1 - step, 0) if self.backward else step + 1
            tables = np.maximum(inputs[rows, places] - STATES, 0)
            states = np.where(step < depth, TABLE[tables, states], states)
        return Answer(states[:, None], np.ones_like(input_lengths))
