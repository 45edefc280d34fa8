"""Encodings that add to the scores a function of head and distance: linear, logarithmic, windowed, wavy.

Tq query positions   Tk key positions   H heads

SPDX-License-Identifier: Apache-2.0
"""

import math

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .position_encoding import PositionEncoding
from .registry import check_choice


class DistanceBias(PositionEncoding):
    """Base of the encodings that are a kernel of the distance; subclasses say which.

    Args:
        form: "causal", the paper's, for causal models; "symmetric", the kernel of the absolute distance, blind to
            direction; "directional", the same with half a step given back to the past (as Ruoss et al. 2023 do with
            ALiBi), so that a bidirectional model tells left from right. By default "causal" when the model is causal
            and "directional" when it is not.
    """

    forms = ("causal", "symmetric", "directional")
    scalar = True

    def __init__(self, config, form: str | None = None):
        super().__init__(config)
        self.form = form or (self.forms[0] if config.is_causal else self.forms[-1])

    @property
    def sees_direction(self):
        """Not in the symmetric form."""
        return self.form != "symmetric"

    @classmethod
    def check(cls, config, **arguments):
        """The form exists, and the causal one is used with a causal mask only."""
        super().check(config, **arguments)
        form = arguments.get("form")
        if form is not None:
            check_choice(cls, "form", form, cls.forms)
        if form == "causal" and not config.is_causal:
            others = " or ".join(repr(other) for other in cls.forms[1:])
            raise ValueError(f"{cls.__name__}'s causal form needs a causal model; take {others}.")
        if form is None and not config.is_causal and "directional" not in cls.forms:
            raise ValueError(
                f"{cls.__name__} has no form that tells left from right; "
                "a bidirectional model must say form='symmetric'."
            )

    def kernel(self, lengths: Tensor, heads: Tensor) -> Tensor:
        """The bias of each pair.

        Args:
            lengths: in float32 at least; in the causal form negative where the key comes after the query.
            heads: index of the pair's head; broadcasts with the lengths.
        """
        raise NotImplementedError

    def pair_bias(self, pairs):
        """The kernel of the pair's distance, in the sense of the form."""
        distances = pairs.distances()
        lengths = (distances if self.form == "causal" else distances.abs()).to(pairs.dtype)
        if self.form == "directional":
            lengths = lengths - 0.5 * (distances > 0).to(lengths.dtype)
        return self.kernel(lengths, pairs.heads)


