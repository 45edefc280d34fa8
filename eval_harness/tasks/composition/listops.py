"""ListOps by dependency depth: minimum, maximum, median and sum of digits, nested."""

from dataclasses import dataclass

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.composition.expressions import ARGUMENT, DIGITS
from eval_harness.tasks.composition.trees import Trees
from eval_harness.tasks.registry import register_task


MIN, MAX, MED, SM, CLOSE = range(DIGITS, DIGITS + 5)


@register_task
@dataclass(frozen=True, kw_only=True)
class ListOps(Trees):
    """What is the value of nested lists of digits?

    `[MIN` and `[MAX` give the least and the greatest of their arguments, `[MED` the median (of an even number the mean
    of the middle two, rounded down), `[SM` the sum modulo ten. A digit has depth 1, an operator one more than the
    deepest of the arguments that its value comes from: all for a sum, the first least or greatest, the middle one or
    two. So the depth counts the steps that must follow each other.

    The source trains on depths 2 to 6 and tests on 8 and 9. It grows an expression until the depth of the brackets is
    right and then looks for those whose dependency depth is; here every step of growth adds to the dependency depth.
    There an operator takes the expression as one of three to five arguments, never the last; here as any of two to
    five. Symbols are counted as a model sees them; the source's limit of 50 counts one more for each operator.

    Attributes:
        operators: the probability that a node is an operator, at most 0.5.
        max_symbols: the longest input, at least 8.
        arguments: the greatest number of arguments, at least 2.

    Example:
        [SM 4 [MIN 7 2 9 ] [MED 1 8 3 ] ] -> 9
    """

    name = "listops"
    length_meaning = "dependency depth: a digit has 1, an operator one more than the arguments it selects"
    examples = (("[SM 4 [MIN 7 2 9 ] [MED 1 8 3 ] ]", "9"),)
    input_alphabet = (*"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]")
    sign_place = 0
    arguments: int = 5

    def __post_init__(self):
        super().__post_init__()
        if not 2 <= self.arguments <= 50:
            raise HarnessError(f"Task 'listops' cannot have up to {self.arguments} arguments; give 2 to 50.")

    def distinct_inputs(self, length: int) -> int:
        """At least the innermost operator on digits, and sums of what is inside and a digit on either side."""
        room = self.max_symbols - 3 * (length - 2) - 2
        innermost = 4 * sum(DIGITS**count for count in range(2, min(self.arguments, room) + 1))
        return innermost * (2 * DIGITS) ** (length - 2)

    def draw_operators(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws uniform operators with a uniform number of arguments."""
        places, closes = np.arange(self.arguments + 2), np.arange(3, self.arguments + 2)[:, None]
        shapes = np.where(places < closes, ARGUMENT, np.where(places == closes, CLOSE, self.blank))
        parts = shapes[rng.integers(len(shapes), size=count)]
        parts[:, self.sign_place] = rng.integers(MIN, SM + 1, size=count)
        return parts

    def parse(self, rows: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nodes are all symbols but the closing brackets."""
        opens, closes = real & (rows >= MIN) & (rows < CLOSE), real & (rows == CLOSE)
        levels = np.cumsum(opens.view(np.int8) - closes, axis=1) - opens
        is_node = real & (rows < CLOSE)
        return rows[is_node], levels[is_node]

    def apply(
        self, signs: np.ndarray, counts: np.ndarray, values: np.ndarray, depths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sorts the arguments of every operator: all but sums select one of them, or two."""
        starts, owners = np.cumsum(counts) - counts, np.repeat(np.arange(len(counts)), counts)
        ranks = np.where(signs[owners] == MAX, DIGITS - 1 - values, values)
        order = np.argsort(DIGITS * owners + ranks, kind="stable")  # of equal values the first comes first
        is_median = signs == MED
        low, high = order[starts + is_median * ((counts - 1) // 2)], order[starts + is_median * (counts // 2)]
        selected, steps = (values[low] + values[high]) // 2, np.maximum(depths[low], depths[high])
        is_sum = signs == SM
        selected[is_sum] = np.add.reduceat(values, starts)[is_sum] % DIGITS
        steps[is_sum] = np.maximum.reduceat(depths, starts)[is_sum]
        return selected, steps + 1
