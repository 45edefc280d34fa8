"""What operations on two numbers share: how operands are drawn, written and read, and which symbols belong together.

A number is a row of digits with the least significant first; the place of a digit is its index there. Its width is how
many digits are written, leading zeros included.
"""

from abc import abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eval_harness.errors import HarnessError, unknown
from eval_harness.tasks.numbers import significant_digits
from eval_harness.tasks.sample import Answer, Sample, fill_after, length_mask
from eval_harness.tasks.task import Task


ORDERS = ("plain", "reversed", "reversed_answer")
PADDINGS = ("none", "answer", "longer", "all")


@dataclass(frozen=True, kw_only=True)
class Operation(Task):
    """An operation on two numbers.

    An operand has as many digits as are drawn for it and no leading zeros before padding; one of a single digit may be
    0. The words around the numbers that some sources have, and the equals sign, are left out.

    Attributes:
        base: how many digits there are.
        operator: the symbol between the operands.
        order: "plain" begins numbers with the most significant digit, "reversed" with the least significant one;
            "reversed_answer" has plain operands and a reversed answer.
        padding: which numbers get leading zeros. "none"; "answer": the answer, up to the most digits that operands of
            these widths can lead to; "longer": that, and the shorter operand up to the longer one; "all": both
            operands are as wide as the answer.
        hints: how many index hints there are, 0 for none. A hint stands before every digit and names its place. The
            hints of neighbouring places are neighbours, in the order in which operands are written, and the first one
            is drawn: training meets all hints at every length. They bound the length.
    """

    skill = "arithmetic"
    base: ClassVar[int] = 10
    operator: ClassVar[str]
    order: str = "plain"
    padding: str = "none"
    hints: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.order not in ORDERS:
            raise unknown(f"order of task {self.name!r}:", self.order, ORDERS)
        if self.padding not in PADDINGS:
            raise unknown(f"padding of task {self.name!r}:", self.padding, PADDINGS)
        places = int(self.answer_digits(*self.widest(self.min_length)))
        if self.hints and self.hints < places:
            raise HarnessError(f"Task {self.name!r} cannot have {self.hints} hints; give 0 or at least {places}.")

    @abstractmethod
    def digit_pairs(self, length: int) -> np.ndarray:
        """How many digits both operands may have; [pairs, 2]."""

    @abstractmethod
    def widest(self, length: int) -> tuple[int, int]:
        """The pair of `digit_pairs` that has the most digits and leads to the longest answer."""

    @abstractmethod
    def answer_digits(self, first: Any, second: Any) -> Any:
        """The most digits that a result can have; of two integers or two arrays [count]."""

    @abstractmethod
    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The results of numbers [count, W], in as many digits as any such numbers lead to."""

    @property
    def varying_answers(self) -> bool:  # ty: ignore[incompatible-property-override]  (it depends on options)
        """Whether answers are not padded, or operands lead to different widths; one length shows it for all."""
        widths = self._operand_widths(*self.digit_pairs(self.min_length + 2).T)
        return self.padding == "none" or len(np.unique(self._answer_widths(*widths))) > 1

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """Digits, the operator, hints."""
        return (*self._digits, self.operator, *self._hints)

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """Digits and hints."""
        return (*self._digits, *self._hints)

    def valid_length(self, length: int) -> bool:
        """Where there are hints, those lengths at which they can name every place of the answer."""
        return super().valid_length(length) and (not self.hints or self.output_length(length) <= 2 * self.hints)

    def input_length(self, length: int) -> int:
        """All digits of the widest operands, the operator, and hints."""
        return self._symbols_per_digit * int(sum(self._operand_widths(*self.widest(length)))) + 1

    def output_length(self, length: int) -> int:
        """All digits of the longest answer, and hints."""
        return self._symbols_per_digit * int(self.answer_digits(*self.widest(length)))

    def distinct_inputs(self, length: int) -> int:
        """Every pair of numbers, with every first hint."""
        return sum(
            self._numbers(first) * self._numbers(second) * int(self._hint_runs(first, second))
            for first, second in self.digit_pairs(length).tolist()
        )

    def draw_digits(self, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """How many digits operands have [count, 2]: by default all pairs are equally likely."""
        return rng.choice(self.digit_pairs(length), size=count)

    def draw(self, length: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws numbers of digits, operands that are uniform given those, and the first hint."""
        first_digits, second_digits = self.draw_digits(length, count, rng).T
        widths = self._operand_widths(first_digits, second_digits)
        ones_hints = rng.integers(self._hint_runs(first_digits, second_digits))
        if self.order != "reversed":
            ones_hints += self.answer_digits(first_digits, second_digits) - 1
        columns = int(max(width.max() for width in widths))
        numbers = [self._draw_numbers(digits, columns, rng) for digits in (first_digits, second_digits)]
        written = [
            self._write(number, width, self.base + 1 + ones_hints, self.order == "reversed")
            for number, width in zip(numbers, widths, strict=True)
        ]
        return _join(written, np.full(count, self.base), self.input_length(length))

    def answer(self, inputs: np.ndarray, input_lengths: np.ndarray) -> Answer:
        """Reads the operands, computes, and writes the result."""
        place, *widths = self._cut(inputs, input_lengths)
        answer_widths = self._answer_widths(*widths)
        room = max(self._room(inputs.shape[1]), answer_widths.max(initial=0))
        columns = max(width.max(initial=0) for width in widths)
        first, second = (
            self._read(inputs, start, width, columns)
            for start, width in zip((np.zeros_like(place), place + 1), widths, strict=True)
        )
        result = np.pad(self.compute(first, second), ((0, 0), (0, room)))[:, :room]
        if self.padding == "none":
            answer_widths = np.maximum(significant_digits(result), 1)
        ones = np.zeros_like(place) if self.order == "reversed" else place - self._symbols_per_digit
        ones_hints = np.take_along_axis(inputs, ones[:, None], axis=1)[:, 0] - 1  # answers have no operator
        symbols, real = self._write(result, answer_widths, ones_hints, self.order != "plain")
        return Answer(np.where(real, symbols, 0), self._symbols_per_digit * answer_widths)

    def coupled_ids(self, sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
        """Position coupling (Cho et al. 2024, https://arxiv.org/abs/2405.20671): an id for every place.

        Ids rise towards the least significant digit, and the operator and <sep>, where the source has an equals sign,
        share the one behind it. The end has 0, as <bos> does, or the id of the digit that could stand there. None
        where there are hints, which do the same service, and where an answer's first place depends on a carry.
        """
        if self.hints or (self.order, self.padding) == ("plain", "none"):
            return None
        _, *widths = self._cut(sample.inputs, sample.input_lengths)
        answer_widths = self._answer_widths(*widths)
        backwards = self.order == "reversed"
        operands = [_place_ids(answer_widths, width, width.max(initial=0), backwards) for width in widths]
        inputs, _ = _join(operands, answer_widths + 1, sample.inputs.shape[1])
        ids, real = _place_ids(answer_widths, answer_widths, sample.targets.shape[1], self.order != "plain")
        return inputs, np.pad(np.column_stack([answer_widths + 1, np.where(real, ids, 0)]), ((0, 0), (0, 1)))

    @property
    def _digits(self) -> tuple[str, ...]:
        return tuple(str(digit) for digit in range(self.base))

    @property
    def _hints(self) -> tuple[str, ...]:
        return tuple(f"h{hint}" for hint in range(self.hints))

    @property
    def _symbols_per_digit(self) -> int:
        return 2 if self.hints else 1

    def _numbers(self, digits: int) -> int:
        """How many numbers have so many digits."""
        return self.base if digits == 1 else (self.base - 1) * self.base ** (digits - 1)

    def _hint_runs(self, first: Any, second: Any) -> Any:
        """How many runs of hints name the places of an operation on operands of so many digits."""
        places = self.answer_digits(first, second)
        return self.hints - places + 1 if self.hints else np.ones_like(places)

    def _operand_widths(self, first: Any, second: Any) -> tuple[Any, Any]:
        """How wide operands of so many digits are written."""
        if self.padding in ("none", "answer"):
            return first, second
        width = np.maximum(first, second) if self.padding == "longer" else self.answer_digits(first, second)
        return width, width

    def _answer_widths(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """How wide a padded answer is for operands of these widths [count]."""
        return first if self.padding == "all" else self.answer_digits(first, second)

    def _room(self, columns: int) -> int:
        """How many digits answers have room for where inputs are drawn in so many columns."""
        # Input lengths grow with the length, and no length counts more than one symbol that is not drawn.
        length = bisect_right(range(1, columns + 2), columns, key=self.input_length)
        return self.output_length(length) // self._symbols_per_digit

    def _draw_numbers(self, digits: np.ndarray, columns: int, rng: np.random.Generator) -> np.ndarray:
        """Draws uniform numbers of so many digits [count]; [count, columns]."""
        numbers = rng.integers(self.base, size=(len(digits), columns))
        numbers[np.arange(len(digits)), digits - 1] = rng.integers(digits > 1, self.base)  # no leading zeros
        return fill_after(numbers, digits)

    def _write(
        self, numbers: np.ndarray, widths: np.ndarray, ones_hints: np.ndarray, backwards: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Writes numbers [count, W] of these widths [count].

        Args:
            ones_hints: [count] the symbol that would hint at place 0.
            backwards: whether the least significant digit comes first.

        Returns:
            Symbols, and which of them are real, both [count, W times symbols per digit].
        """
        places = _places(widths, numbers.shape[1], backwards)
        symbols = np.take_along_axis(numbers, places, axis=1)
        if self.hints:
            hints = ones_hints[:, None] + (places if self.order == "reversed" else -places)
            symbols = np.stack([hints, symbols], axis=2).reshape(len(numbers), -1)
        return symbols, length_mask(self._symbols_per_digit * widths, symbols.shape[1])

    def _cut(self, inputs: np.ndarray, input_lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The operator's place and the widths of both operands; three arrays [count]."""
        place = np.argmax(inputs == self.base, axis=1)
        return place, place // self._symbols_per_digit, (input_lengths - place - 1) // self._symbols_per_digit

    def _read(self, inputs: np.ndarray, starts: np.ndarray, widths: np.ndarray, columns: int) -> np.ndarray:
        """Reads numbers of these widths [count] that begin at these places [count]; [count, columns]."""
        index = _places(widths, columns, self.order == "reversed")  # a digit's place is where it is written, and back
        source = starts[:, None] + self._symbols_per_digit * (index + 1) - 1
        digits = np.take_along_axis(inputs, np.minimum(source, inputs.shape[1] - 1), axis=1)
        return fill_after(digits, widths)


def pairs_by_longer(length: int) -> np.ndarray:
    """All pairs of numbers of digits, the greater of which is the length; [2 length - 1, 2]."""
    shorter = np.arange(1, length)
    longer = np.full_like(shorter, length)
    return np.concatenate([np.column_stack([longer, shorter]), np.column_stack([shorter, longer]), [[length, length]]])


def _places(widths: np.ndarray, columns: int, backwards: bool) -> np.ndarray:
    """The place of the digit that is written at each column of a number; 0 behind its end; [count, columns]."""
    column = np.arange(columns)
    return np.where(length_mask(widths, columns), column if backwards else widths[:, None] - 1 - column, 0)


def _place_ids(
    answer_widths: np.ndarray, widths: np.ndarray, columns: int, backwards: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The coupled ids of a number, and which of them are real; both [count, columns]."""
    return answer_widths[:, None] - _places(widths, columns, backwards), length_mask(widths, columns)


def _join(
    operands: list[tuple[np.ndarray, np.ndarray]], between: np.ndarray, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Puts both operands, each with the mask of what is real, and what stands between them [count] into one row.

    Returns:
        Rows [count, columns], and their lengths [count].
    """
    (first, first_real), (second, second_real) = operands
    symbols = np.column_stack([first, between, second])
    real = np.column_stack([first_real, np.ones_like(between, dtype=bool), second_real])
    lengths = real.sum(axis=1)
    joined = np.zeros((len(symbols), columns), dtype=np.int64)
    joined[length_mask(lengths, columns)] = symbols[real]
    return joined, lengths
