"""The base class of tasks, with the endless streams of their samples."""

import hashlib
import json
import operator
from abc import ABC, abstractmethod
from ast import literal_eval
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from math import inf
from typing import Any, ClassVar

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from eval_harness.errors import HarnessError, unknown
from eval_harness.tasks.sample import Answer, Sample, length_mask


SPLITS = ("train", "tune", "test", "baseline")
# How many symbols are drawn together, and at least and at most how many examples: many short ones share what a block
# costs whatever its size, few long ones fit in the memory. A part of what defines the data, so it never changes.
BLOCK_SYMBOLS, BLOCK, LARGEST_BLOCK = 2**17, 256, 2048
SKILLS = (
    *("look-up", "copying", "counting", "sorting", "stack", "state tracking", "arithmetic", "composition"),
    *("translation", "language modelling"),
)
SEQUENCE_FORMATS = ("autoregressive", "parallel", "sequence_to_sequence")
LABEL_FORMATS = (*SEQUENCE_FORMATS, "classification")  # of tasks whose every answer is one symbol


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A function from symbol strings to symbol strings, and a distribution of its inputs at every length.

    A subclass states its question in its docstring, draws inputs in `draw` and defines the answer in `answer`; one
    whose data are not drawn (`Corpus`) makes its rows in `block` instead. Where it has options it is a frozen
    dataclass whose fields, with int, float, bool or str defaults, are those options.

    Attributes:
        name: the name that users type. A task in a user's own file, `file.py`, is named `file.task`.
        version: raised whenever the data change.
        skill: what a solver needs, one of `SKILLS`: results group by it.
        source: the paper that the task is from, with its address.
        length_meaning: what a length counts.
        formats: names of the formats in which it can be posed.
        min_length: the shortest length.
        max_length: the longest length, infinite where there is none.
        license: of the data, as the Hub names licences.
        varying_answers: whether answers differ in length over inputs of one length.
        examples: pairs of an input and its answer, symbols separated by spaces.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    skill: ClassVar[str]
    source: ClassVar[str]
    length_meaning: ClassVar[str]
    formats: ClassVar[tuple[str, ...]] = SEQUENCE_FORMATS
    min_length: ClassVar[int] = 1
    max_length: ClassVar[float] = inf
    license: ClassVar[str] = "apache-2.0"
    varying_answers: ClassVar[bool] = False
    examples: ClassVar[tuple[tuple[str, str], ...]]

    def __post_init__(self):
        for field in fields(self):
            value = _read_option(self.name, field.name, getattr(self, field.name), field.default)
            object.__setattr__(self, field.name, value)  # the dataclass is frozen

    @property
    def question(self) -> str:
        """The question in a sentence: the first line of the docstring."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]

    @property
    @abstractmethod
    def input_alphabet(self) -> tuple[str, ...]:
        """The symbols of inputs."""

    @property
    @abstractmethod
    def output_alphabet(self) -> tuple[str, ...]:
        """The symbols of answers; a string that is also in `input_alphabet` is the same symbol to a model."""

    def draw(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Draws inputs [count, input_length(length)]; where they differ in length also their lengths [count]."""
        raise NotImplementedError(f"Task {self.name!r} does not define how its inputs are drawn.")

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Solves inputs [count, L_in] of which the first `input_lengths` [count] symbols are no padding."""
        raise NotImplementedError(f"Task {self.name!r} does not define how its inputs are answered.")

    @abstractmethod
    def output_length(self, length: int) -> int:
        """The greatest number of symbols that an answer has at this length: a function of only the length."""

    def input_length(self, length: int) -> int:
        """The greatest number of symbols that an input has at this length."""
        return length

    def coupled_ids(self, sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
        """Position ids by meaning, not by place: tokens of one id belong together. None unless a task defines them.

        Returns:
            Ids from 1 of the inputs [count, L_in], and of the tokens after each input: <sep>, the answer, its
            end [count, L_out + 2]; both functions of only the input. <bos> has 0, and the end may have it too.
        """
        return None

    def spell(self, sample: Sample) -> list[tuple[str, str]]:
        """Each row's input and answer as text: symbols with spaces between them."""
        inputs = _spell(self.input_alphabet, sample.inputs, sample.input_lengths)
        targets = _spell(self.output_alphabet, sample.targets, sample.target_lengths)
        return list(zip(inputs, targets, strict=True))

    def distinct_inputs(self, length: int) -> int:
        """The number of inputs that `draw` can return at this length.

        The default is right for independent symbols. Where exact counting is dear at great lengths, a lower bound far
        above any number of test examples may be returned instead.
        """
        return len(self.input_alphabet) ** length

    def valid_length(self, length: int) -> bool:
        """Whether the task has examples of this length."""
        return _is_whole(length) and self.min_length <= length <= self.max_length

    def check_length(self, length: int) -> None:
        """Refuses a length that the task does not have.

        Raises:
            HarnessError: naming the nearest valid lengths.
        """
        if self.valid_length(length):
            return
        if not _is_whole(length):
            raise HarnessError(f"Length {length!r} of task {self.name!r} is not a whole number.")
        if length < self.min_length:
            raise HarnessError(f"Task {self.name!r} has no length {length}; its shortest is {self.min_length}.")
        if length > self.max_length:
            raise HarnessError(f"Task {self.name!r} has no length {length}; its longest is {self.max_length}.")
        below = next(shorter for shorter in range(length, 0, -1) if self.valid_length(shorter))
        above = next((longer for longer in range(length, 2 * length + 2) if self.valid_length(longer)), None)
        if above is None:
            raise HarnessError(f"Task {self.name!r} has no length {length}; its longest is {below}.")
        raise HarnessError(f"Task {self.name!r} has no length {length}; the nearest valid ones are {below}, {above}.")

    def training_lengths(self, longest: int) -> list[int]:
        """The lengths that a model trained up to `longest` is trained on."""
        return [length for length in range(self.min_length, longest + 1) if self.valid_length(length)]

    def training_rows(self, length: int) -> int | None:
        """The number of different rows that there are for training at this length; None where they are endless."""
        return None

    def key(self) -> str:
        """The canonical name, which `get_task` reads: "majority:letters=5", with the options that are not default."""
        options = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return ":".join([self.name, *([",".join(options)] if options else [])])

    def pinned(self) -> "Task":
        """The task with all that its data depend on among its options; itself, unless they are read from files."""
        return self

    def detokenize(self, symbols: Sequence[str]) -> str:
        """The text of symbols."""
        return " ".join(symbols)

    def sample(self, length: int, count: int, seed: int, split: str = "test", start: int = 0) -> Sample:
        """Rows `start` to `start + count - 1` of the stream of a split, length and seed.

        Any range of a stream is the same in every process, however it is cut into calls; streams of different splits,
        lengths, seeds, options or versions are independent. They are endless, but for those of a corpus outside
        training: there rows that do not exist are left out. The arrays are the caller's own.

        Raises:
            HarnessError: for a length that the task does not have, a negative count or start, an unknown split.
        """
        self.check_length(length)
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        if count < 0 or start < 0:
            raise HarnessError(f"A sample cannot have {count} rows from row {start} on; both must be 0 or more.")
        length, seed, stop, size = operator.index(length), operator.index(seed), start + count, self.block_size(length)
        if count == size and start % size == 0:  # so nobody else has its arrays
            return self.block(split, length, seed, start // size)
        pieces = []
        for index in range(start // size, max(stop - 1, start) // size + 1):
            first, last = max(start - index * size, 0), min(stop - index * size, size)
            # A block that is read completely is read once: a cache would only fill the memory at great lengths.
            complete = last - first == size
            block = (split, length, seed, index)
            pieces.append(self.block(*block) if complete else _recent_block(self, self.version, block)[first:last])
        return Sample.concatenate(pieces)

    def block_size(self, length: int) -> int:
        """How many examples of this length are made together: a power of two."""
        fitting = BLOCK_SYMBOLS // max(int(self.input_length(length)), 1)
        return 1 << min(max(fitting, BLOCK), LARGEST_BLOCK).bit_length() - 1

    def block(self, split: str, length: int, seed: int, index: int) -> Sample:
        """Makes the rows of a stream from `index * block_size(length)` on, drawn and answered, in new arrays."""
        size = self.block_size(length)
        rng = derive_rng(self.key(), self.version, split, length, seed, index)
        drawn = self.draw(length, size, rng)
        inputs, input_lengths = drawn if isinstance(drawn, tuple) else (drawn, np.full(size, drawn.shape[1]))
        targets, target_lengths, scored, positions = self.answer(inputs, input_lengths)
        if scored is None:
            scored = length_mask(target_lengths, targets.shape[1])
        lengths = np.full(size, length)
        return Sample(*_unshared(inputs, targets, input_lengths, target_lengths, scored, positions, lengths))


def _unshared(*arrays: np.ndarray | None) -> list[Any]:
    """Copies of arrays that are views or come twice, so that a write changes only one; the others themselves."""
    seen, unshared = set(), []
    for array in arrays:
        unshared.append(array if array is None or (array.base is None and id(array) not in seen) else array.copy())
        seen.add(id(array))
    return unshared


class _Digest(ISeedSequence):
    """A seed of 256 random bits: NumPy's own kind would mix them again, which takes longer than many a draw."""

    def __init__(self, digest: bytes):
        self.digest = digest

    def generate_state(self, n_words: int, dtype=np.uint32) -> np.ndarray:
        """The bits, all of which `PCG64` takes."""
        return np.frombuffer(self.digest, dtype="<u8").astype(dtype, copy=False)


def derive_rng(*parts: str | float) -> np.random.Generator:
    """A generator that depends only on its parts: no process's hash seed or global state matters."""
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=32).digest()
    seed: Any = _Digest(digest)  # NumPy's types do not know that any such seed may be given
    return np.random.Generator(np.random.PCG64(seed))


def _spell(alphabet: tuple[str, ...], symbols: np.ndarray, lengths: np.ndarray) -> list[str]:
    words = np.array(alphabet, dtype=object)
    return [" ".join(words[row[:length]]) for row, length in zip(symbols, lengths, strict=True)]


# Training reads a block in a few batches, and goes through its lengths in turn: one entry for each of those lengths.
@lru_cache(maxsize=256)
def _recent_block(task: Task, version: int, block: tuple[str, int, int, int]) -> Sample:
    """Makes a block (split, length, seed, index) of a task, read-only."""
    sample = task.block(*block)
    for array in vars(sample).values():
        if array is not None:
            array.setflags(write=False)
    return sample


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _read_option(task: str, option: str, value: Any, default: Any) -> Any:
    """Reads an option given as a value or as text; its type is the default's."""
    kind = type(default)
    if isinstance(value, str) and kind is not str:
        with suppress(ValueError, SyntaxError):  # what cannot be read stays text, which is refused below
            value = literal_eval(value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise HarnessError(f"Option {option!r} of task {task!r} cannot be {value!r}; give it like {default!r}.")
    if isinstance(value, str) and "," in value:
        raise HarnessError(f"Option {option!r} of task {task!r} cannot be {value!r}: a comma ends an option.")
    return value
