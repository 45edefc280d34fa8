"""Position encodings: one small class each, and the registry that configurations name them by.

An encoding acts through three hooks, and attention knows none of them by name:

    embed    adds to the states that enter the first layer (or, in a recurrent model, every step)
    rotate   turns queries and keys
    bias     is added to the scores after the scaling by 1 / sqrt(K); computed once per forward pass

B batch   T positions   Tq query positions   Tk key positions   H heads   K head width   D model width
Ids may have a first dimension of 1 when all rows of a batch share them.

SPDX-License-Identifier: Apache-2.0
"""

import inspect
import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS


@dataclass
class Positions:
    """Where the tokens of a forward pass stand.

    Attributes:
        query_ids: position ids of the tokens that are computed now `[B, Tq]`.
        key_ids: position ids of all tokens they may attend to, cached ones first `[B, Tk]`.
    """

    query_ids: Tensor
    key_ids: Tensor

    def distances(self) -> Tensor:
        """Signed distance from key to query, positive in the past `[B, 1, Tq, Tk]`."""
        return (self.query_ids[:, :, None] - self.key_ids[:, None, :])[:, None]


class PositionEncoding(nn.Module):
    """No position encoding (Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466), and the base of all others.

    A causal model still sees the order through its mask; a bidirectional one is blind to it.
    """

    has_table = False  # position ids must stay below max_position_embeddings
    recurrent_only = False  # needs the step of a model that is recurrent in depth

    def __init__(self, config):
        super().__init__()

    @classmethod
    def check(cls, config, **arguments):
        """Raises ValueError where the encoding does not fit the configuration or has no such argument."""
        known = [name for name in inspect.signature(cls.__init__).parameters if name not in ("self", "config")]
        for name in arguments:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                allowed = ", ".join(known) or "it takes none"
                raise ValueError(f"{cls.__name__} has no argument {name!r}.{hint} Allowed: {allowed}.")
        if cls.recurrent_only and not hasattr(config, "num_steps"):
            raise ValueError(f"{cls.__name__} needs a model that is recurrent in depth, not {config.model_type!r}.")

    def initialise(self):
        """Sets the encoding's own parameters; modules inside it begin as everywhere in the model."""

    def embed(self, states: Tensor, ids: Tensor, step: int = 0) -> Tensor:
        """States with what the encoding adds to them `[B, T, D]`; `step` is the depth of a recurrent model, from 0."""
        return states

    def rotate(self, query: Tensor, key: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys of the new tokens, turned by their ids `[B, H, T, K]`."""
        return query, key

    def bias(self, positions: Positions) -> Tensor | None:
        """What is added to the scores `[B, H, Tq, Tk]`."""
        return None


class Learned(PositionEncoding):
    """A learned vector per position (Gehring et al. 2017, https://arxiv.org/abs/1705.03122); ends with its table."""

    has_table = True

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def embed(self, states, ids, step=0):
        """Adds the vectors once, before the first layer or step."""
        return states if step else states + self.table(ids)


def sinusoids(ids: Tensor, width: int, base: float = 10000.0) -> Tensor:
    """Interleaved sines and cosines of `ids * base ** (-2m / width)` `[..., width]`.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762: channel 2m is the sine, 2m + 1 the cosine.
    """
    frequencies = base ** (-torch.arange(0, width, 2, dtype=torch.float32, device=ids.device) / width)
    angles = ids[..., None].float() * frequencies  # [..., width / 2]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Sinusoidal(PositionEncoding):
    """Fixed sines and cosines, in the paper's interleaved form (Vaswani et al. 2017)."""

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
        return states if step else states + sinusoids(ids, self.width).to(states.dtype)


class Coordinate(Sinusoidal):
    """Position and step, both as sinusoids, added before every step; steps count from 1.

    Dehghani et al. 2019, https://arxiv.org/abs/1807.03819.
    """

    recurrent_only = True

    def embed(self, states, ids, step=0):
        """Adds the coordinate of (position, step)."""
        time = sinusoids(ids.new_tensor([step + 1]), self.width)
        return states + (sinusoids(ids, self.width) + time).to(states.dtype)


class RoPE(PositionEncoding):
    """Rotary position embedding, channels paired by halves (Su et al. 2021, https://arxiv.org/abs/2104.09864).

    Base and scaling are `rope_parameters`, as everywhere in transformers. Frequencies are computed at each call: a
    buffer would be cast with the model, and bfloat16 frequencies are wrong far out.
    """

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


def alibi_slopes(heads: int) -> list[float]:
    """ALiBi's slopes: 2 ** (-8h / H), and for other than a power of two every second one of the next power's."""
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    return slopes + [2 ** (-8 * (head + 0.5) / power) for head in range(heads - power)]


class ALiBi(PositionEncoding):
    """A penalty linear in the distance, with a fixed slope per head (Press et al. 2022, https://arxiv.org/abs/2108.12409).

    Args:
        form: "causal", the paper's, for causal models; "symmetric", minus slope times the absolute distance, blind to
            direction; "directional", the same with half a step given back to the past (as in Ruoss et al. 2023).
            By default "causal" when the model is causal and "directional" when it is not.
    """

    forms = ("causal", "symmetric", "directional")

    def __init__(self, config, form: str | None = None):
        super().__init__(config)
        self.form = form or ("causal" if config.is_causal else "directional")
        self.slopes = alibi_slopes(config.num_attention_heads)

    @classmethod
    def check(cls, config, form=None, **arguments):
        """The form exists, and the causal one is used with a causal mask only."""
        super().check(config, **arguments)
        if form is not None and form not in cls.forms:
            raise ValueError(f"ALiBi has no form {form!r}. Allowed: {', '.join(cls.forms)}.")
        if form == "causal" and not config.is_causal:
            raise ValueError("ALiBi's causal form needs a causal model; take 'symmetric' or 'directional'.")

    def bias(self, positions):
        """Minus slope times distance."""
        distances = positions.distances().float()  # [B, 1, Tq, Tk]
        slopes = torch.tensor(self.slopes, device=distances.device)[:, None, None]
        penalty = distances if self.form == "causal" else distances.abs()
        if self.form == "directional":
            penalty = penalty - 0.5 * (distances > 0)
        return -slopes * penalty


class T5(PositionEncoding):
    """A learned bias per head and bucket of distances (Raffel et al. 2020, https://arxiv.org/abs/1910.10683).

    Half of a direction's buckets hold one distance each, the others grow logarithmically up to `max_distance`; beyond,
    the last one. Causal models spend all buckets on the past, bidirectional ones half on each side.
    """

    def __init__(self, config, buckets: int = 32, max_distance: int = 128):
        super().__init__(config)
        self.is_causal = config.is_causal
        self.side = buckets if config.is_causal else buckets // 2  # buckets of one direction
        self.max_distance = max_distance
        self.table = nn.Embedding(buckets, config.num_attention_heads)

    @classmethod
    def check(cls, config, buckets=32, max_distance=128, **arguments):
        """Each direction needs single and logarithmic buckets, and distances for the latter."""
        super().check(config, **arguments)
        side = buckets if config.is_causal else buckets // 2
        if side < 2 or max_distance <= side // 2:
            raise ValueError(f"T5 cannot lay {buckets} buckets over distances up to {max_distance}.")

    def bucket(self, distances: Tensor) -> Tensor:
        """Bucket of each signed distance (key to query), of the same shape."""
        distances = distances.clamp(min=0) if self.is_causal else distances
        single = self.side // 2
        size = distances.abs()
        growth = torch.log(size.clamp(min=1) / single) / math.log(self.max_distance / single)
        logarithmic = (single + (growth * (self.side - single)).long()).clamp(max=self.side - 1)
        return torch.where(size < single, size, logarithmic) + self.side * (distances < 0)

    def bias(self, positions):
        """The bucket's bias; it is not scaled by 1 / sqrt(K)."""
        return self.table(self.bucket(positions.distances()[:, 0])).permute(0, 3, 1, 2)


class FIRE(PositionEncoding):
    """A small network of the distance, relative to the query's position (Li et al. 2024, https://arxiv.org/abs/2310.04418).

    With psi(x) = log(|c| x + 1), its input is psi(i - j) / psi(max(i, threshold)). The paper is causal; here the
    denominator takes max(i, j, threshold), which is the same under a causal mask, and the numerator keeps the sign of
    i - j, so that a bidirectional model tells left from right.
    """

    def __init__(self, config, width: int = 32, threshold: int = 512):
        super().__init__(config)
        self.network = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, config.num_attention_heads))
        self.scale = nn.Parameter(torch.empty(()))  # c
        self.threshold_factor = nn.Parameter(torch.empty(()))
        self.threshold = threshold

    @torch.no_grad()
    def initialise(self):
        """c begins at 0.1 and the threshold at the one configured."""
        init.constant_(self.scale, 0.1)
        init.ones_(self.threshold_factor)

    def psi(self, distances: Tensor) -> Tensor:
        """log(|c| x + 1)."""
        return torch.log(self.scale.abs() * distances + 1)

    def bias(self, positions):
        """The network's output per head."""
        distances = positions.distances()[:, 0].float()  # [B, Tq, Tk]
        farthest = torch.maximum(positions.query_ids[:, :, None], positions.key_ids[:, None, :])
        farthest = torch.maximum(farthest, (self.threshold_factor * self.threshold).abs())
        relative = distances.sign() * self.psi(distances.abs()) / self.psi(farthest).clamp(min=1e-6)
        relative = relative.to(self.network[0].weight.dtype)
        return self.network(relative[..., None]).permute(0, 3, 1, 2)


