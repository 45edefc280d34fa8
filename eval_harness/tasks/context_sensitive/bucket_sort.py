"""Bucket sort: counting every symbol, then writing the counts out."""

from dataclasses import dataclass

import numpy as np

from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.symbols import Numbered


@register_task
@dataclass(frozen=True, kw_only=True)
class BucketSort(Numbered):
    """Sort the symbols.

    Long sorted strings look alike: most symbols can be guessed from their place, so read token accuracy beside the
    input-blind baseline.

    Attributes:
        symbols: how many different symbols there are, at least 2.

    Example:
        4 2 0 4 1 2 -> 0 1 2 2 4 4
    """

    name = "bucket_sort"
    skill = "sorting"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "symbols in the input"
    examples = (("4 2 0 4 1 2", "0 1 2 2 4 4"),)
    symbols: int = 5

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """The same as the input's."""
        return self.input_alphabet

    def output_length(self, length: int) -> int:
        """As long as the input."""
        return length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely symbols [count, length]."""
        return rng.integers(self.symbols, size=(count, length))

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Sorts every row, its padding kept behind."""
        ordered = np.sort(fill_after(inputs, input_lengths, self.symbols), axis=1)
        return Answer(fill_after(ordered, input_lengths), input_lengths)