def alibi_slopes(heads: Tensor, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """ALiBi's slopes: 2 ** (-8h / H), and for other than a power of two every second one of the next power's.

    Args:
        heads: index of the heads, from 0.
        count: H.
        dtype: of the slopes.
    """
    power, heads = 2 ** math.floor(math.log2(count)), heads.to(dtype)
    rank = torch.where(heads < power, heads + 1, heads - power + 0.5)
    return torch.exp2(-8 / power * rank)


class ALiBi(DistanceBias):
    """A penalty linear in the distance, with a slope per head.

    Press et al. 2022, https://arxiv.org/abs/2108.12409.

    Args:
        form: see `DistanceBias`.
        learned_slopes: whether the slopes are trained, from the fixed ones on; nothing keeps them positive.
    """

    def __init__(self, config, form: str | None = None, learned_slopes: bool = False):
        super().__init__(config, form)
        self.count = config.num_attention_heads
        self.slopes = nn.Parameter(torch.empty(self.count)) if learned_slopes else None

    @torch.no_grad()
    def initialise(self):
        """Learned slopes begin as the fixed ones."""
        if self.slopes is not None:
            init.copy_(self.slopes, alibi_slopes(torch.arange(self.count), self.count))

    def slope(self, heads: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Slope of each head, in the shape of `heads`; `dtype` is that of fixed ones."""
        # Arithmetic in place of a table: FlexAttention cannot inline a tensor that is made on the way.
        return alibi_slopes(heads, self.count, dtype) if self.slopes is None else self.slopes[heads]

    def kernel(self, lengths, heads):
        """Minus slope times distance."""
        return -self.slope(heads, lengths.dtype) * lengths


class NAPE(ALiBi):
    """ALiBi in the first heads, with slopes 1, 1/2, 1/3 …, and no position encoding in the others.

    Vasylenko et al. 2025, https://arxiv.org/abs/2506.16640.

    Args:
        form: see `DistanceBias`.
        alibi_heads: number of heads with ALiBi; half of them by default.
    """

    def __init__(self, config, form: str | None = None, alibi_heads: int | None = None):
        super().__init__(config, form)
        self.alibi_heads = alibi_heads or max(1, config.num_attention_heads // 2)

    @classmethod
    def check(cls, config, alibi_heads=None, **arguments):
        """At least one head has ALiBi, and no more than there are."""
        super().check(config, **arguments)
        check_heads(cls, config, "alibi_heads", alibi_heads)

    def slope(self, heads, dtype=torch.float32):
        """1 / (h + 1), and nothing in the heads without ALiBi."""
        return torch.where(heads < self.alibi_heads, 1 / (heads + 1).to(dtype), 0.0)


def check_heads(encoding: type, config, argument: str, value: int | None):
    """Raises ValueError where a number of heads is given and not among 1 … H."""
    if value is not None and not 1 <= value <= config.num_attention_heads:
        raise ValueError(
            f"{encoding.__name__}'s {argument} must lie in 1 … {config.num_attention_heads} (num_attention_heads), "
            f"not {value}."
        )


class HardALiBi(DistanceBias):
    """The first head sees its own token alone, the next one the last two tokens, and so on; the other heads see all.

    Distances count, not tokens: where ids have gaps a head sees fewer, and always itself. The bidirectional form is a
    symmetric window, which must be asked for, since no form tells left from right: compose it with an encoding that
    does where that matters. A single windowed head, the default for two heads, says nothing of positions there.

    Jelassi et al. 2024, https://arxiv.org/abs/2402.01032.

    Args:
        form: "causal" or "symmetric"; see `DistanceBias`.
        masked_heads: number of heads with a window; two thirds of them by default, as in the paper's code.
    """

    forms = ("causal", "symmetric")
    unseen = -30000.0  # finite in every precision, and no weight is left by it

    def __init__(self, config, form: str | None = None, masked_heads: int | None = None):
        super().__init__(config, form)
        self.masked_heads = masked_heads or 2 * config.num_attention_heads // 3

    @classmethod
    def check(cls, config, masked_heads=None, **arguments):
        """At least one head has a window, and no more than there are."""
        super().check(config, **arguments)
        check_heads(cls, config, "masked_heads", masked_heads)
        if masked_heads is None and config.num_attention_heads < 2:
            raise ValueError("HardALiBi needs at least two heads: the first one sees nothing but its own token.")

    def kernel(self, lengths, heads):
        """Nothing within the window of the head, and beyond it what leaves no weight."""
        beyond = (lengths.abs() > heads) & (heads < self.masked_heads)
        return torch.where(beyond, self.unseen, torch.zeros_like(lengths))


class KERPLE(DistanceBias):
    """A learned kernel per head: -p log(1 + a |i - j|), or -a |i - j| ** p.

    Where the paper's code clamps parameters in each forward pass, here `a` and the logarithm's `p` are the softplus of
    what is trained, and the exponent is twice its sigmoid: positive, below 2, and never without a gradient.

    Chi et al. 2022, https://arxiv.org/abs/2205.09921.

    Args:
        form: see `DistanceBias`.
        kernel: "log" or "power".
    """

    kernels = ("log", "power")

    def __init__(self, config, form: str | None = None, kernel: str = "log"):
        super().__init__(config, form)
        self.is_power = kernel == "power"
        self.raw_p = nn.Parameter(torch.empty(config.num_attention_heads))
        self.raw_a = nn.Parameter(torch.empty(config.num_attention_heads))

    @classmethod
    def check(cls, config, kernel="log", **arguments):
        """The kernel exists."""
        super().check(config, **arguments)
        check_choice(cls, "kernel", kernel, cls.kernels)

    @torch.no_grad()
    def initialise(self):
        """As in the paper's code, p begins uniform in [0, 2] and a in [0, 1], both a hundredth within."""
        p = torch.empty_like(self.raw_p, dtype=torch.float32).uniform_(0.01, 1.99)
        a = torch.empty_like(self.raw_a, dtype=torch.float32).uniform_(0.01, 1)
        init.copy_(self.raw_p, torch.logit(p / 2) if self.is_power else inverse_softplus(p))
        init.copy_(self.raw_a, inverse_softplus(a))

    def kernel(self, lengths, heads):
        """-p log(1 + a |i - j|) or -a |i - j| ** p."""
        a = nn.functional.softplus(self.raw_a)[heads]
        if self.is_power:
            return -a * lengths.abs() ** (2 * torch.sigmoid(self.raw_p)[heads])
        return -nn.functional.softplus(self.raw_p)[heads] * torch.log1p(a * lengths.abs())


def inverse_softplus(values: Tensor) -> Tensor:
    """What softplus maps to `values`, which are positive."""
    return values + torch.log(-torch.expm1(-values))


class Sandwich(DistanceBias):
    """The product of two sinusoidal embeddings, the sum of cos((i - j) w), over 8h / H for head h from 1.

    The frequencies are w = 10000 ** (-2m / width), m from 0, as in the sinusoidal encoding.

    Chi et al. 2023, https://arxiv.org/abs/2212.10356.

    Args:
        form: see `DistanceBias`.
        width: twice the number of frequencies.
    """

    scalar = False  # a cosine per frequency, pair, head and layer would cost more than holding the bias

    def __init__(self, config, form: str | None = None, width: int = 128):
        super().__init__(config, form)
        self.count = config.num_attention_heads
        self.frequencies = [10000 ** (-channel / width) for channel in range(0, width, 2)]

    @classmethod
    def check(cls, config, width=128, **arguments):
        """Sines and cosines come in pairs."""
        super().check(config, **arguments)
        if width < 2 or width % 2:
            raise ValueError(f"{cls.__name__} needs an even width of at least 2, not {width}.")

    def kernel(self, lengths, heads):
        """The sum of cosines, weaker in later heads."""
        # One frequency at a time: all at once would hold them for every pair.
        product = torch.zeros_like(lengths)
        for frequency in self.frequencies:
            product = product + torch.cos(lengths * frequency)
        return product / (8 / self.count * (heads + 1).to(lengths.dtype))
