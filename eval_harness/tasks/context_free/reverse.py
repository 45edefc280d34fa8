"""Reverse: what a stack does in one pass."""

from eval_harness.tasks.copying.copy import Passes
from eval_harness.tasks.registry import register_task


@register_task
class Reverse(Passes):
    """Write the bits from last to first.

    Example:
        0 0 1 0 1 1 -> 1 1 0 1 0 0
    """

    name = "reverse"
    skill = "stack"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "bits in the input"
    examples = (("0 0 1 0 1 1", "1 1 0 1 0 0"),)
    input_alphabet = ("0", "1")
    backwards = (True,)
