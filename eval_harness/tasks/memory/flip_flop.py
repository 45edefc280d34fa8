"""Flip-flop: one bit kept until it is overwritten, while others pass by."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer
from eval_harness.tasks.task import Task


WRITE, READ, IGNORE, ZERO, ONE, ASKED = range(6)


@register_task
@dataclass(frozen=True, kw_only=True)
class FlipFlop(Task):
    """Say the bit that was written last, at every read.

    The input is made of pairs: `w` and a bit to remember, `i` and a bit to ignore, `r` and a question mark, which is
    where the remembered bit is to be said. In the source the bit itself stands there; hiding it keeps a bidirectional
    model from reading the answer and makes every answer reach back to the write.

    Attributes:
        ignore: probability that a pair between the first (always a write) and the last (always a read) is ignored;
            writes and reads share the rest equally. From 0 to less than 1.

    Example:
        w 1 i 0 r ? w 0 i 1 r ? -> 1 0
    """

    name = "flip_flop"
    skill = "state tracking"
    source = (
        "Liu et al. 2023, Exposing Attention Glitches with Flip-Flop Language Modeling, "
        "https://arxiv.org/abs/2306.00946"
    )
    length_meaning = "symbols in the input, two for each instruction; even"
    formats: ClassVar[tuple[str, ...]] = ("in_place",)
    min_length = 4
    varying_answers = True
    examples = (("w 1 i 0 r ? w 0 i 1 r ?", "1 0"),)
    input_alphabet = ("w", "r", "i", "0", "1", "?")
    output_alphabet = ("0", "1")
    ignore: float = 0.8

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.ignore < 1:
            raise HarnessError(f"Option 'ignore' of task 'flip_flop' cannot be {self.ignore}; give 0 to below 1.")

    def valid_length(self, length: int) -> bool:
        """Even lengths from 4."""
        return super().valid_length(length) and length % 2 == 0

    def output_length(self, length: int) -> int:
        """Every instruction but the first may be a read."""
        return length // 2 - 1

    def distinct_inputs(self, length: int) -> int:
        """The first bit is free; between first and last stands a write, a read or, if they occur, an ignored pair."""
        choices = 5 if self.ignore > 0 else 3
        return 2 * choices ** (length // 2 - 2)

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Instructions as the option says, fair bits; [count, length]."""
        pairs = length // 2
        uniform = rng.random((count, pairs))
        instructions = np.where(uniform < self.ignore, IGNORE, np.where(uniform < (1 + self.ignore) / 2, WRITE, READ))
        instructions[:, 0] = WRITE
        instructions[:, -1] = READ
        bits = rng.integers(ZERO, ONE + 1, size=(count, pairs))
        bits[instructions == READ] = ASKED
        return np.stack([instructions, bits], axis=2).reshape(count, length)

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Looks up the last write before every read; padding holds no reads."""
        instructions, bits = inputs[:, ::2], inputs[:, 1::2]  # [count, pairs]
        pairs = np.arange(instructions.shape[1])
        written = np.maximum.accumulate(np.where(instructions == WRITE, pairs, 0), axis=1)
        remembered = np.take_along_axis(bits, written, axis=1) - ZERO
        reads = bits == ASKED
        order = np.argsort(~reads, axis=1, kind="stable")[:, : len(pairs) - 1]  # reads first, from left to right
        counts = reads.sum(axis=1)
        real = np.arange(order.shape[1]) < counts[:, None]
        targets = np.where(real, np.take_along_axis(remembered, order, axis=1), 0)
        return Answer(targets, counts, positions=np.where(real, 2 * order + 1, 0))
