"""Plain implementations that read like the formulas: loops over heads, queries and keys, one position at a time.

Ids of one sequence are a list of ints; tensors have no batch dimension unless said.
"""

import math

import torch
from torch import Tensor


def sinusoid(position: int, width: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5."""
    vector = torch.zeros(width)
    for m in range(width // 2):
        vector[2 * m] = math.sin(position / 10000 ** (2 * m / width))
        vector[2 * m + 1] = math.cos(position / 10000 ** (2 * m / width))
    return vector


def coordinate(position: int, time: int, width: int) -> Tensor:
    """Dehghani et al. 2019, section 2.1: position and step from 1."""
    vector = torch.zeros(width)
    for m in range(width // 2):
        frequency = 10000 ** (2 * m / width)
        vector[2 * m] = math.sin(position / frequency) + math.sin(time / frequency)
        vector[2 * m + 1] = math.cos(position / frequency) + math.cos(time / frequency)
    return vector


def rotate(states: Tensor, ids: list[int], base: float = 10000.0) -> Tensor:
    """RoPE of `[T, K]` as a product of complex numbers; channel m is paired with m + K / 2."""
    width = states.shape[-1]
    rows = []
    for state, position in zip(states, ids, strict=True):
        pairs = torch.complex(state[: width // 2], state[width // 2 :])
        angles = torch.tensor([position * base ** (-2 * m / width) for m in range(width // 2)])
        rotated = pairs * torch.polar(torch.ones_like(angles), angles)
        rows.append(torch.cat([rotated.real, rotated.imag]))
    return torch.stack(rows)


def alibi_slopes(heads: int) -> list[float]:
    """Press et al. 2022: the geometric sequence, completed from that of twice as many heads."""
    if heads & (heads - 1) == 0:
        start = 2 ** (-8 / heads)
        return [start ** (head + 1) for head in range(heads)]
    power = 1 << (heads.bit_length() - 1)
    return alibi_slopes(power) + alibi_slopes(2 * power)[::2][: heads - power]


def alibi(slope: float, query: int, key: int, form: str) -> float:
    """One score's bias."""
    if form == "causal":
        return -slope * (query - key)
    if form == "symmetric":
        return -slope * abs(query - key)
    return slope * (-abs(query - key) + (0.5 if key < query else 0.0))


def t5_bucket(query: int, key: int, causal: bool, buckets: int = 32, max_distance: int = 128) -> int:
    """Raffel et al. 2020, in whole numbers: bucket b begins where d/single reaches (max/single) ** (b/logarithmic)."""
    side = buckets if causal else buckets // 2
    offset = side if not causal and key > query else 0
    distance = max(query - key, 0) if causal else abs(query - key)
    single = side // 2
    if distance < single:
        return offset + distance
    logarithmic, bucket = side - single, 0
    while bucket < logarithmic - 1 and distance**logarithmic * single ** (
        bucket + 1
    ) >= single**logarithmic * max_distance ** (bucket + 1):
        bucket += 1
    return offset + single + bucket


def fire(network, scale: Tensor, threshold: Tensor, query: int, key: int) -> Tensor:
    """Li et al. 2024, section 3, with the sign of the distance; `[H]`."""

    def psi(x):
        return torch.log((scale * x).abs() + 1)

    sign = 1 if key <= query else -1
    normaliser = psi(torch.maximum(threshold.abs(), torch.tensor(float(max(query, key)))))
    hidden = network[0].weight[:, 0] * (sign * psi(abs(query - key)) / normaliser) + network[0].bias
    return network[2].weight @ hidden.clamp(min=0) + network[2].bias


def attention(query: Tensor, key: Tensor, value: Tensor, bias, causal: bool, token_mask=None) -> tuple[Tensor, Tensor]:
    """Attention of one head, query by query: `[T, K]` to outputs `[T, K]` and weights `[T, T]`.

    `bias(i, j)` is added to a score; `token_mask[j]` says whether a key is no padding.
    """
    length, width = query.shape
    outputs, weights = [], []
    for i in range(length):
        visible_mask = [j for j in range(length) if (j <= i or not causal) and (token_mask is None or token_mask[j])]
        scores = torch.stack([query[i] @ key[j] / math.sqrt(width) + bias(i, j) for j in visible_mask])
        shares = torch.exp(scores) / torch.exp(scores).sum()
        outputs.append(sum(share * value[j] for share, j in zip(shares, visible_mask, strict=True)))
        row = torch.zeros(length).index_put((torch.tensor(visible_mask),), shares)
        weights.append(row)
    return torch.stack(outputs), torch.stack(weights)


def layer_norm(states: Tensor, module) -> Tensor:
    """Layer norm of `[T, D]`."""
    centred = states - states.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + module.eps) * module.weight + module.bias


def feed_forward(states: Tensor, module) -> Tensor:
    """Two maps with the exact GELU between them."""
    up = states @ module.up_proj.weight.T + module.up_proj.bias
    activated = up * 0.5 * (1 + torch.erf(up / math.sqrt(2)))
    return activated @ module.down_proj.weight.T + module.down_proj.bias


