"""Encodings that are added to the states: a learned vector per position, sinusoids, the coordinate of a step.

T positions   D model width

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn

from .position_encoding import PositionEncoding
from .precision import exact_dtype
from .registry import check_choice


class Learned(PositionEncoding):
    """A learned vector per position; it ends with its table.

    Gehring et al. 2017, https://arxiv.org/abs/1705.03122.
    """

    has_table = True
    relative = False
    distances_only = False

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def embed(self, states, ids, step=0):
        """Adds the vectors once, before the first layer or step."""
        return states if step else states + self.table(ids)


def sinusoids(ids: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Interleaved sines and cosines of `ids * 10000 ** (-2m / width)` `[..., width]`, in float32 at least.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762: channel 2m is the sine, 2m + 1 the cosine.
    """
    channels = torch.arange(0, width, 2, dtype=exact_dtype(dtype), device=ids.device)
    angles = ids[..., None] * 10000.0 ** (-channels / width)  # [..., width / 2]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Sinusoidal(PositionEncoding):
    """Fixed sines and cosines, in the paper's interleaved form.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    relative = False
    distances_only = False

    def __init__(self, config):
        super().__init__(config)
        self.width = config.hidden_size

    @classmethod
    def check(cls, config, **arguments):
        """Sines and cosines come in pairs."""
        super().check(config, **arguments)
        if config.hidden_size % 2:
            raise ValueError(f"{cls.__name__} needs an even hidden_size, not {config.hidden_size}.")

    def embed(self, states, ids, step=0):
        """Adds the sinusoids once, before the first layer or step."""
        return states if step else states + sinusoids(ids, self.width, states.dtype).to(states.dtype)


class Coordinate(Sinusoidal):
    """Position and step, both as sinusoids, added before every step; steps count from 1.

    Dehghani et al. 2019, https://arxiv.org/abs/1807.03819.

    Args:
        every_step: whether it is added before every step, or before the first alone.
    """

    recurrent_only = True

    def __init__(self, config, every_step: bool = True):
        super().__init__(config)
        self.every_step = every_step

    @classmethod
    def check(cls, config, every_step=True, **arguments):
        """`every_step` is true or false."""
        super().check(config, **arguments)
        check_choice(cls, "every_step", every_step, (True, False))

    def embed(self, states, ids, step=0):
        """Adds the coordinate of (position, step)."""
        if step and not self.every_step:
            return states
        time = sinusoids(ids.new_tensor([step + 1]), self.width, states.dtype)
        return states + (sinusoids(ids, self.width, states.dtype) + time).to(states.dtype)
