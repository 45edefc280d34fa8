"""Rows of a task's data, and masks over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Sample:
    """Rows of a task's data, as symbol indices.

    Attributes:
        inputs: [count, L_in] indices into the task's `input_alphabet`, right-padded with 0 where ragged.
        targets: [count, L_out] indices into the task's `output_alphabet`, right-padded with 0.
        input_lengths: [count] symbols of each input.
        target_lengths: [count] symbols of each answer, without terminator or filler; may be 0.
        scored: [count, L_out] bool, the targets that count.
        positions: [count, L_out] index in the input at which each target is due; None unless the task is
            answered in place.
        lengths: [count] the task length that each row was drawn at.
    """

    inputs: np.ndarray
    targets: np.ndarray
    input_lengths: np.ndarray
    target_lengths: np.ndarray
    scored: np.ndarray
    positions: np.ndarray | None
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: slice | np.ndarray) -> "Sample":
        arrays: dict[str, Any] = {name: None if array is None else array[rows] for name, array in vars(self).items()}
        return Sample(**arrays)

    @staticmethod
    def concatenate(samples: Sequence["Sample"]) -> "Sample":
        """Stacks samples of one task in new arrays, padding the narrower ones on the right."""
        columns = zip(*(vars(sample).values() for sample in samples), strict=True)
        arrays: list[Any] = [None if parts[0] is None else _stack(parts) for parts in columns]
        return Sample(*arrays)


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if len(arrays) == 1:
        return arrays[0].copy()
    if len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    width = max(array.shape[1] for array in arrays)
    return np.concatenate([np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in arrays])


class Answer(NamedTuple):
    """The return value of `Task.answer`; the fields are those of `Sample`.

    `scored` is None where every target within its length counts, `positions` where the answer follows the input.
    """

    targets: np.ndarray
    target_lengths: np.ndarray
    scored: np.ndarray | None = None
    positions: np.ndarray | None = None


def is_full(lengths: np.ndarray, width: int) -> bool:
    """Whether no row's length [count] is below the width: the usual case, worth a shorter way."""
    return not len(lengths) or bool(lengths[lengths.argmin()] >= width)


def length_mask(lengths: np.ndarray, width: int) -> np.ndarray:
    """The mask [count, width] of the columns before each row's length [count]."""
    if is_full(lengths, width):
        return np.ones((len(lengths), width), dtype=bool)
    return np.arange(width) < lengths[:, None]


def fill_after(rows: np.ndarray, lengths: np.ndarray, filler: int = 0) -> np.ndarray:
    """Rows [count, L] with a filler after each one's length [count]; the same array if all rows are full."""
    width = rows.shape[1]
    return rows if is_full(lengths, width) else np.where(length_mask(lengths, width), rows, filler)
