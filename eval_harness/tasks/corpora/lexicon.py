"""Lexicon: a dictionary learned by heart."""

from dataclasses import dataclass

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after
from eval_harness.tasks.task import Task, derive_rng


@register_task
@dataclass(frozen=True, kw_only=True)
class Lexicon(Task):
    """Translate word by word, with a dictionary that is never shown: every word has one translation, always the same.

    What is left of translation where word order, agreement and context are taken away: pure look-up. The dictionary
    is drawn once, and is that of the task's version and its number of words.

    Attributes:
        words: how many words there are.

    Example:
        s7 s0 s7 -> t577 t202 t577
    """

    name = "lexicon"
    skill = "look-up"
    source = (
        "ours, to set beside the translations of Dehghani et al. 2019, Universal Transformers, "
        "https://arxiv.org/abs/1807.03819"
    )
    length_meaning = "words of the sentence"
    examples = (("s7 s0 s7", "t577 t202 t577"),)
    words: int = 1000

    def __post_init__(self):
        super().__post_init__()
        if self.words < 2:
            raise HarnessError(f"Task 'lexicon' cannot have {self.words} words; give at least 2.")

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """The words of the source language."""
        return tuple(f"s{number}" for number in range(self.words))

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """The words of the target language: none is shared."""
        return tuple(f"t{number}" for number in range(self.words))

    def output_length(self, length: int) -> int:
        """A word for each."""
        return length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely words [count, length]."""
        return rng.integers(self.words, size=(count, length))

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Looks up every word."""
        return Answer(fill_after(self.dictionary()[inputs], input_lengths), input_lengths)

    def dictionary(self) -> np.ndarray:
        """The translation of each word [words], each other than those of all others."""
        return derive_rng("dictionary", self.name, self.version, self.words).permutation(self.words)
