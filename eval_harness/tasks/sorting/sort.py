"""Sort: symbols in order, all different or not."""

from dataclasses import dataclass

from eval_harness.tasks.context_sensitive.bucket_sort import BucketSort
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sources import HUANG, KAZEMNEJAD
from eval_harness.tasks.symbols import Distinct


@register_task
@dataclass(frozen=True, kw_only=True)
class Sort(Distinct, BucketSort):
    """Sort the numbers; all of them are different.

    Attributes:
        symbols: how many different numbers there are, at least 2: the longest input.

    Example:
        31 4 15 9 26 -> 4 9 15 26 31
    """

    name = "sort"
    source = HUANG
    length_meaning = "numbers in the input, at most as many as there are"
    examples = (("31 4 15 9 26", "4 9 15 26 31"),)


@register_task
@dataclass(frozen=True, kw_only=True)
class SymbolSort(BucketSort):
    """Sort the symbols, which may repeat: `bucket_sort` with the many symbols of its source.

    Attributes:
        symbols: how many different symbols there are, at least 2.

    Example:
        31 4 15 4 26 -> 4 4 15 26 31
    """

    name = "symbol_sort"
    source = KAZEMNEJAD
    examples = (("31 4 15 4 26", "4 4 15 26 31"),)
    symbols: int = 50
