"""What turns scores into attention weights: softmax, and what lengths ask of it.

B batch   Tq query positions   Tk key positions   H heads   D model width

SPDX-License-Identifier: Apache-2.0
"""

import math

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .position_encoding import Positions
from .precision import at_least_float32
from .registry import check_arguments, check_choice, parse_entry


class Softmax(nn.Module):
    """Softmax, and the base of all others; each attention layer has its own.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    causal_only = False  # has no bidirectional form
    eager_only = False  # overrides weights, which no fused kernel computes
    needs_visible_mask = False  # reads `visible_mask`
    reads_states = False  # its temperature does

    def __init__(self, config):
        super().__init__()

    @classmethod
    def check(cls, config, **arguments):
        """Raises ValueError where the normalizer does not fit the configuration or has no such argument."""
        check_arguments(cls, arguments)
        if cls.causal_only and not config.is_causal:
            raise ValueError(f"{cls.__name__} has no bidirectional form; it needs is_causal=True.")

    def initialise(self):
        """Sets the normalizer's own parameters; modules inside it begin as everywhere in the model."""

    def temperature(self, states: Tensor, positions: Positions) -> Tensor | None:
        """Factor on the product of each query with the keys, not on what an encoding adds `[B, H, Tq, 1]`.

        An encoding's bias is made of the query as it is before the temperature, its scores of the query after it.
        """
        return None

    def weights(self, scores: Tensor, visible_mask: Tensor) -> Tensor:
        """Weights of the keys `[B, H, Tq, Tk]`.

        Args:
            scores: in float32 at least `[B, H, Tq, Tk]`.
            visible_mask: which keys each query sees `[B, 1, Tq, Tk]`; a query that sees none, on padding, may get
                anything finite.
        """
        return scores.masked_fill(~visible_mask, torch.finfo(scores.dtype).min).softmax(dim=-1)


class LogN(Softmax):
    """Softmax of scores that grow with the log of the number of keys, which keeps attention sharp at any length.

    The product of query and key is multiplied by log(n) / log(`length`), where n counts the keys that the query sees,
    padding excluded: by one at the `length` of training.

    Chiang and Cholak 2022, https://arxiv.org/abs/2202.12172.

    Args:
        length: number of keys at which the factor is one.
    """

    needs_visible_mask = True

    def __init__(self, config, length: int = 512):
        super().__init__(config)
        self.length = length

    @classmethod
    def check(cls, config, length=512, **arguments):
        """Logs are taken relative to one above zero."""
        super().check(config, **arguments)
        if length < 2:
            raise ValueError(f"{cls.__name__} needs a length of at least 2, not {length}.")

    def temperature(self, states, positions):
        """log(n) / log(length)."""
        return log_visible(positions.visible_mask, positions.dtype) / math.log(self.length)


class SSMax(Softmax):
    """Scalable softmax: the product of query and key times log(n) and a learned number per head.

    n counts the keys that the query sees, padding excluded; the paper's variant with a bias is left out.

    Nakanishi 2025, https://arxiv.org/abs/2501.19399.
    """

    needs_visible_mask = True

    def __init__(self, config):
        super().__init__(config)
        self.scale = nn.Parameter(torch.empty(config.num_attention_heads))  # s

    @torch.no_grad()
    def initialise(self):
        """s begins at the value of the paper's first figure."""
        init.constant_(self.scale, 0.43)

    def temperature(self, states, positions):
        """s log(n)."""
        return at_least_float32(self.scale)[:, None, None] * log_visible(positions.visible_mask, positions.dtype)


class StickBreaking(Softmax):
    """Each past key, from the nearest on, takes a share of what those nearer have left: sigmoid(score) of it.

    By the paper's definition, a query does not attend to its own key, and what the farthest key leaves is given to
    none: weights sum to less than one, and to zero where there is no past. The last key that a query sees is its own.

    Tan et al. 2025, https://arxiv.org/abs/2410.17980.
    """

    causal_only = True
    eager_only = True

    def weights(self, scores, visible_mask):
        """exp(log sigmoid(s_j) + the sum of log(1 - sigmoid(s_l)) over the keys l between j and the query)."""
        seen_from_here = visible_mask.flip(-1).cumsum(-1).flip(-1)
        past = visible_mask & (seen_from_here > 1)
        left = nn.functional.logsigmoid(-scores).masked_fill(~past, 0.0)
        left = left.flip(-1).cumsum(-1).flip(-1)
        nearer = nn.functional.pad(left, (0, 1))[..., 1:]  # without the key's own
        logs = nn.functional.logsigmoid(scores) + nearer
        return logs.masked_fill(~past, -torch.inf).exp()


class Entmax(Softmax):
    """Alpha-entmax: a softmax that gives keys far below the best a weight of exactly zero.

    Peters et al. 2019, https://arxiv.org/abs/1905.05702.

    Args:
        alpha: 1.5, or 2 for sparsemax: those with a threshold in closed form.
    """

    eager_only = True
    alphas = (1.5, 2)

    def __init__(self, config, alpha: float = 1.5):
        super().__init__(config)
        self.alpha = alpha

    @classmethod
    def check(cls, config, alpha=1.5, **arguments):
        """The threshold has a closed form."""
        super().check(config, **arguments)
        check_choice(cls, "alpha", alpha, cls.alphas)

    def weights(self, scores, visible_mask):
        """max((alpha - 1) s - threshold, 0) ** (1 / (alpha - 1)), which the threshold makes sum to one."""
        scores = scores.masked_fill(~visible_mask, torch.finfo(scores.dtype).min)
        return sparsemax(scores) if self.alpha == 2 else entmax15(scores)


