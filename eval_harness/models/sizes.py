"""The sizes at which a model meets a budget of parameters.

The budget counts what computes: parameters without token embeddings, output head and position tables. The solver sets
the hidden size as a number of heads of fixed width, then the feed-forward size, and reports its choice. Model
types of transformers are in `library_sizes`.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from eval_harness.errors import HarnessError
from eval_harness.models.adapter import build_model
from eval_harness.models.architectures import get_architecture, make_config
from eval_harness.models.compute import count_parameters
from eval_harness.models.library_sizes import FEED_FORWARD_RATIO, HEAD_DIM, TOLERANCE, size_library_type
from eval_harness.models.library_types import LibraryArchitecture


@dataclass(frozen=True)
class SizedModel:
    """A configuration that meets a budget.

    Attributes:
        architecture: its name.
        config: the configuration.
        parameters: counts as `compute.count_parameters` gives them.
        chosen: the sizes that the solver set, by field.
    """

    architecture: str
    config: Any
    parameters: dict[str, int]
    chosen: dict[str, int]


def size_model(
    name: str, budget: int, head: str = "token", needs: dict[str, Any] | None = None, **config
) -> SizedModel:
    """Solves for the sizes at which an architecture has `budget` counted parameters, within 3 %.

    Args:
        name: name of the architecture.
        budget: counted parameters.
        head: its head, as formats name it.
        needs: fields that the task needs, such as `vocab_size` and `max_position_embeddings`; a configuration that
            has no such field does without.
        config: configuration fields that the user gives; sizes among them are kept.

    Raises:
        HarnessError: the name is unknown, a field is refused, or no size comes near enough.
    """
    architecture = get_architecture(name, head)
    size = _size_library_type if isinstance(architecture, LibraryArchitecture) else _size_own
    sized = size(replace(architecture, head=head), budget, needs or {}, config)
    if abs(sized.parameters["counted"] - budget) > TOLERANCE * budget:
        raise HarnessError(
            f"{name} cannot meet a budget of {budget} parameters within {TOLERANCE:.0%}: the nearest size has "
            f"{sized.parameters['counted']}."
        )
    return sized


def _size_own(architecture, budget, needs, config) -> SizedModel:
    known = {each.name for each in fields(architecture.config_class)}
    needed = {name: value for name, value in needs.items() if name in known}
    given = architecture.fields | needed | config
    solve = _solve_width if architecture.is_recurrent else _solve_width_and_feed_forward
    chosen = solve(architecture, given, budget)
    sized = make_config(architecture, given | chosen)
    return SizedModel(architecture.name, sized, count_parameters(_on_meta(sized, architecture.head)), chosen)


def _size_library_type(architecture, budget, needs, config) -> SizedModel:
    counted, chosen = size_library_type(architecture, budget, needs, config)
    return SizedModel(architecture.name, counted.config, counted.parameters, chosen)


def _solve_width(architecture, given, budget):
    if "hidden_size" in given:
        return {}
    both_ways = given.get("bidirectional") or architecture.head == "sequence_to_sequence"
    step = 2 if both_ways else 1  # halves of the width
    low, high = 1, 2
    while _counted(architecture, given, hidden_size=high * step) < budget:
        low, high = high, 2 * high
    while high - low > 1:  # the count grows with the width: halve the bracket
        middle = (low + high) // 2
        low, high = (
            (middle, high) if _counted(architecture, given, hidden_size=middle * step) < budget else (low, middle)
        )
    counts = {size: _counted(architecture, given, hidden_size=size * step) for size in (low, high)}
    return {"hidden_size": step * min(counts, key=lambda size: abs(counts[size] - budget))}


def _solve_width_and_feed_forward(architecture, given, budget):
    sizes = [given] if "hidden_size" in given else _widths(given, budget)
    sizes = [size for size in sizes if _is_allowed(architecture, given, size, last=size is sizes[-1])]
    fitting = []
    for size in sizes:
        width = size["hidden_size"]
        chosen = {key: value for key, value in size.items() if key not in given}
        if "intermediate_size" not in given:
            # The count is linear in the feed-forward size.
            smallest, next_smallest = (_counted(architecture, given, **chosen, intermediate_size=n) for n in (1, 2))
            chosen["intermediate_size"] = 1 + round((budget - smallest) / (next_smallest - smallest))
            if chosen["intermediate_size"] < 1:
                continue
            misfit = abs(math.log(chosen["intermediate_size"] / (FEED_FORWARD_RATIO * width)))
        else:
            misfit = abs(_counted(architecture, given, **chosen) - budget)
        fitting.append((misfit, chosen))
    if not fitting:
        raise HarnessError(f"{architecture.name} cannot be as small as {budget} parameters.")
    return min(fitting, key=lambda pair: pair[0])[1]


def _widths(given, budget):
    heads = given.get("num_attention_heads")
    widest = math.isqrt(budget) // 2 + 1  # one layer of attention has 4 D^2 parameters
    if heads is not None:
        return [{"hidden_size": 2 * heads * half} for half in range(1, max(2, widest // (2 * heads) + 1))]
    # Budgets too small for one head of the usual width take one narrower head.
    narrow = [{"hidden_size": width, "num_attention_heads": 1} for width in (8, 16)]
    usual = [{"hidden_size": HEAD_DIM * n, "num_attention_heads": n} for n in range(1, widest // HEAD_DIM + 1)]
    # Some encodings need a second head.
    paired = [{"hidden_size": width, "num_attention_heads": 2} for width in (16, 32)]
    return narrow + usual + paired


def _is_allowed(architecture, given, size, last: bool) -> bool:
    """Whether the configuration takes these sizes; what refuses the last of them too is not their fault."""
    try:
        make_config(architecture, given | size)
    except HarnessError:
        if last:
            raise
        return False
    return True


def _counted(architecture, given, **sizes) -> int:
    return count_parameters(_on_meta(make_config(architecture, given | sizes), architecture.head))["counted"]


def _on_meta(config, head):
    with torch.device("meta"):
        return build_model(config, head)
