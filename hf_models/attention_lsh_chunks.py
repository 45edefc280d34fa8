"""Attention within chunks of tokens and their neighbours, computed a few chunks at a time.

M chunks   C queries of a chunk   W keys that they look at   D width of a query or value   R rounds

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .precision import at_least_float32


# Scores held at once: on a CPU what fits its cache, elsewhere what is enough to be busy.
CPU_SCORES = 2**18
OTHER_SCORES = 2**27


@dataclass
class Meetings:
    """In how many rounds a query meets a key.

    Attributes:
        before: chunks that are looked at before one's own.
        after: chunks after it.
        circle: number of chunks of all rounds, where they form one circle; else None.
        query: chunk of each query in every round `[M, C, R]`.
        key: chunk of each key in every round `[M, W, R]`.
        buckets: bucket of each query `[M, C, R]` and key `[M, W, R]` in every round, where only one's own is seen.
    """

    before: int
    after: int
    circle: int | None
    query: Tensor
    key: Tensor
    buckets: tuple[Tensor, Tensor] | None = None

    def count(self, part: slice) -> Tensor:
        """How often each pair of these chunks meets `[M', C, W]`."""
        rounds = range(self.query.shape[-1])
        total = torch.zeros((), dtype=torch.uint8, device=self.query.device)
        for first in rounds:
            for second in rounds if self.circle and self.buckets is None else (first,):
                met = self.met(self.key[part, None, :, second] - self.query[part, :, None, first])
                if self.buckets is not None:
                    query, key = self.buckets
                    met = met * (key[part, None, :, first] == query[part, :, None, first])
                total = total + met
        return total

    def met(self, distance: Tensor) -> Tensor:
        """How often a chunk at this distance is looked at."""
        if self.circle is None:
            # Twice the distance from the middle of what is looked at.
            distance = distance.mul_(2).add_(self.before - self.after).abs_()
            return (distance <= self.before + self.after).view(torch.uint8)
        looks = [((distance - offset) % self.circle == 0).byte() for offset in range(-self.before, self.after + 1)]
        return sum(looks[1:], looks[0])


@dataclass
class Sight:
    """Which keys of its window a query sees: never itself, unless there is nothing else.

    Attributes:
        query: place of each query in its sequence `[M, C]`.
        key: place of each key `[M, W]`; `nowhere` or more for what is not there.
        nowhere: the first place that no token has.
        is_causal: whether only earlier places are seen.
        buckets: bucket of each query `[M, C]` and key `[M, W]`, where only one's own is seen; else None.
        meetings: where a key that is met in several rounds counts once; else None.
    """

    query: Tensor
    key: Tensor
    nowhere: int
    is_causal: bool
    buckets: tuple[Tensor, Tensor] | None = None
    meetings: Meetings | None = None

    def __post_init__(self):
        self.alone = self.find_alone()
        if self.is_causal:
            self.bound = self.query + self.alone.long()  # keys from here on are hidden
        else:
            self.bound = self.query.masked_fill(self.alone, -1)  # the key at this place is hidden

    def find_alone(self) -> Tensor:
        """Which queries see nothing but themselves `[M, C]`."""
        if self.buckets is not None:
            self.bound = self.query
            return self.hidden(slice(None)).all(-1)
        first = self.key.amin(-1, keepdim=True)
        if self.is_causal:
            return first >= self.query
        last = self.key.masked_fill(self.key >= self.nowhere, -1).amax(-1, keepdim=True)
        return (first >= self.query) & (last <= self.query)

    def hidden(self, part: slice) -> Tensor:
        """Which keys each query of these chunks does not see `[M', C, W]`."""
        key, bound = self.key[part, None, :], self.bound[part, :, None]
        hidden = key >= bound if self.is_causal else (key == bound) | (key >= self.nowhere)
        if self.buckets is not None:
            query, key = self.buckets
            hidden |= key[part, None, :] != query[part, :, None]
        return hidden

    def scores(self, query: Tensor, key: Tensor, bias: Tensor | None, part: slice) -> Tensor:
        """Scores of these chunks, nothing seen being the lowest number there is `[M', C, W]`."""
        scores = at_least_float32(torch.bmm(query[part], key[part].mT))
        if bias is not None:
            scores += bias[part]
        if self.meetings is not None:
            scores -= self.meetings.count(part).clamp(min=1).to(scores.dtype).log_()
        return scores.masked_fill_(self.hidden(part), torch.finfo(scores.dtype).min)


def windows(chunks: Tensor, reach: int) -> Tensor:
    """Each chunk with the `reach - 1` that follow it `[M, reach * C, D]`, a view of chunks `[M + reach - 1, C, D]`."""
    if reach == 1:
        return chunks
    size = chunks.shape[1]
    return chunks.flatten(0, 1).unfold(0, reach * size, size).mT


def parts(count: int, scores: int, device: torch.device) -> list[slice]:
    """`count` chunks with so many scores each, cut into what is computed at once."""
    size = max(1, (CPU_SCORES if device.type == "cpu" else OTHER_SCORES) // scores)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


class ChunkAttention(torch.autograd.Function):
    """Softmax attention of each chunk of queries to its window of keys.

    The scores are computed anew in the backward pass, so that none are kept.

    Args:
        query: scaled `[M, C, D]`.
        key: `[M + n, C', D]`: chunk m looks at key chunks m to m + n.
        value: `[M + n, C', D']`.
        bias: added to the scores `[M, C, W]`, or None.
        sight: what is seen.
        dropout: probability that a weight is dropped.

    Returns:
        Outputs `[M, C, D']`, and the logarithm of the sum of the exponentials of each query's scores `[M, C]`.
    """

    @staticmethod
    def forward(ctx, query, key, value, bias, sight, dropout):
        """Outputs and totals, some chunks at a time."""
        reach = len(key) - len(query) + 1
        keys, values = windows(key, reach), windows(value, reach)
        output = query.new_empty(*query.shape[:2], value.shape[-1])
        totals = at_least_float32(query.new_empty(query.shape[:2]))
        kept = None
        if dropout > 0:
            kept = torch.rand(*query.shape[:2], keys.shape[1], dtype=totals.dtype, device=query.device) >= dropout
        with torch.autocast(query.device.type, enabled=False):
            for part in parts(len(query), query.shape[1] * keys.shape[1], query.device):
                scores = sight.scores(query, keys, bias, part)
                highest = scores.amax(-1)
                weights = scores.softmax(-1)
                totals[part] = highest - weights.amax(-1).log()
                if kept is not None:
                    weights = weights * kept[part] / (1 - dropout)
                torch.bmm(weights.to(value.dtype), values[part], out=output[part])
        ctx.save_for_backward(query, key, value, bias, output, kept)
        ctx.sight, ctx.dropout = sight, dropout
        return output, totals

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output, grad_totals):
        """Gradients of query, key, value and bias."""
        query, key, value, bias, output, kept = ctx.saved_tensors
        reach, size = len(key) - len(query) + 1, key.shape[1]
        keys, values = windows(key, reach), windows(value, reach)
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        grad_bias = torch.empty_like(bias) if ctx.needs_input_grad[3] else None
        with torch.autocast(query.device.type, enabled=False):
            for part in parts(len(query), query.shape[1] * keys.shape[1], query.device):
                upstream = grad_output[part]
                weights = ctx.sight.scores(query, keys, bias, part).softmax(-1)
                grad = at_least_float32(torch.bmm(upstream, values[part].mT))
                dropped = weights
                if kept is not None:
                    keep = kept[part] / (1 - ctx.dropout)
                    dropped, grad = weights * keep, grad * keep
                common = at_least_float32(upstream * output[part]).sum(-1) - grad_totals[part]
                grad = grad.sub_(common[..., None]).mul_(weights)
                if grad_bias is not None:
                    grad_bias[part] = grad
                dropped, grad = dropped.to(value.dtype), grad.to(query.dtype)
                torch.bmm(grad, keys[part], out=grad_query[part])
                for offset in range(reach):
                    looked_at = slice(part.start + offset, part.stop + offset)
                    columns = slice(offset * size, (offset + 1) * size)
                    grad_key[looked_at].baddbmm_(grad[:, :, columns].mT, query[part])
                    grad_value[looked_at].baddbmm_(dropped[:, :, columns].mT, upstream)
        return grad_query, grad_key, grad_value, grad_bias, None, None


class Reorder(torch.autograd.Function):
    """Rows in another order, each of them once per round or more, without sums over scattered rows when going back.

    Args:
        rows: `[N, D]`.
        index: the row at each place of the result `[N']`.
        places: where each row is found in the result, once per round `[N, R]`.
        extra: places of the result that hold a row once more, and the rows that they hold; or None.

    Returns:
        `[N', D]`; places that neither `places` nor `extra` name pass no gradient.
    """

    @staticmethod
    def forward(ctx, rows, index, places, extra):
        """Rows by their index."""
        ctx.places, ctx.extra = places, extra
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx, *grads):
        """Sums what the places of each row receive."""
        (grad,) = grads
        rows = grad.index_select(0, ctx.places.flatten())
        if ctx.places.shape[1] > 1:
            rows = rows.view(*ctx.places.shape, -1).sum(1)
        if ctx.extra is not None:
            places, of_row = ctx.extra
            rows = rows.index_add(0, of_row, grad.index_select(0, places))
        return rows, None, None, None
