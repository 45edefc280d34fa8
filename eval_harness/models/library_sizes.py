"""The sizes at which a model type of transformers meets a budget.

A type gives no formula, so models are built without memory and counted. The count grows with the width: for each of a
few grids of widths, from coarse to fine, the two widths around the budget are tried, and the feed-forward size is set
to meet it. Widths are multiples of the usual width of a head as long as one of them fits.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedConfig

from eval_harness.errors import HarnessError
from eval_harness.models.compute import count_parameters
from eval_harness.models.library_fields import (
    EXPERTS,
    FEED_FORWARD,
    HEADS,
    LAYERS,
    SPARE_POSITIONS,
    WIDTH,
    Sizes,
    first_of,
    sized_fields,
)
from eval_harness.models.library_types import (
    LibraryArchitecture,
    auto_class,
    default_layers,
    make_library_config,
    own_names,
    refusal,
)


# Of our own models too.
HEAD_DIM = 32  # few wide heads cost less time than many narrow ones
FEED_FORWARD_RATIO = 4
TOLERANCE = 0.03  # of the budget

WIDTH_STEPS = (HEAD_DIM, 8, 2)
EXPERT_UNIT = 4  # the kernel that multiplies all experts at once wants 16 bytes
EXTREME_MISFIT = math.log(16)  # beyond, feed-forward blocks are so wide or narrow that it is no model of its type


@dataclass(frozen=True)
class Counted:
    """A size with what it counts.

    Attributes:
        size: the sizes.
        config: the configuration.
        parameters: as `compute.count_parameters` gives them.
    """

    size: Sizes
    config: PreTrainedConfig
    parameters: dict[str, int]

    def misses(self, budget: int) -> float:
        """How far the counted parameters are from a budget, as a share of it."""
        return abs(self.parameters["counted"] - budget) / budget


def size_library_type(
    architecture: LibraryArchitecture, budget: int, needs: dict[str, Any], given: dict[str, Any]
) -> tuple[Counted, dict[str, int]]:
    """Finds the sizes of a type at a budget.

    Args:
        architecture: the type and its head.
        budget: counted parameters.
        needs: vocabulary, longest sequence, ids and labels of the task, by the names that most configurations use.
        given: fields that the user sets; sizes among them are kept.

    Returns:
        The model nearest to the budget, and the sizes that were chosen by the fields that hold them.

    Raises:
        HarnessError: no size can be built.
    """
    search = _Search(architecture, budget, needs, given)
    nearest = search.run()
    return nearest, search.chosen(nearest.size)


class _Search:
    def __init__(self, architecture, budget: int, needs: dict[str, Any], given: dict[str, Any]):
        config_class = architecture.config_class
        self.architecture, self.budget = architecture, budget
        self.given = own_names(architecture, given)
        self.needs = dict(needs)
        self.vocabulary = self.needs.pop("vocab_size", 32)
        self.positions = self.needs.pop("max_position_embeddings", 512) + SPARE_POSITIONS
        self.fields = {role: first_of(role, config_class) for role in (WIDTH, HEADS, LAYERS, FEED_FORWARD)}
        self.width, self.heads, self.layers, self.feed_forward = (
            self.given.get(name) for name in self.fields.values()
        )
        self.unit = EXPERT_UNIT if first_of(EXPERTS, config_class) else 1
        self.seen: dict[Sizes, Counted] = {}
        self.refused: HarnessError | None = None

    def run(self) -> Counted:
        for step in (1,) if self.width else [step for step in WIDTH_STEPS if step % self.unit == 0]:
            near = [counted for counted in self._around_budget(step) if counted.misses(self.budget) <= TOLERANCE]
            if near:
                return min(near, key=lambda counted: misfit(counted.size))
        if not self.seen:
            raise self.refused or HarnessError(
                f"{self.architecture.name} cannot be as small as {self.budget} parameters."
            )
        return min(self.seen.values(), key=lambda counted: counted.misses(self.budget))

    def chosen(self, size: Sizes) -> dict[str, int]:
        """The sizes that were not given."""
        values = sized_fields(self.architecture.config_class, size)
        names = [name for name in self.fields.values() if name is not None]
        return {name: values[name] for name in names if name in values and name not in self.given}

    def _around_budget(self, step: int) -> list[Counted]:
        """Models of the two widths of a grid that lie around the budget, with the feed-forward size that meets it."""
        if self.width:
            widths = (self.width,)
        else:
            low, high = 0, 1
            widest = 2 * math.isqrt(self.budget)  # some matrix is square
            while self._count(high * step) < self.budget and high * step < widest:
                low, high = high, 2 * high
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self._count(middle * step) < self.budget else (low, middle)
            widths = tuple(step * number for number in (low, high) if number)
        return [counted for width in widths if (counted := self._with_feed_forward(width)) is not None]

    def _with_feed_forward(self, width: int) -> Counted | None:
        """The model of a width whose feed-forward size meets the budget; None where there is no such model."""
        usual = self._size(width)
        first = self._counted(usual)
        if first is None or self.fields[FEED_FORWARD] is None or self.feed_forward:
            return first
        second = self._counted(replace(usual, feed_forward=2 * usual.feed_forward))
        # The count is linear in this size; a few types fix it themselves.
        slope = (second.parameters["counted"] - first.parameters["counted"]) / usual.feed_forward if second else 0
        if slope == 0:
            return first
        missing = (self.budget - first.parameters["counted"]) / slope
        nearest = self.unit * round((usual.feed_forward + missing) / self.unit)
        size = replace(usual, feed_forward=nearest)
        return self._counted(size) if nearest > 0 and misfit(size) <= EXTREME_MISFIT else None

    def _size(self, width: int) -> Sizes:
        return Sizes(
            width=width,
            heads=self.heads or heads_of(width),
            feed_forward=self.feed_forward or FEED_FORWARD_RATIO * width,
            layers=self.layers or default_layers(self.architecture.config_class),
            positions=self.positions,
            vocabulary=self.vocabulary,
        )

    def _count(self, width: int) -> int:
        """Counted parameters of a width with the usual feed-forward size; 0 where it is too narrow to be built."""
        counted = self._counted(self._size(width))
        return counted.parameters["counted"] if counted else 0

    def _counted(self, size: Sizes) -> Counted | None:
        """A size, counted once; None where the type refuses it."""
        if size not in self.seen:
            try:
                config = make_library_config(self.architecture, size, self.needs, self.given)
                with torch.device("meta"):
                    parameters = count_parameters(auto_class(config, self.architecture.head).from_config(config))
            except Exception as error:  # of every kind, from every type
                self.refused = refusal(self.architecture.name, error)
                return None
            self.seen[size] = Counted(size, config, parameters)
        return self.seen[size]


def misfit(size: Sizes) -> float:
    """How far a feed-forward size is from the usual multiple of the width."""
    return abs(math.log(size.feed_forward / (FEED_FORWARD_RATIO * size.width)))


def heads_of(width: int) -> int:
    """How many heads of even width divide a width, of a width nearest to the usual one."""
    allowed = [heads for heads in range(1, width // 2 + 1) if width % (2 * heads) == 0]
    return min(allowed, key=lambda heads: abs(math.log(width / heads / HEAD_DIM)), default=1)