POSITION_ENCODINGS = {
    "none": PositionEncoding,
    "learned": Learned,
    "sinusoidal": Sinusoidal,
    "coordinate": Coordinate,
    "rope": RoPE,
    "alibi": ALiBi,
    "t5": T5,
    "fire": FIRE,
}


def parse_position_encoding(entry: str | dict) -> tuple[type[PositionEncoding], dict]:
    """Class and arguments of a configuration's entry; ValueError names what is wrong."""
    arguments = {"name": entry} if isinstance(entry, str) else dict(entry)
    name = arguments.pop("name", None)
    if name not in POSITION_ENCODINGS:
        near = get_close_matches(str(name), POSITION_ENCODINGS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Unknown position encoding {name!r}.{hint} Allowed: {', '.join(POSITION_ENCODINGS)}.")
    return POSITION_ENCODINGS[name], arguments


class LayerEncodings(nn.Module):
    """The encodings of a model: one instance per distinct entry of the configuration, and which layer uses which."""

    def __init__(self, config):
        super().__init__()
        entries = config.position_encoding_per_layer()
        distinct = [entry for index, entry in enumerate(entries) if entry not in entries[:index]]
        self.of_layer = [distinct.index(entry) for entry in entries]
        parsed = [parse_position_encoding(entry) for entry in distinct]
        self.distinct: Any = nn.ModuleList(encoding(config, **arguments) for encoding, arguments in parsed)

    def __getitem__(self, layer: int) -> PositionEncoding:
        return self.distinct[self.of_layer[layer]]

    @property
    def has_table(self) -> bool:
        """Whether any encoding ends with a table."""
        return any(encoding.has_table for encoding in self.distinct)

    def enters(self, layer: int) -> bool:
        """Whether the layer is the first one that uses its encoding: there `embed` acts."""
        return self.of_layer[layer] not in self.of_layer[:layer]

    def biases(self, positions: Positions) -> list[Tensor | None]:
        """The bias of each layer; layers with the same encoding share one tensor."""
        biases = [encoding.bias(positions) for encoding in self.distinct]
        return [biases[index] for index in self.of_layer]
