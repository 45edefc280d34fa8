"""Recurrence in depth as its equations say it, one position at a time, to compare the implementation with."""

import math

import torch
from torch import Tensor

from tests.hf_models import references


def look_at_source(attention, state: Tensor, source: Tensor) -> Tensor:
    """What one target position takes from the real positions of a source `[S, D]`, one head and position at a time."""
    key_weight, value_weight = attention.kv_proj.weight.chunk(2)
    found = []
    for head in range(attention.config.num_attention_heads):
        part = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        query = attention.q_proj.weight[part] @ state
        shares = [torch.exp(query @ (key_weight[part] @ seen) / math.sqrt(attention.head_dim)) for seen in source]
        mixed = sum(share * (value_weight[part] @ seen) for share, seen in zip(shares, source, strict=True))
        found.append(mixed / sum(shares))
    return attention.o_proj.weight @ torch.cat(found)


class Group:
    """The shared layers over one sequence; what each position last offered the others is kept.

    In a decoder, each position also looks at the `source` `[S, D]`.
    """

    def __init__(self, layers, hooks, ids: list[int], causal: bool, source: Tensor | None = None):
        self.layers, self.hooks, self.ids, self.causal, self.source = layers, hooks, ids, causal, source
        self.offers: list[dict] = [{} for _ in layers]

    def step(self, states: Tensor, running: list[bool], fresh: list[bool]) -> Tensor:
        """States `[T, D]` after the layers; what does not run stays, what is not fresh offers what it did."""
        for layer, offers in zip(self.layers, self.offers, strict=True):
            entering = references.layer_norm(states, layer.attention_norm) if layer.pre_norm else states
            for t, is_fresh in enumerate(fresh):
                if is_fresh:
                    offers[t] = self.offer(layer.attention, entering[t], self.ids[t])
            following = [
                self.finish(layer, states[t], self.attend(layer.attention, entering[t], t, offers))
                if running[t]
                else states[t]
                for t in range(len(states))
            ]
            states = torch.stack(following)
        return states

    def offer(self, attention, state: Tensor, position: int) -> list[tuple[Tensor, Tensor]]:
        """Turned key and value of each head."""
        _, key, value = (weight @ state for weight in attention.qkv_proj.weight.chunk(3))
        keys, values = key.split(attention.head_dim), value.split(attention.head_dim)
        return [(self.hooks.turn(k[None], [position])[0], v) for k, v in zip(keys, values, strict=True)]

    def attend(self, attention, state: Tensor, t: int, offers: dict) -> Tensor:
        """What one position takes from all that it sees `[D]`."""
        queries = (attention.qkv_proj.weight.chunk(3)[0] @ state).split(attention.head_dim)
        taken = []
        for head, query in enumerate(queries):
            rotated, bias = self.hooks.turn(query[None], [self.ids[t]])[0], self.hooks.bias(head, self.ids)
            seen = [j for j in offers if j <= t or not self.causal]
            scores = [rotated @ offers[j][head][0] / math.sqrt(len(rotated)) + bias(t, j) for j in seen]
            shares = torch.stack(scores).exp()
            shares = shares / shares.sum()
            taken.append(sum(share * offers[j][head][1] for share, j in zip(shares, seen, strict=True)))
        return attention.o_proj.weight @ torch.cat(taken)

    def finish(self, layer, state: Tensor, attended: Tensor) -> Tensor:
        """The residual sums, norms, the look at the source and the feed-forward of one position `[D]`."""
        norms = [(layer.feed_forward_norm, lambda state: references.feed_forward(state, layer.feed_forward))]
        if self.source is not None:
            look = (
                layer.cross_attention_norm,
                lambda state: look_at_source(layer.cross_attention, state, self.source),
            )
            norms.insert(0, look)
        state = state + attended
        state = state if layer.pre_norm else references.layer_norm(state, layer.attention_norm)
        for norm, sublayer in norms:
            if layer.pre_norm:
                state = state + sublayer(references.layer_norm(state, norm))
            else:
                state = references.layer_norm(state + sublayer(state), norm)
        return state


