"""Encodings that turn queries and keys.

B batch   T positions   Tq query positions   Tk key positions   H heads   K head width

SPDX-License-Identifier: Apache-2.0
"""

import math

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .position_encoding import PositionEncoding
from .precision import at_least_float32
from .registry import check_choice
from .transformers_internals import ROPE_INIT_FUNCTIONS


class RoPE(PositionEncoding):
    """Rotary position embedding, channels paired by halves.

    Base and scaling are `rope_parameters`, as everywhere in transformers. With a `partial_rotary_factor` below 1, the
    first channels are turned with the frequencies of that narrower width, and the others are left as they are; with
    the type "proportional" the highest frequencies of the full width are kept and the others are zero (p-RoPE, Barbero
    et al. 2024, https://arxiv.org/abs/2410.06205).

    The types "dynamic" and "longrope" choose their frequencies by the longest position of the whole batch, padding and
    all rows together, so that a sequence may turn out otherwise in other company, and there is no cache.

    Su et al. 2021, https://arxiv.org/abs/2104.09864.
    """

    distances_only = False

    rope_types = ("default", "linear", "llama3", "yarn", "proportional", "dynamic", "longrope")
    length_dependent = ("dynamic", "longrope")

    def __init__(self, config):
        super().__init__(config)
        self.config = config
        self.relative = config.rope_parameters["rope_type"] not in self.length_dependent

    @classmethod
    def check(cls, config, **arguments):
        """The scaling exists and fits the head's width."""
        super().check(config, **arguments)
        if config.head_dim % 2:
            raise ValueError(f"{cls.__name__} needs an even head width, not {config.head_dim}.")
        parameters = config.rope_parameters or {}
        rope_type = parameters.get("rope_type", "default")
        check_choice(cls, "rope_type", rope_type, cls.rope_types)
        width, share = rotary_width(config), parameters.get("partial_rotary_factor", 1.0)
        if not 0 < share <= 1 or width < 2 or width % 2:
            raise ValueError(
                f"{cls.__name__} turns pairs of channels: partial_rotary_factor {share} of {config.head_dim} channels "
                f"leaves {width}; an even number of at least 2 is needed."
            )
        if rope_type == "dynamic" and width < 4:
            raise ValueError(f"rope_type 'dynamic' needs at least 4 turned channels, not {width}.")
        for name in ("short_factor", "long_factor"):
            if rope_type == "longrope" and len(parameters[name]) != width // 2:
                raise ValueError(f"{name} needs {width // 2} numbers, one a pair, not {len(parameters[name])}.")

    @property
    def prefix_stable(self) -> bool:
        """Not where the frequencies depend on the longest position."""
        return self.relative

    def frequencies(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, float]:
        """Angle per position of each pair of channels that is turned, and the factor on cosine and sine.

        Computed at each call: a buffer would be cast with the model, and bfloat16 frequencies are wrong far out.
        Frequencies of other types than "default" are computed by transformers, in float32.
        """
        parameters, device = self.config.rope_parameters, ids.device
        rope_type = parameters["rope_type"]
        if rope_type == "default":
            width = rotary_width(self.config)
            channels = torch.arange(0, width, 2, dtype=dtype, device=device)
            return parameters["rope_theta"] ** (-channels / width), 1.0
        initialise = ROPE_INIT_FUNCTIONS[rope_type]
        if rope_type == "dynamic":
            return initialise(self.config, device, seq_len=ids.max() + 1)
        if rope_type == "longrope":
            original = parameters["original_max_position_embeddings"]
            short, factor = initialise(self.config, device, seq_len=original)
            long, _ = initialise(self.config, device, seq_len=original + 1)
            return torch.where(ids.max() >= original, long, short), factor
        return initialise(self.config, device)

    def rotation(self, ids, dtype=torch.float32):
        """Cosines and sines of each pair's frequency times the id, once for each head `[B, T, 2, H, width]`.

        Products are several times faster where all heads are one row of memory.
        """
        frequencies, factor = self.frequencies(ids, dtype)
        # The first channel of a pair turns backwards, so that the sine has the sign which it has in the rotation.
        angles = ids[..., None].to(dtype) * torch.cat([-frequencies, frequencies])  # [B, T, width]
        both = torch.stack([angles.cos(), angles.sin()], dim=2) * factor
        return both[:, :, :, None].repeat(1, 1, 1, self.config.num_attention_heads, 1)

    def rotate(self, query, key, rotation):
        """Turns each pair of channels."""
        cosine, sine = rotation.unbind(2)
        return turn(query, cosine, sine), turn(key, cosine, sine)


