"""SCAN: commands in a small English grammar, and the actions that they mean."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import ClassVar

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.corpus import Corpus
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Sample, length_mask
from eval_harness.tasks.task import derive_rng


Pair = tuple[tuple[str, ...], tuple[str, ...]]  # the words of a command, and its actions

WORDS = (
    *("walk", "look", "run", "jump", "turn", "left", "right"),
    *("opposite", "around", "twice", "thrice", "and", "after"),
)
ACTIONS = ("I_WALK", "I_LOOK", "I_RUN", "I_JUMP", "I_TURN_LEFT", "I_TURN_RIGHT")


@register_task
@dataclass(frozen=True, kw_only=True)
class Scan(Corpus):
    """Carry out a command: what actions does it ask for?

    All 20,910 commands of the grammar, listed from it. Trained up to length 22, this is the source's split by length:
    16,990 commands of at most 22 actions in training, 3,920 of 24 to 48 in the test.

    Attributes:
        cutoff: the longest commands in training, in actions; all longer ones are for tests. The source's is 22; 26 is
            that of Csordás et al. 2021, https://arxiv.org/abs/2108.12284.
        held_out: share of the commands up to the cutoff that is for tests within the training lengths, and as great a
            share for tuning; below a half. The source holds none out: there every split has all of them.

    Example:
        run left after jump twice -> I_JUMP I_JUMP I_TURN_LEFT I_RUN
    """

    name = "scan"
    skill = "composition"
    source = (
        "Lake and Baroni 2018, Generalization without Systematicity: On the Compositional Skills of "
        "Sequence-to-Sequence Recurrent Networks, https://arxiv.org/abs/1711.00350"
    )
    length_meaning = "actions of the command"
    formats: ClassVar[tuple[str, ...]] = ("autoregressive", "sequence_to_sequence")
    max_length = 48
    examples = (("run left after jump twice", "I_JUMP I_JUMP I_TURN_LEFT I_RUN"),)
    input_alphabet = WORDS
    output_alphabet = ACTIONS
    cutoff: int = 22
    held_out: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.cutoff < self.max_length:
            raise HarnessError(f"Option 'cutoff' of task 'scan' cannot be {self.cutoff}; give 1 to 47 actions.")
        if not 0 <= self.held_out < 0.5:
            raise HarnessError(f"Option 'held_out' of task 'scan' cannot be {self.held_out}; give 0 to below 0.5.")

    def valid_length(self, length: int) -> bool:
        """Numbers of actions that a command has."""
        return super().valid_length(length) and length in _commands()

    def input_length(self, length: int) -> int:
        """The words of the longest command that has so many actions, nine at most."""
        return _encode(length).inputs.shape[1]

    def output_length(self, length: int) -> int:
        """The actions themselves."""
        return length

    def unseen(self, length: int) -> bool:
        """Beyond the cutoff, and below it where commands are held out."""
        return length > self.cutoff or self.held_out > 0

    def rows(self, split: str, length: int) -> Sample:
        """All commands of so many actions that are in the split; beyond the cutoff none is for training."""
        commands = _encode(length)
        return commands[self._chosen(split, length, len(commands))]

    def _chosen(self, split: str, length: int, count: int) -> np.ndarray:
        """Which of the commands of a length are in a split [count]."""
        if length > self.cutoff:
            return np.full(count, split != "train")
        order = derive_rng("held out", self.name, self.version, length).permutation(count)  # the same for any share
        tested = round(self.held_out * count)
        if split == "test" and tested:
            return order < tested
        if split == "tune" and tested:
            return (order >= tested) & (order < 2 * tested)
        return order >= 2 * tested


@lru_cache(maxsize=48)
def _encode(length: int) -> Sample:
    """All commands of a length."""
    pairs = _commands()[length]
    input_lengths = np.array([len(words) for words, _ in pairs])
    inputs = np.zeros((len(pairs), input_lengths.max()), dtype=np.int64)
    inputs[length_mask(input_lengths, inputs.shape[1])] = [WORDS.index(word) for words, _ in pairs for word in words]
    targets = np.array([[ACTIONS.index(action) for action in actions] for _, actions in pairs])
    lengths = np.full(len(pairs), length)
    return Sample(inputs, targets, input_lengths, lengths, np.ones_like(targets, dtype=bool), None, lengths)


@lru_cache(maxsize=1)
def _commands() -> dict[int, list[Pair]]:
    """All commands by their number of actions, in the order of the grammar."""
    phrases = _phrases()
    repeated = [(("twice",), 2), (("thrice",), 3)]
    sentences = [*phrases, *((x + word, y * times) for word, times in repeated for x, y in phrases)]
    pairs = list(product(sentences, repeat=2))
    commands = [
        *sentences,
        *(((*first, "and", *second), y + z) for (first, y), (second, z) in pairs),
        *(((*first, "after", *second), z + y) for (first, y), (second, z) in pairs),
    ]
    by_length: dict[int, list[Pair]] = {}
    for command, actions in commands:
        by_length.setdefault(len(actions), []).append((command, actions))
    return by_length


def _phrases() -> list[Pair]:
    """Verbs, alone and with a direction; to turn is to do nothing but turn."""
    verbs: list[Pair] = [((verb,), (f"I_{verb.upper()}",)) for verb in ("walk", "look", "run", "jump")]
    phrases = list(verbs)
    for (verb, action), side in product([*verbs, (("turn",), ())], ("left", "right")):
        turn = (f"I_TURN_{side.upper()}",)
        phrases += [
            ((*verb, side), turn + action),
            ((*verb, "opposite", side), turn + turn + action),
            ((*verb, "around", side), (turn + action) * 4),
        ]
    return phrases
