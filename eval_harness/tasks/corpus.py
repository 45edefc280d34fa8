"""Corpora: tasks whose examples are listed, not drawn, so that there is a last one."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.sample import Sample
from eval_harness.tasks.task import Task, derive_rng


@dataclass(frozen=True, kw_only=True)
class Corpus(Task):
    """A task that has finitely many rows of each length, in splits that it defines itself.

    A subclass lists its rows in `rows`. Streams for training and tuning are endless all the same: a walk through all
    rows of the length in an order that is drawn again in every round. Streams of other splits hold each row once, in
    an order that the seed draws, and then end: a sample may have fewer rows than requested. The input-blind baseline
    is fitted on the split "baseline": the training rows, where the length has any.
    """

    @abstractmethod
    def rows(self, split: str, length: int) -> Sample:
        """All rows of one split and length, in a fixed order; there may be none.

        Inputs and targets are `input_length` and `output_length` wide. The arrays are only read.
        """

    @abstractmethod
    def unseen(self, length: int) -> bool:
        """Whether no test row of this length is a training row."""

    def training_lengths(self, longest: int) -> list[int]:
        """The lengths of which there are training rows, up to `longest`.

        Raises:
            HarnessError: the greatest of them is not `longest`, which then would be no training length.
        """
        lengths = [length for length in super().training_lengths(longest) if len(self.rows("train", length))]
        if not lengths or lengths[-1] != longest:
            greatest = f"the greatest below it is {lengths[-1]}" if lengths else "nor of a shorter one"
            raise HarnessError(f"Task {self.key()!r} has no training rows of length {longest}; {greatest}.")
        return lengths

    def training_rows(self, length: int) -> int:
        """The number of training rows of this length."""
        return len(self.rows("train", length))

    def distinct_inputs(self, length: int) -> int:
        """The number of test rows."""
        return len(self.rows("test", length))

    def block(self, split: str, length: int, seed: int, index: int) -> Sample:
        """Takes the next rows of the walk, or those that are left of it."""
        rows, size = self.rows(split, length), self.block_size(length)
        steps = np.arange(size * index, size * (index + 1))
        if split not in ("train", "tune"):
            steps = steps[steps < len(rows)]
        elif not len(rows):
            raise HarnessError(f"Task {self.key()!r} has no rows of length {length} in the split {split!r}.")
        rounds, places = np.divmod(steps, max(len(rows), 1))
        chosen = np.zeros(len(steps), dtype=np.int64)
        for number in np.unique(rounds).tolist():
            order = _order(self.pinned().key(), self.version, split, length, seed, number, len(rows))
            chosen[rounds == number] = order[places[rounds == number]]
        return rows[chosen]


@lru_cache(maxsize=8)  # an order may be as long as a text
def _order(key: str, version: int, split: str, length: int, seed: int, number: int, count: int) -> np.ndarray:
    """The order of the rows in one round of a walk [count]."""
    return derive_rng("order", key, version, split, length, seed, number).permutation(count)


@dataclass(frozen=True, kw_only=True)
class ReadCorpus(Corpus):
    """A corpus whose data are not made here but read: from a file, from another package, from the Hub.

    A result depends on the data, so a task that is run carries their digest among its options.

    Attributes:
        digest: of the data. Where it is given, other data are refused.
    """

    digest: str = ""

    @abstractmethod
    def digest_of_data(self) -> str:
        """Twelve hexadecimal digits that identify the present data."""

    def pinned(self) -> "ReadCorpus":
        """The same task with the digest of the present data."""
        return replace(self, digest=self.digest_of_data())

    def check_data(self) -> None:
        """Refuses data that are not those of the digest.

        Raises:
            HarnessError: naming both digests.
        """
        found = self.digest_of_data()
        if self.digest not in ("", found):
            raise HarnessError(f"The data of task {self.name!r} have the digest {found}, not {self.digest}.")
