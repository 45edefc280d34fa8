"""Polynomial: a sum of products with powers, taken modulo ten."""

import numpy as np

from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, length_mask
from eval_harness.tasks.task import LABEL_FORMATS, Task


VALUES, COEFFICIENTS, POWERS = range(-2, 3), range(-3, 4), range(4)
FIRST_COEFFICIENT = len(VALUES)
FIRST_POWER = FIRST_COEFFICIENT + len(COEFFICIENTS)


@register_task
class Polynomial(Task):
    """What is the value of the polynomial at x, modulo ten?

    The value of x comes first, then a coefficient and a power for every term; powers may come again. The source's
    template has more symbols, which never change.

    Examples:
        x=2 3 x^2 -1 x^0 -> 1
        x=-1 2 x^3 -> 8
    """

    name = "polynomial"
    skill = "arithmetic"
    source = (
        "Kazemnejad et al. 2023, The Impact of Positional Encoding on Length Generalization in Transformers, "
        "https://arxiv.org/abs/2305.19466"
    )
    formats = LABEL_FORMATS
    length_meaning = "terms of the polynomial"
    examples = (("x=2 3 x^2 -1 x^0", "1"), ("x=-1 2 x^3", "8"))
    input_alphabet = (
        *(f"x={value}" for value in VALUES),
        *(str(coefficient) for coefficient in COEFFICIENTS),
        *(f"x^{power}" for power in POWERS),
    )
    output_alphabet = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

    def input_length(self, length: int) -> int:
        """The value of x, and two symbols for every term."""
        return 2 * length + 1

    def output_length(self, length: int) -> int:
        """One symbol."""
        return 1

    def distinct_inputs(self, length: int) -> int:
        """All symbols are independent."""
        return len(VALUES) * (len(COEFFICIENTS) * len(POWERS)) ** length

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent, equally likely values, coefficients and powers; [count, 2 length + 1]."""
        inputs = np.empty((count, 2 * length + 1), dtype=np.int64)
        inputs[:, 0] = rng.integers(len(VALUES), size=count)
        inputs[:, 1::2] = FIRST_COEFFICIENT + rng.integers(len(COEFFICIENTS), size=(count, length))
        inputs[:, 2::2] = FIRST_POWER + rng.integers(len(POWERS), size=(count, length))
        return inputs

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Looks every term up in a table of powers."""
        powers = np.array(VALUES)[:, None] ** np.array(POWERS)  # [values, powers]
        terms = (inputs.shape[1] - 1) // 2
        real = length_mask(input_lengths // 2, terms)
        coefficients = np.where(real, inputs[:, 1 : 2 * terms : 2] - FIRST_COEFFICIENT + COEFFICIENTS.start, 0)
        exponents = np.where(real, inputs[:, 2 : 2 * terms + 1 : 2] - FIRST_POWER, 0)
        values = (coefficients * powers[inputs[:, :1], exponents]).sum(axis=1, keepdims=True)
        return Answer(values % 10, np.ones_like(input_lengths))