def rotary_width(config) -> int:
    """How many channels of a head are turned, the first ones."""
    parameters = config.rope_parameters or {}
    if parameters.get("rope_type") == "proportional":
        return config.head_dim
    return int(config.head_dim * parameters.get("partial_rotary_factor", 1.0))


def turn(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotates the pairs (channel, channel + width / 2) of the first `width` channels of `states` `[B, H, T, K]`.

    Cosines are `[B, T, H, width]`, sines too, negative for the first channel of each pair.
    """
    width = cosine.shape[-1]
    states = states.transpose(1, 2)  # as projections lie in memory
    # Exchanging the halves of strided heads is ten times slower.
    turning = at_least_float32(states[..., :width]).contiguous()
    partners = torch.cat(turning.chunk(2, dim=-1)[::-1], dim=-1)
    rotated = torch.addcmul(turning * cosine, partners, sine).to(states.dtype)
    rotated = rotated if width == states.shape[-1] else torch.cat([rotated, states[..., width:]], dim=-1)
    return rotated.transpose(1, 2)


class XPos(RoPE):
    """RoPE whose pairs of channels fade with the distance: pair m by ((m / pairs + 0.4) / 1.4) ** (distance / 512).

    Queries that grow and keys that fade with their positions would leave the range of float32; centred on the call, as
    in the paper's code, cached keys would not agree. So both are only turned, and scores are taken a block of queries
    at a time, relative to the greatest id of the block: the keys that it sees fade, however far they are, and a query
    grows by no more than its distance from there. This is exact in float32 as long as the ids of a block span less
    than 16,000, and always finite. Eager attention alone computes it.

    Sun et al. 2022, https://arxiv.org/abs/2212.10554.

    Args:
        scale_base: the distance over which a pair fades once.
    """

    causal_only = True
    eager_only = True

    block = 64  # queries whose scores are taken at once
    greatest_growth = 40.0  # a logarithm: two of these stay finite in float32

    def __init__(self, config, scale_base: int | float = 512):
        super().__init__(config)
        self.scale_base = scale_base

    @classmethod
    def check(cls, config, scale_base=512, **arguments):
        """The scale is a distance."""
        super().check(config, **arguments)
        if scale_base <= 0:
            raise ValueError(f"{cls.__name__} needs a positive scale_base, not {scale_base}.")

    def fading(self, distances: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Factor on each channel at distances `[B, …]`; growth where they are negative `[B, 1, …, K]`."""
        pairs = rotary_width(self.config) // 2
        pair = torch.arange(pairs, dtype=dtype, device=distances.device)
        rates = torch.log((pair / pairs + 0.4) / 1.4) / self.scale_base
        rates = nn.functional.pad(rates.repeat(2), (0, self.config.head_dim - 2 * pairs))  # [K]
        return torch.exp((distances[:, None, ..., None] * rates).clamp(max=self.greatest_growth))

    def scores(self, query, key, bias, positions):
        """The product of turned queries and keys, each pair of channels times its fading."""
        query, key = at_least_float32(query), at_least_float32(key)
        length, device = query.shape[2], query.device
        if torch.compiler.is_compiling():  # all blocks at once, so that the graph holds for every length
            starts = self.block * torch.arange(length // self.block + 2, device=device)  # 2, since torch fixes 1
            index = (starts[:, None] + torch.arange(self.block, device=device)).clamp(max=length - 1)  # [X, C]
            scores = self.products(
                query[:, :, index], positions.query_ids[:, index], key[:, :, None], positions.key_ids[:, None]
            )
            scores = scores.flatten(2, 3).index_select(2, torch.arange(length, device=device))
        else:
            blocks = zip(query.split(self.block, dim=2), positions.query_ids.split(self.block, dim=1), strict=True)
            scores = torch.cat([self.products(part, ids, key, positions.key_ids) for part, ids in blocks], dim=2)
        scores = scores * positions.scaling
        return scores if bias is None else scores + bias

    def products(self, query: Tensor, ids: Tensor, key: Tensor, key_ids: Tensor) -> Tensor:
        """Unscaled scores of a block `[B, H, C, Tk]`; X blocks at once are a dimension before C, of 1 for keys."""
        latest = ids.amax(dim=-1, keepdim=True)
        grown = query * self.fading(ids - latest, query.dtype)
        return grown @ (key * self.fading(latest - key_ids, key.dtype)).mT


class PoPE(PositionEncoding):
    """Polar coordinates: a channel's magnitude says what, its phase says where.

    The score is the sum over channels c of softplus(q_c) softplus(k_c) cos((i - j) w_c - phase_c), with a frequency
    w_c = base ** (-c / K) for each channel, twice as many as RoPE has, and a learned phase per head and channel. The
    paper bounds phases to [-2 pi, 0]; here they are free, which is the same angles, and none gets stuck at a bound.
    Queries and keys become twice as wide; scores are still scaled by 1 / sqrt(K). The base is that of
    `rope_parameters`.

    Gopalakrishnan et al. 2025, https://arxiv.org/abs/2509.10534.

    Args:
        phase: how the phases begin: "zero", or "uniform" in [-2 pi, 0].
    """

    widens = True
    distances_only = False

    phases = ("zero", "uniform")

    def __init__(self, config, phase: str = "zero"):
        super().__init__(config)
        self.base = config.rope_parameters["rope_theta"]
        self.begin = phase
        self.phase = nn.Parameter(torch.empty(config.num_attention_heads, config.head_dim))

    @classmethod
    def check(cls, config, phase="zero", **arguments):
        """The phases' beginning exists, and there is no scaling."""
        super().check(config, **arguments)
        check_choice(cls, "phase", phase, cls.phases)
        for key, only in (("rope_type", "default"), ("partial_rotary_factor", 1.0)):
            value = (config.rope_parameters or {}).get(key, only)
            if value != only:
                raise ValueError(f"PoPE reads the base of rope_parameters alone; it has no {key} {value!r}.")

    @torch.no_grad()
    def initialise(self):
        """Phases begin at zero, or anywhere on the circle."""
        if self.begin == "uniform":
            init.uniform_(self.phase, -2 * math.pi, 0.0)
        else:
            init.zeros_(self.phase)

    def rotation(self, ids, dtype=torch.float32):
        """Angles of the ids in each channel `[B, T, K]`."""
        width = self.phase.shape[-1]
        frequencies = self.base ** (-torch.arange(width, dtype=dtype, device=ids.device) / width)
        return ids[..., None] * frequencies

    def rotate(self, query, key, rotation):
        """Magnitudes at the angle of the id, and keys at their phase besides `[B, H, T, 2 K]`."""
        angles = rotation[:, None]  # [B, 1, T, K]
        return polar(query, angles), polar(key, angles + self.phase[:, None].to(angles.dtype))


def polar(states: Tensor, angles: Tensor) -> Tensor:
    """The softplus of `states` `[B, H, T, K]` at these angles, as real and imaginary parts `[B, H, T, 2 K]`."""
    magnitudes = nn.functional.softplus(at_least_float32(states))
    return torch.cat([magnitudes * angles.cos(), magnitudes * angles.sin()], dim=-1).to(states.dtype)
