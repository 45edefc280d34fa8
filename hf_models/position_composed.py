"""Several position encodings at once: "rope+fox".

B batch   Tq query positions   Tk key positions   H heads   E key features

SPDX-License-Identifier: Apache-2.0
"""

from typing import Any

import torch
from torch import Tensor, nn

from .position_encoding import PositionEncoding


class Composed(PositionEncoding):
    """The encodings of `parts` together: embeddings and turns in their order, biases and values summed."""

    def __init__(self, config, parts: list):
        super().__init__(config)
        self.parts: Any = nn.ModuleList(part(config, **arguments) for part, arguments in parts)
        self.has_table = any(part.has_table for part in self.parts)
        self.recurrent_only = any(part.recurrent_only for part in self.parts)
        self.relative = all(part.relative for part in self.parts)
        self.scalar = all(part.scalar for part in self.parts)
        self.eager_only = any(part.eager_only for part in self.parts)
        self.needs_visible_mask = any(part.needs_visible_mask for part in self.parts)
        self.key_features_width = sum(part.key_features_width for part in self.parts)

    @classmethod
    def check(cls, config, parts=(), **arguments):
        """Two parts or more, at most one of which turns queries and keys, and one makes the scores."""
        super().check(config, **arguments)
        if len(parts) < 2:
            raise ValueError(f"A composed encoding needs at least two parts, not {len(parts)}.")
        for part, part_arguments in parts:
            part.check(config, **part_arguments)
        for hook, what in (("scores", "make the scores by themselves"), ("rotate", "turn queries and keys")):
            own = [part.__name__ for part, _ in parts if getattr(part, hook) is not getattr(PositionEncoding, hook)]
            if len(own) > 1:
                raise ValueError(f"{' and '.join(own)} each {what} and cannot be composed.")
        widens = [part.__name__ for part, _ in parts if part.widens]
        reads = [part.__name__ for part, _ in parts if part.reads_width]
        if widens and reads:
            raise ValueError(f"{widens[0]} widens the queries that {reads[0]} reads: they cannot be composed.")

    @property
    def sees_direction(self) -> bool:
        """Whether any part does."""
        return any(part.sees_direction for part in self.parts)

    @property
    def prefix_stable(self) -> bool:
        """Whether all parts are."""
        return all(part.prefix_stable for part in self.parts)

    def embed(self, states, ids, step=0):
        """Adds what each part adds."""
        for part in self.parts:
            states = part.embed(states, ids, step)
        return states

    def rotation(self, ids, dtype=torch.float32):
        """That of the part that rotates."""
        rotations = [part.rotation(ids, dtype) for part in self.parts]
        return next((rotation for rotation in rotations if rotation is not None), None)

    def rotate(self, query, key, rotation):
        """Rotates by the part that does."""
        for part in self.parts:
            query, key = part.rotate(query, key, rotation)
        return query, key

    def key_features(self, states):
        """The key features of all parts side by side."""
        parts = [part.key_features(states) for part in self.parts]
        parts = [features for features in parts if features is not None]
        return torch.cat(parts, dim=-1) if parts else None

    def _each(self, positions):
        """Each part, and the positions with its own key features."""
        widths = [part.key_features_width for part in self.parts]
        if positions.key_features is None:
            return [(part, positions) for part in self.parts]
        key_features = positions.key_features.split(widths, dim=-1)
        return [(part, positions.with_key_features(own)) for part, own in zip(self.parts, key_features, strict=True)]

    def pair_bias(self, pairs):
        """The sum of the parts' biases."""
        return total([part.pair_bias(pairs) for part in self.parts])

    def scalar_bias(self, device):
        """The sum of the parts' biases."""
        biases = [part.scalar_bias(device) for part in self.parts]
        return lambda pairs: total([bias(pairs) for bias in biases])

    def bias(self, query, key, positions):
        """The sum of the parts' biases."""
        return total([part.bias(query, key, own) for part, own in self._each(positions)])

    def scores(self, query, key, bias, positions):
        """Those of the part that makes them by itself, else the usual ones."""
        for part, own in self._each(positions):
            if type(part).scores is not PositionEncoding.scores:
                return part.scores(query, key, bias, own)
        return super().scores(query, key, bias, positions)

    def values(self, weights, positions):
        """The sum of the parts' values."""
        return total([part.values(weights, own) for part, own in self._each(positions)])


def total(terms: list[Tensor | None]) -> Tensor | None:
    """The sum of the terms that are not None; None where all are."""
    given = [term for term in terms if term is not None]
    return sum(given[1:], given[0]) if given else None


def single_encodings(encoding: type[PositionEncoding], arguments: dict) -> list[type[PositionEncoding]]:
    """The encoding itself, or the parts of a composed one."""
    if encoding is not Composed:
        return [encoding]
    return [single for part in arguments["parts"] for single in single_encodings(*part)]
