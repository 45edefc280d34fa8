"""Plain forms of the encodings that turn queries and keys."""

import torch

from tests.hf_models.plain_encoding import PlainEncoding


class PlainRoPE(PlainEncoding):
    """Su et al. 2021: pairs of channels as complex numbers; channel m is paired with m + K / 2."""

    def turn_query(self, query, position, head):
        width, base = len(query), 10000.0
        pairs = torch.complex(query[: width // 2], query[width // 2 :])
        angles = torch.tensor([position * base ** (-2 * m / width) for m in range(width // 2)])
        turned = pairs * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([turned.real, turned.imag])

    turn_key = turn_query
