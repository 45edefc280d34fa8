"""Duplicate: copying twice, which a stack cannot do."""

from eval_harness.tasks.copying.copy import Passes
from eval_harness.tasks.registry import register_task


@register_task
class Duplicate(Passes):
    """Write the bits twice.

    Example:
        0 1 1 -> 0 1 1 0 1 1
    """

    name = "duplicate"
    skill = "copying"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "bits in the input"
    examples = (("0 1 1", "0 1 1 0 1 1"),)
    input_alphabet = ("0", "1")
    backwards = (False, False)
