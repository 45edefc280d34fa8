"""Plain forms of the encodings that add to the scores what the ids alone say."""

import math

import torch

from tests.hf_models import references
from tests.hf_models.plain_encoding import PlainEncoding


def length(query_id: int, key_id: int, form: str) -> float:
    """What a distance counts as: itself, its size, or its size less half a step where the key is in the past."""
    if form == "causal":
        return query_id - key_id
    given_back = 0.5 if form == "directional" and key_id < query_id else 0.0
    return abs(query_id - key_id) - given_back


def softplus(value: torch.Tensor) -> torch.Tensor:
    """log(1 + e^x)."""
    return torch.log(1 + torch.exp(value))


class PlainALiBi(PlainEncoding):
    """Press et al. 2022."""

    def bias(self, head, query_id, key_id):
        if self.encoding.slopes is not None:
            return -self.encoding.slopes[head] * length(query_id, key_id, self.encoding.form)
        slope = references.alibi_slopes(self.config.num_attention_heads)[head]
        return references.alibi(slope, query_id, key_id, self.encoding.form)


class PlainHardALiBi(PlainEncoding):
    """Jelassi et al. 2024, section 3.1: head h, from 1, of the first M sees the last h tokens."""

    def bias(self, head, query_id, key_id):
        windowed = head + 1 <= self.encoding.masked_heads
        return -math.inf if windowed and abs(query_id - key_id) >= head + 1 else 0.0


class PlainNAPE(PlainEncoding):
    """Vasylenko et al. 2025: ALiBi with slope 1 / h in some heads, nothing in the others."""

    def bias(self, head, query_id, key_id):
        if head >= self.encoding.alibi_heads:
            return 0.0
        return -length(query_id, key_id, self.encoding.form) / (head + 1)


class PlainKERPLE(PlainEncoding):
    """Chi et al. 2022, section 4."""

    def bias(self, head, query_id, key_id):
        distance = abs(length(query_id, key_id, self.encoding.form))
        a = softplus(self.encoding.raw_a[head])
        if self.encoding.is_power:
            return -a * distance ** (2 / (1 + torch.exp(-self.encoding.raw_p[head])))
        return -softplus(self.encoding.raw_p[head]) * torch.log(1 + a * distance)


class PlainSandwich(PlainEncoding):
    """Chi et al. 2023, section 5: the product of the sinusoids of two positions, by head."""

    def bias(self, head, query_id, key_id):
        width, distance = 2 * len(self.encoding.frequencies), length(query_id, key_id, self.encoding.form)
        product = sum(math.cos(distance / 10000 ** (2 * m / width)) for m in range(width // 2))
        return product / (8 * (head + 1) / self.config.num_attention_heads)


class PlainT5(PlainEncoding):
    """Raffel et al. 2020."""

    def bias(self, head, query_id, key_id):
        return self.encoding.table.weight[references.t5_bucket(query_id, key_id, self.config.is_causal), head]


class PlainFIRE(PlainEncoding):
    """Li et al. 2024, section 3, with the sign of the distance."""

    def bias(self, head, query_id, key_id):
        e = self.encoding

        def psi(x):
            return torch.log((e.scale * x).abs() + 1)

        sign = 1 if key_id <= query_id else -1
        farthest = torch.maximum((e.threshold_factor * e.threshold).abs(), torch.tensor(float(max(query_id, key_id))))
        share = sign * psi(abs(query_id - key_id)) / psi(farthest)
        hidden = (e.network[0].weight[:, 0] * share + e.network[0].bias).clamp(min=0)
        return e.network[2].weight[head] @ hidden + e.network[2].bias[head]
