"""Scores a model past its training length: `python scripts/score.py PATH_OR_HUB_ID --task parity`."""

import sys
from collections.abc import Sequence

from eval_harness.cli.main import main as longreach


def main(argv: Sequence[str] | None = None) -> int:
    """The same as `longreach evaluate`."""
    return longreach(["evaluate", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
