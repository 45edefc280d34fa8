"""The test lengths, which make two scores comparable."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, inf
from typing import ClassVar

from eval_harness.errors import HarnessError
from eval_harness.tasks.corpus import Corpus
from eval_harness.tasks.task import Task, derive_rng


STRATA = 12


@dataclass(frozen=True)
class TestLengths:
    """The lengths of one evaluation, each list sorted and none twice.

    Attributes:
        within: up to the training length; those from half of it on decide whether a run fits.
        beyond: one from each of twelve equal strata between the training length L and k L, or every length there where
            there are no more than twelve. The plain mean over them estimates the mean over the complete range.
        reach_only: slightly above L, to locate the first failure better; never in that mean.
        train_length: L, the greatest training length.
        factor: k.
    """

    __test__: ClassVar[bool] = False  # not a test, whatever pytest makes of the name

    within: tuple[int, ...]
    beyond: tuple[int, ...]
    reach_only: tuple[int, ...]
    train_length: int
    factor: float

    @property
    def all(self) -> tuple[int, ...]:
        """Every tested length, sorted."""
        return tuple(sorted({*self.within, *self.beyond, *self.reach_only}))


def test_lengths(task: Task, train_length: int, factor: float = 5.0) -> TestLengths:  # noqa: PT028 (not a test)
    """The protocol's lengths for models trained up to `train_length` and tested up to `factor` times that.

    A function of only its arguments and the task's version, so every model meets the same lengths.

    Raises:
        HarnessError: where the task does not have the training length, or the factor is not above 1.
    """
    task.check_length(train_length)
    factor = float(factor)
    if not 1 < factor < inf:
        raise HarnessError(f"The factor of the longest test length cannot be {factor:g}; it must be above 1.")
    length = int(train_length)
    longest = floor(Fraction(factor) * length)
    beyond = _stratified(task, length, factor)
    if not beyond:
        raise HarnessError(f"Task {task.name!r} has no length above {length} up to {longest}; raise the factor.")
    shorter = (length // 4, *(ceil(length * eighths / 8) for eighths in range(4, 9)))
    within = _next_valid(task, (max(point, task.min_length) for point in shorter), length)
    near = (length + 1, length + 2, ceil(1.25 * length), floor(1.5 * length) + 1)
    reach_only = _next_valid(task, near, longest) - beyond
    return TestLengths(_ordered(within), _ordered(beyond), _ordered(reach_only), length, factor)


test_lengths.__test__ = False  # ty: ignore[missing-attribute]  (not a test either)


def is_enumerable(task: Task, length: int, examples: int) -> bool:
    """Whether a model may have seen most test examples: of fewer than four inputs for each, some come up in training.

    For a corpus the number of inputs does not matter, but whether it keeps test inputs out of training.
    """
    if isinstance(task, Corpus):
        return not task.unseen(length)
    return task.distinct_inputs(length) < 4 * examples


def _stratified(task: Task, length: int, factor: float) -> set[int]:
    """One valid length from each stratum that has any, with even and odd lengths in turns of a drawn order.

    No length is left out where there are no more than strata, as in corpora with lengths at uneven distances.
    """
    valid = [number for number in range(length + 1, floor(length * Fraction(factor)) + 1) if task.valid_length(number)]
    if len(valid) <= STRATA:
        return set(valid)
    rng = derive_rng("test lengths", task.key(), task.version, length, factor)
    parities = rng.permutation([0, 1] * (STRATA // 2))
    edges = [floor(length * (1 + (Fraction(factor) - 1) * step / STRATA)) for step in range(STRATA + 1)]
    chosen = set()
    for low, high, parity in zip(edges, edges[1:], parities, strict=False):
        stratum = [number for number in valid if low < number <= high]
        candidates = [number for number in stratum if number % 2 == parity] or stratum
        if candidates:
            chosen.add(int(rng.choice(candidates)))
    return chosen


def _next_valid(task: Task, points: Iterable[int], longest: int) -> set[int]:
    """For each point the first valid length from it on, where there is one up to the longest."""
    firsts = (next((n for n in range(point, longest + 1) if task.valid_length(n)), None) for point in points)
    return {first for first in firsts if first is not None}


def _ordered(lengths: set[int]) -> tuple[int, ...]:
    return tuple(sorted(lengths))
