"""Encodings that turn queries and keys.

B batch   T positions   H heads   K head width

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from .position_encoding import PositionEncoding


class RoPE(PositionEncoding):
    """Rotary position embedding, channels paired by halves.

    Base and scaling are `rope_parameters`, as everywhere in transformers. Frequencies are computed at each call: a
    buffer would be cast with the model, and bfloat16 frequencies are wrong far out.

    Su et al. 2021, https://arxiv.org/abs/2104.09864.
    """

    distances_only = False

    # The other scalings change their frequencies with the longest position seen, so cached keys would not agree.
    rope_types = ("default", "linear", "llama3", "yarn")

    def __init__(self, config):
        super().__init__(config)
        self.config = config

    @classmethod
    def check(cls, config, **arguments):
        """Channels are turned in pairs, by a scaling whose frequencies are fixed."""
        super().check(config, **arguments)
        if config.head_dim % 2:
            raise ValueError(f"RoPE needs an even head width, not {config.head_dim}.")
        parameters = config.rope_parameters or {}
        rope_type = parameters.get("rope_type", "default")
        if rope_type not in cls.rope_types:
            raise ValueError(f"rope_type {rope_type!r} is not supported. Allowed: {', '.join(cls.rope_types)}.")
        if parameters.get("partial_rotary_factor", 1.0) != 1.0:
            raise ValueError("RoPE turns all channels; partial_rotary_factor is not supported.")

    def frequencies(self, device) -> tuple[Tensor, float]:
        """Angle per position of each pair of channels `[K / 2]`, and the factor on cosine and sine."""
        parameters = self.config.rope_parameters
        if parameters["rope_type"] != "default":
            return ROPE_INIT_FUNCTIONS[parameters["rope_type"]](self.config, device)
        channels = torch.arange(0, self.config.head_dim, 2, dtype=torch.float32, device=device)
        return parameters["rope_theta"] ** (-channels / self.config.head_dim), 1.0

    def rotate(self, query, key, ids):
        """Turns each pair of channels by its frequency times the id."""
        frequencies, factor = self.frequencies(ids.device)
        angles = ids[:, None, :, None].float() * frequencies  # [B, 1, T, K / 2]
        cosine, sine = angles.cos() * factor, angles.sin() * factor
        return turn(query, cosine, sine), turn(key, cosine, sine)


def turn(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotates the pairs (channel, channel + K / 2) of `states` `[B, H, T, K]`."""
    first, second = states.float().chunk(2, dim=-1)
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return turned.to(states.dtype)
