"""Plain forms of the encodings whose part of a score depends on what the tokens say."""

import math

import torch

from tests.hf_models.plain_encoding import PlainEncoding


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


class PlainScores(PlainEncoding):
    """An encoding that is read off one score at a time."""

    def score(self, h, i, j, visible_mask, positions):
        """Score of query i with key j in head h."""
        return positions.query[h, i] @ positions.key[h, j] / math.sqrt(positions.width) + self.content_bias(
            h, i, j, visible_mask, positions
        )

    def content_bias(self, h, i, j, visible_mask, positions):
        """What that score gains."""
        raise NotImplementedError

    def scores(self, i, visible_mask, positions):
        heads = range(self.config.num_attention_heads)
        return torch.stack(
            [torch.stack([self.score(h, i, j, visible_mask, positions) for j in visible_mask]) for h in heads]
        )


class PlainShaw(PlainScores):
    """Shaw et al. 2018, equation 4: e_ij = x_i W^Q (x_j W^K + a^K_ij)' / sqrt(d)."""

    def row(self, i, j, positions):
        farthest = self.encoding.max_distance
        distance = max(-farthest, min(farthest, positions.ids[i] - positions.ids[j]))
        return distance if self.config.is_causal else distance + farthest

    def content_bias(self, h, i, j, visible_mask, positions):
        return (
            positions.unscaled[h, i]
            @ self.encoding.keys.weight[self.row(i, j, positions)]
            / math.sqrt(positions.width)
        )


class PlainShawValues(PlainShaw):
    """Shaw et al. 2018, equation 3: z_i = sum_j alpha_ij (x_j W^V + a^V_ij)."""

    def value(self, i, visible_mask, weights, positions):
        vectors = [self.encoding.added_values.weight[self.row(i, j, positions)] for j in visible_mask]
        return torch.stack([sum(w * v for w, v in zip(row, vectors, strict=True)) for row in weights])


class PlainTransformerXL(PlainScores):
    """Dai et al. 2019, section 3.3: terms a (the product itself), b, c and d."""

    def sinusoid(self, distance):
        width = self.config.hidden_size
        angles = [distance / 10000 ** (2 * m / width) for m in range(width // 2)]
        return torch.tensor([value for angle in angles for value in (math.sin(angle), math.cos(angle))])

    def content_bias(self, h, i, j, visible_mask, positions):
        e, query = self.encoding, positions.unscaled[h, i]
        projected = e.projection.weight @ self.sinusoid(positions.ids[i] - positions.ids[j])
        relative = projected.view(self.config.num_attention_heads, positions.width)[h]
        terms = query @ relative + e.key_preference[h] @ positions.key[h, j] + e.distance_preference[h] @ relative
        return terms / math.sqrt(positions.width)


class PlainCoPE(PlainScores):
    """Golovneva et al. 2024; keys to come are counted the other way, with vectors of their own."""

    def content_bias(self, h, i, j, visible_mask, positions):
        query, last = positions.unscaled[h, i], self.encoding.positions - 1
        between = [t for t in visible_mask if (j <= t <= i or i <= t <= j)]
        counted = sum(sigmoid(query @ positions.key[h, t] / math.sqrt(positions.width)) for t in between)
        counted = torch.minimum(counted, torch.tensor(float(last)))
        side = 0 if j <= i else last + 1
        products = self.encoding.vectors @ query
        low, high = math.floor(counted.item()), math.ceil(counted.item())
        share = counted - low
        return share * products[side + high] + (1 - share) * products[side + low]


class PlainFoX(PlainScores):
    """Lin et al. 2025: log f_{j+1} + ... + log f_i; keys to come as in the reversed sequence."""

    def content_bias(self, h, i, j, visible_mask, positions):
        gates = sigmoid(self.encoding.gate(positions.states))
        sides = 1 if self.config.is_causal else 2
        between, side = (range(j + 1, i + 1), 0) if j <= i else (range(i, j), 1)
        product = torch.ones(())
        for token in between:
            product = product * gates[token, h * sides + side]
        return torch.log(product)


class PlainDAPE(PlainEncoding):
    """Zheng et al. 2024: s + b + f(s, b), by loops over the network's units."""

    def base_bias(self, h, i, j, positions):
        from tests.hf_models.plain_encodings import PLAIN_ENCODINGS

        name = type(self.encoding.base).__name__.lower()
        return PLAIN_ENCODINGS[name](self.encoding.base, self.config).bias(h, positions.ids[i], positions.ids[j])

    def scores(self, i, visible_mask, positions):
        heads, columns = range(self.config.num_attention_heads), []
        first, _, last = self.encoding.network
        for j in visible_mask:
            products = [positions.query[h, i] @ positions.key[h, j] / math.sqrt(positions.width) for h in heads]
            biases = [torch.as_tensor(self.base_bias(h, i, j, positions)) for h in heads]
            seen = torch.stack(products + biases)
            hidden = first.weight @ seen + first.bias
            hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
            corrections = last.weight @ hidden + last.bias
            columns.append(torch.stack([products[h] + biases[h] + corrections[h] for h in heads]))
        return torch.stack(columns, dim=1)


class PlainPaTH(PlainScores):
    """Yang et al. 2025: matrices multiplied one by one."""

    def reflection(self, h, t, positions):
        e = self.encoding
        projected = [
            (e.project[1].weight @ (e.project[0].weight @ state)).view(self.config.num_attention_heads, -1)[h]
            for state in positions.states
        ]
        size = len(e.kernel)
        taps = [(t - size + 1 + n, e.kernel[n, h]) for n in range(size)]
        mixed = sum(tap * projected[token] for token, tap in taps if token >= 0)
        mixed = mixed * sigmoid(mixed)
        vector = mixed / mixed.norm()
        strength = 2 * sigmoid(e.strength.weight[h] @ positions.states[t] + e.strength.bias[h])
        return torch.eye(positions.width) - strength * torch.outer(vector, vector)

    def score(self, h, i, j, visible_mask, positions):
        key = positions.key[h, j]
        for t in range(j + 1, i + 1):
            key = self.reflection(h, t, positions) @ key
        return positions.query[h, i] @ key / math.sqrt(positions.width)
