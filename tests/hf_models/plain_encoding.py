"""The plain form of a position encoding: one sequence, one query at a time, read off the formulas of its paper.

Every encoding of the registry has a subclass, named in `plain_encodings.PLAIN_ENCODINGS`, and one suite compares the
two, forward and gradient. A plain form reads the parameters of the module that it explains and shares no code with
it.

T positions   H heads   K head width   D model width
"""

import math

import torch
from torch import Tensor


class PlainEncoding:
    """No encoding, and the base of all others.

    Args:
        encoding: the module whose parameters are read.
        config: the model's configuration.
    """

    def __init__(self, encoding, config):
        self.encoding, self.config = encoding, config

    def embed(self, states: Tensor, ids: list[int]) -> Tensor:
        """The states that enter the first layer `[T, D]`."""
        return states

    def turn_query(self, query: Tensor, position: int, head: int) -> Tensor:
        """One query `[K]` of one head."""
        return query

    def turn_key(self, key: Tensor, position: int, head: int) -> Tensor:
        """One key `[K]` of one head."""
        return key

    def bias(self, head: int, query_id: int, key_id: int) -> Tensor | float:
        """What a score gains by the ids alone."""
        return 0.0

    def scores(self, i: int, visible_mask: list[int], positions: "Sequence") -> Tensor:
        """Scores of query i with the keys it sees `[H, len(visible_mask)]`."""
        rows = []
        for head in range(len(positions.query)):
            products = [
                positions.query[head, i] @ positions.key[head, j] / math.sqrt(positions.width) for j in visible_mask
            ]
            biases = [self.bias(head, positions.ids[i], positions.ids[j]) for j in visible_mask]
            rows.append(torch.stack([product + bias for product, bias in zip(products, biases, strict=True)]))
        return torch.stack(rows)

    def value(self, i: int, visible_mask: list[int], weights: Tensor, positions: "Sequence") -> Tensor | float:
        """What the outputs of query i gain `[H, K]`; weights are `[H, len(visible_mask)]`."""
        return 0.0


class Sequence:
    """One sequence in one layer.

    Attributes:
        ids: position id of each token.
        states: what enters the layer's projections `[T, D]`.
        query: turned queries `[H, T, K]`.
        key: turned keys `[H, T, K]`.
        unscaled: the turned queries before any temperature `[H, T, K]`.
        width: K, whatever turning makes of it.
    """

    def __init__(self, ids, states, query, key, unscaled, width):
        self.ids, self.states, self.query, self.key = ids, states, query, key
        self.unscaled, self.width = unscaled, width


class PlainNormalizer:
    """Softmax, and the base of all others."""

    def __init__(self, normalizer, config):
        self.normalizer, self.config = normalizer, config

    def temperature(self, head: int, state: Tensor, visible_mask: list[int]) -> Tensor | float:
        """Factor on the product of a query, of which `state` is the state `[D]`, with its keys."""
        return 1.0

    def weights(self, scores: Tensor, i: int, visible_mask: list[int]) -> Tensor:
        """Weights of one head and query `[len(visible_mask)]`."""
        return torch.exp(scores) / torch.exp(scores).sum()


def visible_keys(i: int, length: int, causal: bool, window: int | None = None) -> list[int]:
    """The keys that query i sees."""
    if window is None:
        window = length + 1
    return [j for j in range(length) if (i - window < j <= i if causal else abs(i - j) <= window)]


def plain_attention(
    states: Tensor, module, plain: PlainEncoding, normalizer: PlainNormalizer, ids: list[int], window=None
) -> Tensor:
    """An attention layer over one sequence `[T, D]`."""
    width, length, causal = module.head_dim, len(states), module.is_causal
    heads = states.shape[-1] // width
    query, key, value = (
        (states @ weight.T).view(length, heads, width).transpose(0, 1) for weight in module.qkv_proj.weight.chunk(3)
    )  # [H, T, K]
    query = torch.stack(
        [torch.stack([plain.turn_query(query[h, t], ids[t], h) for t in range(length)]) for h in range(heads)]
    )
    key = torch.stack(
        [torch.stack([plain.turn_key(key[h, t], ids[t], h) for t in range(length)]) for h in range(heads)]
    )
    seen = [visible_keys(i, length, causal, window) for i in range(length)]
    warm = torch.stack(
        [
            torch.stack([query[h, t] * normalizer.temperature(h, states[t], seen[t]) for t in range(length)])
            for h in range(heads)
        ]
    )
    positions = Sequence(ids, states, warm, key, query, width)
    outputs = []
    for i in range(length):
        scores = plain.scores(i, seen[i], positions)
        weights = torch.stack([normalizer.weights(scores[h], i, seen[i]) for h in range(heads)])
        mixed = torch.stack([sum(weights[h, n] * value[h, j] for n, j in enumerate(seen[i])) for h in range(heads)])
        outputs.append((mixed + plain.value(i, seen[i], weights, positions)).flatten())
    return torch.stack(outputs) @ module.o_proj.weight.T
