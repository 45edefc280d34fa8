"""Text: any text at all, symbol by symbol."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from eval_harness.errors import HarnessError, unknown
from eval_harness.tasks.corpus import ReadCorpus
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Sample


UNITS = ("characters", "bytes")
TENTHS = {"train": (0, 8), "baseline": (0, 8), "tune": (8, 9), "test": (9, 10)}  # of the text, in its order
PLACES = 1_000_000  # of training windows
VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥"}
HIDDEN = {symbol: character for character, symbol in VISIBLE.items()}


@register_task
@dataclass(frozen=True, kw_only=True)
class Text(ReadCorpus):
    """Go on with a text: which symbol comes next, at every place of a window?

    The first eight tenths of the text are for training, the ninth is for tuning, the last for tests: no window reaches
    over the cuts. Training windows begin anywhere; those of tuning and test lie side by side.

    By default, the documentation of the Python language that comes with Python: some half a million characters of
    English and code, had without a network, and not quite the same in every version of Python: the digest tells.

    Attributes:
        path: a file of text in UTF-8; by default Python's documentation.
        unit: "characters", those that the text has, or "bytes", always all 256.

    Example:
        t h e ␣ e n d -> t h e ␣ e n d
    """

    name = "text"
    skill = "language modelling"
    source = (
        "Press et al. 2022, Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation, "
        "https://arxiv.org/abs/2108.12409"
    )
    length_meaning = "symbols of the window"
    license = "other"
    formats: ClassVar[tuple[str, ...]] = ("language_modeling",)
    min_length = 2
    examples = (("t h e ␣ e n d", "t h e ␣ e n d"),)
    path: str = ""
    unit: str = "characters"

    def __post_init__(self):
        super().__post_init__()
        if self.unit not in UNITS:
            raise unknown("unit of task 'text':", self.unit, UNITS)

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """Characters or bytes, with visible symbols for those that cannot be seen."""
        return self._read().symbols

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """The same."""
        return self._read().symbols

    @property
    def max_length(self) -> int:  # ty: ignore[incompatible-property-override]
        """A tenth of the text."""
        return len(self._part("test"))

    def output_length(self, length: int) -> int:
        """Each symbol is due before it is seen."""
        return length

    def unseen(self, length: int) -> bool:
        """The parts of the text do not overlap."""
        return True

    def rows(self, split: str, length: int) -> Sample:
        """The windows of a split: side by side, but for training at every place (a million in a longer text)."""
        windows = sliding_window_view(self._part(split), length)
        side_by_side = split in ("tune", "test")
        windows = windows[:: length if side_by_side else -(-len(windows) // PLACES)]
        lengths = np.full(len(windows), length)
        return Sample(windows, windows, lengths, lengths, np.broadcast_to(True, windows.shape), None, lengths)

    def detokenize(self, symbols: Sequence[str]) -> str:
        """The text; bytes that are no text become the replacement character."""
        if self.unit == "bytes":
            numbers = {symbol: number for number, symbol in enumerate(self.input_alphabet)}
            return bytes(numbers[symbol] for symbol in symbols).decode(errors="replace")
        return "".join(map(_character, symbols))

    def digest_of_data(self) -> str:
        """That of the text."""
        return _read(replace(self, digest="")).digest

    def _read(self) -> "_Read":
        self.check_data()
        return _read(replace(self, digest=""))

    def _part(self, split: str) -> np.ndarray:
        numbers = self._read().numbers
        first, stop = (tenth * len(numbers) // 10 for tenth in TENTHS[split])
        return numbers[first:stop]


@dataclass(frozen=True)
class _Read:
    """A text as symbols."""

    symbols: tuple[str, ...]
    numbers: np.ndarray  # [symbols of the text] indices into symbols
    digest: str


@lru_cache(maxsize=4)
def _read(task: Text) -> _Read:
    try:
        content = Path(task.path).read_bytes() if task.path else _documentation().encode()
    except OSError as error:
        raise HarnessError(f"Cannot read the text {task.path!r}: {error.strerror}.") from error
    digest = hashlib.sha256(content).hexdigest()[:12]
    if len(content) < 100:
        raise HarnessError(f"A text of {len(content)} bytes is too short to be cut into parts; give at least 100.")
    if task.unit == "bytes":
        symbols = tuple(_symbol(chr(number)) if number < 128 else f"<0x{number:02X}>" for number in range(256))
        return _Read(symbols, np.frombuffer(content, dtype=np.uint8).astype(np.int64), digest)
    try:
        points = np.frombuffer(content.decode().encode("utf-32-le"), dtype="<u4")
    except UnicodeDecodeError as error:
        raise HarnessError(f"The text {task.path!r} is not in UTF-8: {error.reason}; take its bytes.") from error
    known, numbers = np.unique(points, return_inverse=True)
    return _Read(tuple(_symbol(chr(point)) for point in known), numbers.astype(np.int64), digest)


def _documentation() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def _symbol(character: str) -> str:
    """A visible symbol without spaces; what is not one itself, or is the symbol of another, is named by number."""
    if character in VISIBLE:
        return VISIBLE[character]
    plain = character.isprintable() and not character.isspace() and character not in HIDDEN
    return character if plain else f"<U+{ord(character):04X}>"


def _character(symbol: str) -> str:
    """The character of a symbol."""
    return chr(int(symbol[3:-1], 16)) if len(symbol) > 1 else HIDDEN.get(symbol, symbol)
