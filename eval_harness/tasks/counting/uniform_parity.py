"""Uniform parity: parity where every number of ones is as likely as any other."""

import numpy as np

from eval_harness.tasks.drawing import draw_bits_by_count
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.regular.parity import Parity
from eval_harness.tasks.sources import HUANG


@register_task
class UniformParity(Parity):
    """Is the number of ones even or odd, where every number is equally likely?

    Small numbers are common at every length: a model trained to 50 bits that is right up to 50 ones, and guesses
    beyond, has 84.6 % of lengths 51 to 100 right and 70.4 % of 101 to 150. In `parity` the bits are fair and
    independent, and such a model fails sooner; that is also what Kazemnejad et al. 2023 ask in words.

    Examples:
        1 0 1 0 1 0 0 -> odd
        0 1 1 -> even
    """

    name = "uniform_parity"
    source = HUANG

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """A uniform number of ones, in uniform order; [count, length]."""
        return draw_bits_by_count(rng.integers(length + 1, size=count), length, rng)
