"""Plain forms of the encodings that are added to the states."""

import math

import torch

from tests.hf_models.plain_encoding import PlainEncoding


class PlainLearned(PlainEncoding):
    """Gehring et al. 2017: a row of the table per position."""

    def embed(self, states, ids):
        return states + torch.stack([self.encoding.table.weight[position] for position in ids])


def wave(position: int, width: int) -> torch.Tensor:
    """Vaswani et al. 2017, section 3.5."""
    vector = torch.zeros(width)
    for m in range(width // 2):
        vector[2 * m] = math.sin(position / 10000 ** (2 * m / width))
        vector[2 * m + 1] = math.cos(position / 10000 ** (2 * m / width))
    return vector


class PlainSinusoidal(PlainEncoding):
    """Vaswani et al. 2017, section 3.5."""

    def embed(self, states, ids):
        return states + torch.stack([wave(position, states.shape[-1]) for position in ids])


class PlainCoordinate(PlainEncoding):
    """Dehghani et al. 2019, section 2.1, at the first step."""

    def embed(self, states, ids):
        width = states.shape[-1]
        return states + torch.stack([wave(position, width) + wave(1, width) for position in ids])
