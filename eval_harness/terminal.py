"""Console output: the terminal's width, or one that wraps nothing for files and pipes."""

import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table


FILE_WIDTH = 160


def make_console() -> Console:
    """A console on standard output."""
    return Console(width=None if sys.stdout.isatty() else FILE_WIDTH)


def print_json(value: object) -> None:
    """Prints a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows under their columns' names."""
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    make_console().print(table)
