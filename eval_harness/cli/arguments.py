"""Arguments of commands: users' own files, quantities, lengths."""

import re
import sys

from eval_harness.errors import HarnessError


def find_own_files() -> None:
    """Puts the working folder on the Python path, for encodings and tasks in files of the user's own."""
    if "" not in sys.path:
        sys.path.append("")


def parse_quantity(text: str) -> int:
    """Reads 100000, 100k or 1.5M.

    Raises:
        HarnessError: it has another form, or is not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text.strip())
    value = round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()]) if match else 0
    if value < 1:
        raise HarnessError(f"Cannot read {text!r} as a number of parameters; write 100000, 100k or 1.5M.")
    return value


def parse_lengths(text: str) -> tuple[int, ...]:
    """Reads 41,97,203.

    Raises:
        HarnessError: a part is no whole number.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise HarnessError(f"Cannot read {text!r} as lengths; write whole numbers with commas: 41,97,203.") from None
