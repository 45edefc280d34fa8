"""Prepares a run or a study for the Hub, and with --push uploads it: `python scripts/publish.py RUN --to USER`."""

import argparse
import sys
from collections.abc import Sequence

from eval_harness.errors import HarnessError
from eval_harness.publishing import describe, publish


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `eval_harness.publishing.publish`; returns 0, or 2 when the input has to be mended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder of a run or of a study")
    parser.add_argument("--to", required=True, help="user or organisation; for a run also a whole repository id")
    parser.add_argument("--push", action="store_true", help="upload; without it this is a dry run")
    parser.add_argument("--private", action="store_true", help="make new repositories private")
    parser.add_argument("--output", help="where to prepare; RUN/hub by default")
    arguments = parser.parse_args(argv)
    try:
        outcome = publish(**vars(arguments))
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    print(describe(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
