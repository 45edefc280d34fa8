"""A task posed in a format: everything that turns its samples into tokens."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eval_harness.tasks import Sample, Task, get_task
from eval_harness.tokenization.formats import Format, get_format
from eval_harness.tokenization.vocabulary import Encoded, Vocabulary


@dataclass(frozen=True)
class Problem:
    """A task posed in a format.

    Attributes:
        task: the task.
        format: the format.
        bos: whether sequences begin with <bos>.

    Raises:
        HarnessError: the task has no such format.
    """

    task: Task
    format: Format
    bos: bool = True

    def __post_init__(self):
        self.format.check(self.task)

    def __str__(self) -> str:
        return f"{self.task.key()} in the {self.format.name} format{'' if self.bos else ' without <bos>'}"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the task."""
        return Vocabulary(self.task)

    @property
    def head(self) -> str:
        """The head that a model needs: "token", "sequence_to_sequence" or "classification"."""
        return self.format.head

    @property
    def needs_causal(self) -> bool:
        """Whether a model that attends to later tokens would read the answer."""
        return self.format.needs_causal

    @property
    def decodes(self) -> bool:
        """Whether the answer is generated token by token."""
        return self.format.decodes

    @property
    def prompt_template(self) -> str:
        """The tokenizer's template for an input $A."""
        return self.format.prompt_template(self.bos)

    def encode(self, sample: Sample) -> Encoded:
        """Tokens and aligned labels of a sample."""
        return self.format.encode(sample, self.task, self.vocabulary, bos=self.bos)

    def coupled_ids(self, sample: Sample, width: int) -> np.ndarray | None:
        """Position ids [B, T] that the task couples, for a sample encoded to `width` tokens; None if it has none."""
        return self.format.coupled_ids(sample, self.task, width, bos=self.bos)

    def token_lengths(self, length: int) -> dict[str, int]:
        """The greatest number of tokens of an example at a task length, by the argument that carries them."""
        return self.format.token_lengths(self.task, length, bos=self.bos)

    def token_length(self, length: int) -> int:
        """The greatest number of tokens that encoder or decoder reads at once at a task length."""
        return self.format.token_length(self.task, length, bos=self.bos)


def get_problem(task: str | Task, format: str = "", bos: bool = True) -> Problem:
    """Poses a task in a format.

    Args:
        task: the task, or its name or key.
        format: name of the format; empty for the task's first one.
        bos: whether sequences begin with <bos>.

    Raises:
        HarnessError: there is no such task or format, or the task does not have this format.
    """
    chosen = get_task(task) if isinstance(task, str) else task
    return Problem(chosen, get_format(format or chosen.formats[0]), bos)
