"""N-gram lookup: finding a key in a string and reading on, with the key given before the string or behind it."""

from dataclasses import dataclass
from string import ascii_lowercase
from typing import ClassVar

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer
from eval_harness.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class _NgramLookup(Task):
    """Base of both lookups; a subclass says whether the key comes first."""

    skill = "look-up"
    source = (
        "Jelassi et al. 2024, Repeat After Me: Transformers are Better than State Space Models at Copying, "
        "https://arxiv.org/abs/2402.01032"
    )
    length_meaning = "letters in the string, at least the key's and those asked for"
    key_first: ClassVar[bool]
    letters: int = 26
    key_letters: int = 3
    span: int = 3

    def __post_init__(self):
        super().__post_init__()
        if not 2 <= self.letters <= 26:
            raise HarnessError(f"Task {self.name!r} cannot have {self.letters} letters; give 2 to 26.")
        if min(self.key_letters, self.span) < 1:
            raise HarnessError(
                f"Task {self.name!r} cannot have a key of {self.key_letters} letters and ask for {self.span}; "
                "give at least 1 of both."
            )

    @property
    def min_length(self) -> int:  # ty: ignore[incompatible-property-override]  (a constant elsewhere)
        """The key and what follows."""
        return self.key_letters + self.span

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """Letters from a, and the bar."""
        return (*self.output_alphabet, "|")

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """Letters from a."""
        return tuple(ascii_lowercase[: self.letters])

    def input_length(self, length: int) -> int:
        """The string, the bar and the key."""
        return length + 1 + self.key_letters

    def output_length(self, length: int) -> int:
        """As many letters as are asked for."""
        return self.span

    def distinct_inputs(self, length: int) -> int:
        """At least one for each string."""
        return self.letters**length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely letters; the key begins at any place that leaves room for the answer."""
        strings = rng.integers(self.letters, size=(count, length))
        starts = rng.integers(length - self.key_letters - self.span + 1, size=count)
        keys = _pieces(strings, starts, self.key_letters)
        bars = np.full(count, self.letters)
        return np.column_stack([keys, bars, strings] if self.key_first else [strings, bars, keys])

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Compares the key with every place of the string and reads on behind the first that is equal."""
        bar = (inputs == self.letters).argmax(axis=1)
        string_starts = bar + 1 if self.key_first else np.zeros_like(bar)
        keys = _pieces(inputs, np.zeros_like(bar) if self.key_first else bar + 1, self.key_letters)
        width = inputs.shape[1] - self.key_letters + 1
        equal = np.arange(width) >= string_starts[:, None]  # [count, width]
        for letter in range(self.key_letters):
            equal &= inputs[:, letter : letter + width] == keys[:, letter : letter + 1]
        targets = _pieces(inputs, equal.argmax(axis=1) + self.key_letters, self.span)
        return Answer(targets, np.full_like(input_lengths, self.span))


def _pieces(rows: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """Cuts `size` symbols out of each row from its start [count] on."""
    return np.take_along_axis(rows, starts[:, None] + np.arange(size), axis=1)


@register_task
class PrefixLookup(_NgramLookup):
    """Write the letters that follow a key in a string; the key is given before the string.

    If the key occurs more than once, the first place counts. With the key before the string a recurrent network knows
    what to wait for. The source's code leaves the numbers open (the answer may also go on to the end of the string);
    the defaults are ours.

    Attributes:
        letters: how many different letters there are, 2 to 26.
        key_letters: letters in the key, at least 1.
        span: letters asked for, at least 1.

    Example:
        c a b | x c a b d e a c -> d e a
    """

    name = "prefix_lookup"
    examples = (("c a b | x c a b d e a c", "d e a"),)
    key_first = True


@register_task
class SuffixLookup(_NgramLookup):
    """Write the letters that follow a key in a string; the key is given behind the string.

    As `prefix_lookup`, but the whole string has to be remembered until the key is known.

    Attributes:
        letters: how many different letters there are, 2 to 26.
        key_letters: letters in the key, at least 1.
        span: letters asked for, at least 1.

    Example:
        x c a b d e a c | c a b -> d e a
    """

    name = "suffix_lookup"
    examples = (("x c a b d e a c | c a b", "d e a"),)
    key_first = False
