"""Stack manipulation: doing what a list of commands says."""

import numpy as np

from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Answer, fill_after, length_mask
from eval_harness.tasks.task import Task


POP, PUSH_0 = 2, 3


@register_task
class StackManipulation(Task):
    """What is on the stack, from top to bottom, after the commands?

    The bits come first, from bottom to top, then the commands; there are one or more of both, but at length 1, where
    there is only a bit. How many are bits is uniform. Popping from an empty stack does nothing, and an answer may be
    empty.

    Example:
        0 1 1 pop push_0 pop pop -> 0
    """

    name = "stack_manipulation"
    skill = "stack"
    source = "Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy, https://arxiv.org/abs/2207.02098"
    length_meaning = "bits on the stack at first, and commands"
    varying_answers = True
    examples = (("0 1 1 pop push_0 pop pop", "0"),)
    input_alphabet = ("0", "1", "pop", "push_0", "push_1")
    output_alphabet = ("0", "1")

    def output_length(self, length: int) -> int:
        """As long as the input, where nothing is popped."""
        return length

    def distinct_inputs(self, length: int) -> int:
        """Every number of bits, with all bits and commands."""
        return 2 if length == 1 else sum(2**bits * 3 ** (length - bits) for bits in range(1, length))

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """A uniform number of bits, then equally likely bits and commands; [count, length]."""
        bits = rng.integers(1, max(length, 2), size=count)
        commands = rng.integers(POP, PUSH_0 + 2, size=(count, length))
        return np.where(length_mask(bits, length), draw_bits(length, count, rng), commands)

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Goes through the columns with a stack for every row; a bit at the beginning is pushed."""
        count, width = inputs.shape
        rows = np.arange(count)
        stacks = np.zeros((count, width + 1), dtype=np.int64)
        heights = np.zeros(count, dtype=np.int64)
        real = length_mask(input_lengths, width)
        pops, pushes = real & (inputs == POP), real & (inputs != POP)
        bits = np.where(inputs >= PUSH_0, inputs - PUSH_0, inputs)
        for column in range(width):
            stacks[rows, heights] = bits[:, column]  # a pop writes above the top, where it is not seen
            heights = np.maximum(heights + pushes[:, column] - pops[:, column], 0)
        from_top = np.maximum(heights[:, None] - 1 - np.arange(width), 0)
        return Answer(fill_after(np.take_along_axis(stacks, from_top, axis=1), heights), heights)