def self_attention(states: Tensor, module, hooks, ids: list[int], causal: bool) -> Tensor:
    """All heads of an attention layer over one sequence `[T, D]`; `hooks` says how the encoding acts."""
    width = module.head_dim
    q, k, v = (states @ weight.T for weight in module.qkv_proj.weight.chunk(3))
    heads = []
    for head in range(states.shape[-1] // width):
        channels = slice(head * width, (head + 1) * width)
        query, key = hooks.turn(q[:, channels], ids), hooks.turn(k[:, channels], ids)
        heads.append(attention(query, key, v[:, channels], hooks.bias(head, ids), causal)[0])
    return torch.cat(heads, dim=-1) @ module.o_proj.weight.T


def layer(states: Tensor, module, hooks, ids: list[int], causal: bool) -> Tensor:
    """One pre-norm or post-norm transformer layer over one sequence `[T, D]`."""
    first, second = module.attention_norm, module.feed_forward_norm
    if module.pre_norm:
        states = states + self_attention(layer_norm(states, first), module.attention, hooks, ids, causal)
        return states + feed_forward(layer_norm(states, second), module.feed_forward)
    states = layer_norm(states + self_attention(states, module.attention, hooks, ids, causal), first)
    return layer_norm(states + feed_forward(states, module.feed_forward), second)


class Hooks:
    """How an encoding acts in the plain layer, read off the encoding module's own parameters."""

    def __init__(self, encoding, causal: bool, heads: int):
        self.encoding, self.causal = encoding, causal
        self.name = type(encoding).__name__
        self.slopes = alibi_slopes(heads)

    def embed(self, states: Tensor, ids: list[int]) -> Tensor:
        """What is added to the states, once."""
        if self.name == "Learned":
            return states + torch.stack([self.encoding.table.weight[position] for position in ids])
        if self.name == "Sinusoidal":
            return states + torch.stack([sinusoid(position, states.shape[-1]) for position in ids])
        return states

    def turn(self, states: Tensor, ids: list[int]) -> Tensor:
        """Queries or keys of one head."""
        return rotate(states, ids) if self.name == "RoPE" else states

    def bias(self, head: int, ids: list[int]):
        """The bias of a score, as a function of query and key."""
        if self.name == "ALiBi":
            form = "causal" if self.causal else "directional"
            return lambda i, j: alibi(self.slopes[head], ids[i], ids[j], form)
        if self.name == "T5":
            return lambda i, j: self.encoding.table.weight[t5_bucket(ids[i], ids[j], self.causal), head]
        if self.name == "FIRE":
            e = self.encoding
            threshold = e.threshold_factor * e.threshold
            return lambda i, j: fire(e.network, e.scale, threshold, ids[i], ids[j])[head]
        return lambda i, j: 0.0


def lstm(states: Tensor, module, reverse: bool, hidden: Tensor, cell: Tensor) -> Tensor:
    """One direction of `nn.LSTM` over one sequence `[T, D]` from a state on, gate by gate."""
    suffix = "_l0_reverse" if reverse else "_l0"
    w_ih, w_hh = getattr(module, "weight_ih" + suffix), getattr(module, "weight_hh" + suffix)
    bias = getattr(module, "bias_ih" + suffix) + getattr(module, "bias_hh" + suffix)
    outputs = []
    for state in reversed(states) if reverse else states:
        gates = w_ih @ state + w_hh @ hidden + bias
        take, forget, new, give = gates.chunk(4)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(take) * torch.tanh(new)
        hidden = torch.sigmoid(give) * torch.tanh(cell)
        outputs.append(hidden)
    return torch.stack(outputs[::-1] if reverse else outputs)


def act(
    states, probability, step, threshold: float, max_steps: int, token_mask
) -> tuple[Tensor, list[int], list[Tensor]]:
    """Graves 2016, position by position.

    Args:
        states: `[T, D]`.
        probability: halting probability of one state.
        step: maps all states and the number of the step to the next states.
        threshold: 1 - epsilon.
        max_steps: greatest number of steps.
        token_mask: whether each position is no padding.

    Returns:
        The outputs `[T, D]`, N and R of each position; 0 on padding.
    """
    length = len(states)
    outputs = [torch.zeros_like(states[0]) for _ in range(length)]
    sums, steps = [torch.tensor(0.0)] * length, [0] * length
    remainders = [torch.tensor(0.0)] * length
    done = [not flag for flag in token_mask]
    for number in range(max_steps):
        chances = [probability(state) for state in states]
        after = step(states, number)
        following = list(states)
        for t in range(length):
            if done[t]:
                continue
            following[t] = after[t]
            steps[t] += 1
            if (sums[t] + chances[t]).item() >= threshold or number == max_steps - 1:
                remainders[t] = 1 - sums[t]
                outputs[t] = outputs[t] + remainders[t] * after[t]
                done[t] = True
            else:
                outputs[t] = outputs[t] + chances[t] * after[t]
                sums[t] = sums[t] + chances[t]
        states = torch.stack(following)
    return torch.stack(outputs), steps, remainders
