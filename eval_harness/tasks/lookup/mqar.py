"""Multi-query associative recall: many keys, each looked up once."""

from dataclasses import dataclass
from functools import cache
from math import perm

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.drawing import draw_distinct
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, length_mask
from eval_harness.tasks.task import Task


BLANK = 0


@register_task
@dataclass(frozen=True, kw_only=True)
class Mqar(Task):
    """Say the value of every key that comes a second time, where it comes.

    The input begins with pairs of a key and its value, all different. Behind them every key stands once more, at an
    even distance from the last pair. Small distances are likelier: distance 2 (g - 1) has a probability proportional
    to g ** (power - 1). Places between are filled with any symbols but the keys in use; the source also draws those
    there, and does not ask for them.

    Attributes:
        pairs: the least number of pairs, at least 1.
        share: pairs as a share of the length, at most 0.25, where that makes more than `pairs`; 1/16 in the source's
            first experiments, of lengths 64, 128 and 256 with 4, 8 and 16 pairs.
        vocabulary: how many different symbols there are, even, at least 4: a blank, keys, and as many values and one.
        power: 1 spreads the keys evenly, towards 0 they come sooner; from 0 to 1.
        random_fillers: whether places between hold random symbols; otherwise blanks.

    Example:
        k7 v3 k2 v9 k1 v4 k5 v2 v6 v6 k2 k9 k7 _ k5 v1 k1 v3 -> v9 v3 v2 v4
    """

    name = "mqar"
    skill = "look-up"
    source = (
        "Arora et al. 2023, Zoology: Measuring and Improving Recall in Efficient Language Models, "
        "https://arxiv.org/abs/2312.04927"
    )
    length_meaning = "symbols in the input; even, at least four for each pair"
    formats = ("in_place",)
    examples = (("k7 v3 k2 v9 k1 v4 k5 v2 v6 v6 k2 k9 k7 _ k5 v1 k1 v3", "v9 v3 v2 v4"),)
    pairs: int = 4
    share: float = 0.0
    vocabulary: int = 8192
    power: float = 0.01
    random_fillers: bool = True

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.share <= 0.25:
            raise HarnessError(f"Option 'share' of task 'mqar' cannot be {self.share}; give 0 to 0.25.")
        if not 0 <= self.power <= 1:
            raise HarnessError(f"Option 'power' of task 'mqar' cannot be {self.power}; give 0 to 1.")
        if self.vocabulary < 4 or self.vocabulary % 2:
            raise HarnessError(f"Task 'mqar' cannot have {self.vocabulary} symbols; give an even number from 4.")
        if not 1 <= self.pairs <= self._keys:
            raise HarnessError(
                f"Task 'mqar' cannot have {self.pairs} pairs; {self.vocabulary} symbols make 1 to {self._keys}."
            )

    @property
    def _keys(self) -> int:
        return self.vocabulary // 2 - 1

    @property
    def min_length(self) -> int:  # ty: ignore[incompatible-property-override]  (a constant elsewhere)
        """Room for every pair and its key."""
        return 4 * self.pairs

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """The blank, the keys from k1, the values from v0."""
        return _symbols(self.vocabulary)

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """The values."""
        return _symbols(self.vocabulary)[self.vocabulary // 2 :]

    def pairs_at(self, length: int) -> int:
        """The number of pairs in an input of this length."""
        return max(self.pairs, int(self.share * length))

    def valid_length(self, length: int) -> bool:
        """Even, and with no more pairs than there are keys."""
        return super().valid_length(length) and length % 2 == 0 and self.pairs_at(length) <= self._keys

    def output_length(self, length: int) -> int:
        """One value for each pair."""
        return self.pairs_at(length)

    def distinct_inputs(self, length: int) -> int:
        """Any keys, values, places and fillers."""
        pairs = self.pairs_at(length)
        fillers = (self.vocabulary - pairs) ** (length - 3 * pairs) if self.random_fillers else 1
        return perm(self._keys, pairs) * perm(self._keys + 1, pairs) * perm(length // 2 - pairs, pairs) * fillers

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Different keys and values, fillers, then the keys at their distances; [count, length]."""
        pairs = self.pairs_at(length)
        keys = 1 + draw_distinct(self._keys, pairs, count, rng)  # [count, pairs]
        values = self.vocabulary // 2 + draw_distinct(self._keys + 1, pairs, count, rng)
        inputs = np.full((count, length), BLANK, dtype=np.int64)
        inputs[:, : 2 * pairs] = np.stack([keys, values], axis=2).reshape(count, 2 * pairs)
        if self.random_fillers:
            inputs[:, 2 * pairs :] = self._draw_fillers(keys, length - 2 * pairs, rng)
        # Waiting times of rate g ** (power - 1): the first to arrive are a draw without replacement.
        rates = np.arange(1, length // 2 - pairs + 1) ** (self.power - 1)
        arrivals = rng.exponential(size=(count, len(rates))) / rates
        gaps = np.argsort(arrivals, axis=1)[:, :pairs]  # [count, pairs]
        np.put_along_axis(inputs, 2 * (pairs + gaps), keys, axis=1)
        return inputs

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Looks every symbol behind the pairs up in a table of each row's keys."""
        width = inputs.shape[1]
        places = np.arange(width)
        ends = 2 * np.array([self.pairs_at(length) for length in input_lengths.tolist()])[:, None]  # [count, 1]
        values = np.full((len(inputs), self.vocabulary), -1, dtype=np.int32)
        rows, keys = np.nonzero((places < ends) & (places % 2 == 0))
        values[rows, inputs[rows, keys]] = inputs[rows, keys + 1] - self.vocabulary // 2
        found = np.take_along_axis(values, inputs, axis=1)  # [count, L]
        asked = (found >= 0) & (places >= ends) & length_mask(input_lengths, width)
        counts = asked.sum(axis=1)
        targets, positions = np.zeros((2, len(inputs), counts.max()), dtype=np.int64)
        real = length_mask(counts, targets.shape[1])
        targets[real] = found[asked]
        positions[real] = np.nonzero(asked)[1]
        return Answer(targets, counts, positions=positions)

    def _draw_fillers(self, keys: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
        """Draws any symbols [count, length] but each row's keys [count, pairs]."""
        free = np.ones((len(keys), self.vocabulary), dtype=bool)
        np.put_along_axis(free, keys, False, axis=1)
        fillers = rng.integers(self.vocabulary, size=(len(keys), length))
        while len(taken := np.argwhere(~np.take_along_axis(free, fillers, axis=1))):
            fillers[tuple(taken.T)] = rng.integers(self.vocabulary, size=len(taken))
        return fillers


@cache
def _symbols(vocabulary: int) -> tuple[str, ...]:
    keys, values = range(1, vocabulary // 2), range(vocabulary // 2)
    return ("_", *(f"k{number}" for number in keys), *(f"v{number}" for number in values))
