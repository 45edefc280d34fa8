"""Plain forms of what turns scores into weights."""

import math

import torch

from tests.hf_models.plain_encoding import PlainNormalizer


class PlainLogN(PlainNormalizer):
    """Chiang and Cholak 2022, with the logarithm to the base `length`."""

    def temperature(self, head, state, visible_mask):
        return math.log(len(visible_mask), self.normalizer.length)


class PlainSSMax(PlainNormalizer):
    """Nakanishi 2025: powers of n ** s in place of e."""

    def temperature(self, head, state, visible_mask):
        return self.normalizer.scale[head] * math.log(len(visible_mask))


class PlainStickBreaking(PlainNormalizer):
    """Tan et al. 2025: a stick is broken from the nearest key on."""

    def weights(self, scores, i, visible_mask):
        left, weights = torch.ones(()), [torch.zeros(())] * len(visible_mask)
        for n in reversed(range(len(visible_mask))):
            if visible_mask[n] < i:
                share = 1 / (1 + torch.exp(-scores[n]))
                weights[n] = share * left
                left = left * (1 - share)
        return torch.stack(weights) + 0 * scores


class PlainEntmax(PlainNormalizer):
    """Peters et al. 2019: the threshold by bisection."""

    def weights(self, scores, i, visible_mask):
        return Bisected.apply(scores, self.normalizer.alpha)


class PlainASEntmax(PlainEntmax):
    """Vasylenko et al. 2025: delta 1, beta and gamma functions of the state."""

    def temperature(self, head, state, visible_mask):
        n = self.normalizer
        unit = head - n.fixed_heads
        if unit < 0:
            return 1.0
        beta = torch.log(1 + torch.exp(n.beta.weight[unit] @ state))
        gamma = n.gamma_range * torch.tanh(n.gamma.weight[unit] @ state)
        return 1 + beta * math.log(len(visible_mask) + 1) ** gamma


class Bisected(torch.autograd.Function):
    """Entmax of a vector, in double precision, with the Jacobian diag(s) - s s' / sum(s), s = p ** (2 - alpha)."""

    @staticmethod
    def forward(ctx, scores, alpha):
        x = [(alpha - 1) * score for score in scores.double().tolist()]

        def weights(threshold):
            return [max(value - threshold, 0) ** (1 / (alpha - 1)) for value in x]

        low, high = max(x) - 1, max(x)
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if sum(weights(middle)) >= 1 else (low, middle)
        chosen = torch.tensor(weights(low), dtype=torch.float64)
        ctx.save_for_backward(chosen)
        ctx.alpha = alpha
        return chosen.to(scores.dtype)

    @staticmethod
    def backward(ctx, *upstream):
        (weights,) = ctx.saved_tensors
        slopes = torch.where(weights > 0, weights ** (2 - ctx.alpha), 0.0)
        mean = (slopes * upstream[0].double()).sum() / slopes.sum()
        return (slopes * (upstream[0].double() - mean)).to(upstream[0].dtype), None