class Account:
    """How one position halts: the base takes every step."""

    def __init__(self, options):
        self.options = options
        self.total, self.steps, self.remainder = torch.tensor(0.0), 0, torch.tensor(0.0)
        self.output = None
        self.done = False
        self.probabilities: list[Tensor] = []

    def take(self, before: Tensor, after: Tensor, last: bool):
        """One more step."""
        self.steps += 1
        self.output, self.done = after, last


class ACT(Account):
    """Graves 2016, equations 5 to 11."""

    def take(self, before, after, last):
        chance = self.options["probability"](before)
        self.steps += 1
        self.output = torch.zeros_like(after) if self.output is None else self.output
        if last or self.total + chance >= self.options["threshold"]:
            self.remainder, self.done = 1 - self.total, True
            self.output = self.output + self.remainder * after
        else:
            self.output = self.output + chance * after
            self.total = self.total + chance


class Published(Account):
    """The update of tensor2tensor, in its own order; a position that is done only watches."""

    def take(self, before, after, last):
        h, p = self.total, self.options["probability"](before)
        self.output = torch.zeros_like(after) if self.output is None else self.output
        run = 0.0 if self.done else 1.0
        new = run * float(h + p * run > self.options["threshold"])
        run = run - new
        h = h + p * run
        self.remainder = self.remainder + new * (1 - h)
        self.total = h + new * self.remainder
        self.steps += int(run + new)
        weight = p * run + new * self.remainder
        self.output = weight * after + (1 - weight) * self.output
        self.done = self.done or bool(new)


class PonderNet(Account):
    """Banino et al. 2021: p_n = q_n times the product of 1 - q of the steps before; the last step takes the rest."""

    def take(self, before, after, last):
        left = torch.tensor(1.0)
        for earlier in self.probabilities:
            left = left - earlier
        chance = left if last else self.options["probability"](after) * left
        self.probabilities.append(chance)
        self.steps += 1
        reached = not self.options["training"] and sum(self.probabilities) >= self.options["threshold"]
        if last or reached:
            self.output, self.done = after, True


class Difference(Account):
    """Leaves once a step changes little."""

    def take(self, before, after, last):
        self.steps += 1
        change = ((after - before) ** 2).sum().sqrt() / (before**2).sum().sqrt()
        if last or change.item() < self.options["threshold"]:
            self.output, self.done = after, True


class StableArgmax(Account):
    """Leaves once the predicted token has stayed the same for so many steps."""

    def take(self, before, after, last):
        self.steps += 1
        token = int(self.options["readout"](after).argmax())
        self.same = self.same + 1 if self.steps > 1 and token == self.predicted else 0
        self.predicted = token
        if last or self.same >= self.options["threshold"]:
            self.output, self.done = after, True


def recur(
    states: Tensor, group: Group, accounts: list[Account], steps: int, enter, waits: bool = False
) -> list[Tensor]:
    """All steps over one sequence `[T, D]`; the states after each.

    Args:
        states: what the first step begins with.
        group: the shared layers.
        accounts: of each position.
        steps: greatest number of steps.
        enter: maps states and the step's number to what enters the layers.
        waits: whether halted positions go on until all have halted.
    """
    running = fresh = [True] * len(states)
    after_each = []
    for number in range(steps):
        if not any(running):
            break
        now = [True] * len(states) if waits else running
        after = group.step(enter(states, number), now, now if waits else fresh)
        after = torch.stack([after[t] if now[t] else states[t] for t in range(len(states))])
        for t, account in enumerate(accounts):
            if now[t]:
                account.take(states[t], after[t], number == steps - 1)
        states, fresh = after, running
        running = [not account.done for account in accounts]
        after_each.append(states)
    return after_each
