"""Plain forms of the encodings that turn queries and keys."""

import torch

from tests.hf_models.plain_encoding import PlainEncoding


def turned(states: torch.Tensor, angles: list[float]) -> torch.Tensor:
    """Pairs of channels as complex numbers, channel m with m + K / 2, times e^(i angle)."""
    pairs = torch.complex(states[: len(angles)], states[len(angles) :])
    rotated = pairs * torch.polar(torch.ones(len(angles)), torch.tensor(angles))
    return torch.cat([rotated.real, rotated.imag])


class PlainRoPE(PlainEncoding):
    """Su et al. 2021."""

    def turn_query(self, query, position, head):
        width = len(query)
        return turned(query, [position * 10000 ** (-2 * m / width) for m in range(width // 2)])

    turn_key = turn_query


class PlainXPos(PlainRoPE):
    """Sun et al. 2022, section 2.2: queries grow with their position as keys fade."""

    def growth(self, position: int, width: int) -> torch.Tensor:
        """Factor on each channel of a query `[K]`."""
        zeta = [(2 * m / width + 0.4) / 1.4 for m in range(width // 2)]
        return torch.tensor(2 * [z ** (position / self.encoding.scale_base) for z in zeta])

    def turn_query(self, query, position, head):
        return super().turn_query(query, position, head) * self.growth(position, len(query))

    def turn_key(self, key, position, head):
        return super().turn_query(key, position, head) / self.growth(position, len(key))


class PlainPoPE(PlainEncoding):
    """Gopalakrishnan et al. 2025, section 3: a softplus and an angle per channel, as complex numbers."""

    def polar(self, states: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        """The numbers softplus(x) e^(i angle), real parts first `[2 K]`."""
        numbers = torch.polar(torch.log(1 + torch.exp(states)), angles)
        return torch.cat([numbers.real, numbers.imag])

    def angles(self, position: int, width: int) -> torch.Tensor:
        """Angle of each channel `[K]`."""
        return torch.tensor([position * 10000 ** (-c / width) for c in range(width)])

    def turn_query(self, query, position, head):
        return self.polar(query, self.angles(position, len(query)))

    def turn_key(self, key, position, head):
        return self.polar(key, self.angles(position, len(key)) + self.encoding.phase[head])
