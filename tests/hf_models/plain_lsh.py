"""LSH attention as the Reformer's paper says it: one sequence and head, one query at a time.

S tokens   K head width   R rounds
"""

import math

import torch
from torch import Tensor


class PlainLSH:
    """LSH attention of one head.

    Args:
        axes: of each factor, what is hashed by in every round `[R, K, columns]`.
        factors: how many buckets each factor makes.
        chunk: tokens per chunk.
        before: chunks seen before one's own.
        after: chunks seen after it.
        causal: whether only the past is seen.
        across: whether other buckets are seen.
        deduplicate: whether a key met several times counts once.
        circular: whether the chunks of all rounds form a circle.
        bias: what the score of (query, key) gains.
    """

    def __init__(self, axes, factors, chunk, before, after, causal, across, deduplicate, circular, bias):  # noqa: PLR0913
        self.axes, self.factors, self.chunk, self.before, self.after = axes, factors, chunk, before, after
        self.causal, self.across, self.deduplicate, self.circular = causal, across, deduplicate, circular
        self.bias = bias

    def bucket(self, vector: Tensor, round_: int) -> int:
        """The bucket of a vector, its first factor counting singly."""
        bucket, below = 0, 1
        for axes, factor in zip(self.axes, self.factors, strict=True):
            products = [float(vector.detach() @ axis) for axis in axes[round_].T[: factor // 2]]
            both = [*products, *(-product for product in products)]
            bucket += below * both.index(max(both))
            below *= factor
        return bucket

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Outputs `[S, K]`; the query is not scaled."""
        length = len(query)
        if length <= self.chunk:
            windows = {i: [[(0, j) for j in range(length)]] for i in range(length)}
            buckets = [[0] * length]
        else:
            rounds = len(self.axes[0])
            buckets = [[self.bucket(vector, round_) for vector in key] for round_ in range(rounds)]
            windows = self.windows(buckets, length)
        return torch.stack([self.output(i, windows[i], buckets, query, key, value) for i in range(length)])

    def windows(self, buckets: list[list[int]], length: int) -> dict:
        """For each token its window in every round: pairs of a round and a token."""
        lists = []
        for round_, own in enumerate(buckets):
            order = sorted(range(length), key=lambda token, own=own: (own[token], token))
            entries = [(round_, token) for token in order]
            entries += [None] * (-length % self.chunk)
            lists.append([entries[start : start + self.chunk] for start in range(0, len(entries), self.chunk)])
        if self.circular:
            lists = [[chunk for chunks in lists for chunk in chunks]]
        windows = {token: [] for token in range(length)}
        for chunks in lists:
            for place, chunk in enumerate(chunks):
                places = range(place - self.before, place + self.after + 1)
                if self.circular:
                    places = [other % len(chunks) for other in places]
                window = [entry for other in places if 0 <= other < len(chunks) for entry in chunks[other] if entry]
                for entry in chunk:
                    if entry:
                        windows[entry[1]].append((entry[0], window))
        return {token: [window for _, window in sorted(found)] for token, found in windows.items()}

    def output(self, i, windows, buckets, query, key, value) -> Tensor:
        """The output of one query `[K]`."""
        seen = []
        for round_, window in enumerate(windows):
            keys = [(other, j) for other, j in window if (j < i if self.causal else j != i)]
            if not self.across:
                keys = [(other, j) for other, j in keys if other == round_ and buckets[other][j] == buckets[round_][i]]
            seen.append([j for _, j in keys])
        times = [j for keys in seen for j in keys]
        outputs, totals = [], []
        for keys in seen:
            if not keys:
                outputs.append(value[i])
                totals.append(None)
                continue
            scores = []
            for j in keys:
                score = query[i] @ key[j] / math.sqrt(len(query[i])) + self.bias(i, j)
                scores.append(score - math.log(times.count(j)) if self.deduplicate else score)
            scores = torch.stack(scores)
            weights = torch.exp(scores) / torch.exp(scores).sum()
            outputs.append(sum(weight * value[j] for weight, j in zip(weights, keys, strict=True)))
            totals.append(torch.exp(scores).sum())
        if all(total is None for total in totals):
            return value[i]
        counted = [(out, total) for out, total in zip(outputs, totals, strict=True) if total is not None]
        return sum(out * total for out, total in counted) / sum(total for _, total in counted)
