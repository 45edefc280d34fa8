"""Copies of digits: the memory tasks of the Universal Transformer."""

from string import digits

from eval_harness.tasks.copying.copy import Passes
from eval_harness.tasks.registry import register_task


SOURCE = (
    "Dehghani et al. 2019, Universal Transformers, https://arxiv.org/abs/1807.03819; "
    "Zaremba and Sutskever 2014, Learning to Execute, https://arxiv.org/abs/1410.4615"
)


@register_task
class DecimalCopy(Passes):
    """Write the digits again.

    The first source's algorithmic task (trained to length 40, tested to 400), and its memory task from "Learning to
    Execute" (to length 55), whose numbers do not begin with 0 in public code; here all digits are equally likely.

    Example:
        2 7 1 8 -> 2 7 1 8
    """

    name = "decimal_copy"
    skill = "copying"
    source = SOURCE
    length_meaning = "digits in the input"
    examples = (("2 7 1 8", "2 7 1 8"),)
    input_alphabet = tuple(digits)


@register_task
class DecimalDouble(DecimalCopy):
    """Write the digits twice.

    A memory task from "Learning to Execute"; see `decimal_copy`.

    Example:
        2 7 1 8 -> 2 7 1 8 2 7 1 8
    """

    name = "decimal_double"
    examples = (("2 7 1 8", "2 7 1 8 2 7 1 8"),)
    backwards = (False, False)


@register_task
class DecimalReverse(DecimalCopy):
    """Write the digits from last to first.

    Both an algorithmic task and a memory task from "Learning to Execute"; see `decimal_copy`.

    Example:
        2 7 1 8 -> 8 1 7 2
    """

    name = "decimal_reverse"
    skill = "stack"
    examples = (("2 7 1 8", "8 1 7 2"),)
    backwards = (True,)
