"""Turns trained runs into model repositories: `python scripts/publish.py RUN --to USER`, a dry run without --push."""

import sys
from collections.abc import Sequence

from eval_harness.cli.main import main as longreach


def main(argv: Sequence[str] | None = None) -> int:
    """The same as `longreach publish`."""
    return longreach(["publish", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
