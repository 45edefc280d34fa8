"""Where text goes that people read: a terminal at its own width, a file or pipe at one that wraps nothing."""

import sys

from rich.console import Console


FILE_WIDTH = 160


def make_console() -> Console:
    """A console on standard output."""
    return Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
