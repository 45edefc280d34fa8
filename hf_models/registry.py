"""What a configuration chooses by name: an entry is a name, or a dict of a name and arguments.

Position encodings, attention types and normalizers are such choices, each from a registry of classes.

SPDX-License-Identifier: Apache-2.0
"""

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar


Choice = TypeVar("Choice")


def parse_entry(
    entry: str | dict, registry: Mapping[str, type[Choice]], kind: str
) -> tuple[type[Choice], dict[str, Any]]:
    """Class and arguments of an entry; ValueError names the unknown name, the nearest one and those allowed."""
    arguments = {"name": entry} if isinstance(entry, str) else dict(entry)
    name = arguments.pop("name", None)
    if name not in registry:
        raise ValueError(f"Unknown {kind} {name!r}.{near(str(name), registry)} Allowed: {', '.join(registry)}.")
    return registry[name], arguments


def check_arguments(choice: type, arguments: dict, given_by_model: tuple[str, ...] = ("self", "config")):
    """Raises ValueError where the class takes no such argument."""
    known = [name for name in inspect.signature(choice.__init__).parameters if name not in given_by_model]
    for name in arguments:
        if name not in known:
            allowed = ", ".join(known) or "it takes none"
            raise ValueError(f"{choice.__name__} has no argument {name!r}.{near(name, known)} Allowed: {allowed}.")


def check_choice(choice: type, argument: str, value, allowed: tuple):
    """Raises ValueError where an argument's value is none of those allowed."""
    if value not in allowed:
        names = ", ".join(map(str, allowed))
        hint = near(str(value), [str(name) for name in allowed])
        raise ValueError(f"{choice.__name__} has no {argument} {value!r}.{hint} Allowed: {names}.")


def near(name: str, known) -> str:
    """A hint at the nearest known name, or nothing."""
    match = get_close_matches(name, known, n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def per_layer(entries, count: int, field: str) -> list:
    """The entry of each of `count` layers; a single entry is every layer's."""
    if not isinstance(entries, list):
        return [entries] * count
    if len(entries) != count:
        raise ValueError(f"{field} lists {len(entries)} layers; the model has {count}.")
    return entries
