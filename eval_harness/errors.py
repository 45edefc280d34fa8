"""Errors that a user can fix: one clear sentence, no traceback at the command line."""

from collections.abc import Iterable
from difflib import get_close_matches


class HarnessError(ValueError):
    """Bad input. The message names the value, what is allowed and, where there is one, the nearest match."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> HarnessError:
    """Builds the error for a name that is not in a closed set.

    Args:
        kind: the kind of name, in words ("task", "format").
        value: the name that was given.
        allowed: the names there are.
    """
    names = sorted(allowed)
    near = get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return HarnessError(f"Unknown {kind} {value!r}.{hint} Allowed: {', '.join(names)}.")