class ASEntmax(Entmax):
    """Alpha-entmax with an adaptive, scalable temperature: 1 + b log(n + 1) ** g.

    n counts the keys that the query sees, padding excluded; b > 0 and g in (-`gamma_range`, `gamma_range`) are
    functions of the query's state, per head. n + 1 is the authors' code: log(1) has no negative powers.

    Vasylenko et al. 2025, https://arxiv.org/abs/2506.16640.

    Args:
        alpha: as in Entmax.
        gamma_range: bound of g.
        scaled_heads: how many heads, the last ones, have the temperature; by default all. With NAPE, where the first
            heads have ALiBi, the authors scale the others alone.
    """

    needs_visible_mask = True
    reads_states = True

    def __init__(self, config, alpha: float = 1.5, gamma_range: float = 2.0, scaled_heads: int | None = None):
        super().__init__(config, alpha)
        self.gamma_range = gamma_range
        scaled_heads = config.num_attention_heads if scaled_heads is None else scaled_heads
        self.fixed_heads = config.num_attention_heads - scaled_heads
        self.beta = nn.Linear(config.hidden_size, scaled_heads, bias=False)
        self.gamma = nn.Linear(config.hidden_size, scaled_heads, bias=False)

    @classmethod
    def check(cls, config, alpha=1.5, gamma_range=2.0, scaled_heads=None, **arguments):
        """The heads exist and the range is one."""
        super().check(config, alpha, **arguments)
        if scaled_heads is not None and not 1 <= scaled_heads <= config.num_attention_heads:
            raise ValueError(
                f"scaled_heads must lie between 1 and num_attention_heads ({config.num_attention_heads}), "
                f"not {scaled_heads}."
            )
        if gamma_range <= 0:
            raise ValueError(f"{cls.__name__} needs a gamma_range above 0, not {gamma_range}.")

    def temperature(self, states, positions):
        """1 + b log(n + 1) ** g on the scaled heads, 1 on the others."""
        beta = nn.functional.softplus(at_least_float32(self.beta(states))).mT[..., None]  # [B, scaled, Tq, 1]
        gamma = self.gamma_range * at_least_float32(self.gamma(states)).tanh().mT[..., None]
        scaled = 1 + beta * log_visible(positions.visible_mask, positions.dtype, more=1) ** gamma
        fixed = scaled.new_ones(scaled.shape[0], self.fixed_heads, *scaled.shape[2:])
        return torch.cat([fixed, scaled], dim=1)


def log_visible(visible_mask: Tensor, dtype: torch.dtype, more: int = 0) -> Tensor:
    """log(n + more), where n counts the keys that each query sees, at least one `[B, 1, Tq, 1]`."""
    return torch.log(visible_mask.sum(-1, keepdim=True).clamp(min=1).to(dtype) + more)


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex nearest to the scores, along the last dimension.

    Martins and Astudillo 2016, https://arxiv.org/abs/1602.02068.
    """
    scores = (scores - scores.detach().amax(-1, keepdim=True)).clamp(min=-1)  # that low, none gets any weight
    with torch.no_grad():
        ordered = scores.sort(-1, descending=True).values
        ranks = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
        size = (1 + ranks * ordered > ordered.cumsum(-1)).sum(-1, keepdim=True)
        support = (scores >= ordered.gather(-1, size - 1)) & (scores > -1)
    count = support.sum(-1, keepdim=True)
    threshold = ((scores * support).sum(-1, keepdim=True) - 1) / count
    return (scores - threshold).clamp(min=0) * support


def entmax15(scores: Tensor) -> Tensor:
    """Entmax with alpha 1.5, along the last dimension.

    On a support of k scores x (halved) the threshold t solves sum (x - t)^2 = 1: with their mean m and their sum of
    squared deviations v, t = m - sqrt((1 - v) / k). The support is the largest whose least score is above t.

    Peters et al. 2019, https://arxiv.org/abs/1905.05702.
    """
    scores = ((scores - scores.detach().amax(-1, keepdim=True)) / 2).clamp(min=-1)  # that low, none gets any weight
    with torch.no_grad():
        ordered = scores.sort(-1, descending=True).values
        ranks = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
        mean = ordered.cumsum(-1) / ranks
        spread = ordered.square().cumsum(-1) - ranks * mean.square()
        thresholds = mean - ((1 - spread) / ranks).clamp(min=0).sqrt()
        size = (ordered > thresholds).sum(-1, keepdim=True)
        support = (scores >= ordered.gather(-1, size - 1)) & (scores > -1)
    count = support.sum(-1, keepdim=True)
    mean = (scores * support).sum(-1, keepdim=True) / count
    spread = ((scores - mean).square() * support).sum(-1, keepdim=True)
    # The exact root is at least 1 / k: rounding must not make it less, let alone the root of a negative number.
    threshold = mean - ((1 - spread) / count).clamp(min=count.to(scores.dtype) ** -2).sqrt()
    return (scores - threshold).clamp(min=0).square() * support


NORMALIZERS: dict[str, type[Softmax]] = {
    "softmax": Softmax,
    "log_n": LogN,
    "ssmax": SSMax,
    "stick_breaking": StickBreaking,
    "entmax": Entmax,
    "as_entmax": ASEntmax,
}


def parse_normalizer(entry: str | dict) -> tuple[type[Softmax], dict]:
    """Class and arguments of a configuration's entry; ValueError names what is wrong."""
    return parse_entry(entry, NORMALIZERS, "attention normalizer")
