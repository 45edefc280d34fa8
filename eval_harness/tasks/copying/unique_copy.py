"""Unique copy and repeat copy: the same task where every symbol tells its place, and where none does."""

from dataclasses import dataclass

from eval_harness.tasks.copying.copy import Copy, Passes
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sources import HUANG
from eval_harness.tasks.symbols import Distinct


@register_task
@dataclass(frozen=True, kw_only=True)
class UniqueCopy(Distinct, Copy):
    """Write the symbols again; all of them are different.

    Attributes:
        symbols: how many different symbols there are, at least 2: the longest input.

    Example:
        31 4 15 9 26 -> 31 4 15 9 26
    """

    name = "unique_copy"
    source = HUANG
    length_meaning = "symbols in the input, at most as many as there are"


@register_task
class RepeatCopy(Passes):
    """Write the letters again; there are only two different ones.

    Example:
        a b b a b -> a b b a b
    """

    name = "repeat_copy"
    skill = "copying"
    source = HUANG
    length_meaning = "letters in the input"
    examples = (("a b b a b", "a b b a b"),)
    input_alphabet = ("a", "b")
