"""Plain recurrent networks: one sequence, one token, one cell at a time, as the formulas say.

A stack is a list of cells, top first; a tape is a dict from the distance to the head to a cell, or a list on a circle.
"""

import torch
from torch import Tensor

from tests.hf_models import references
from tests.hf_models.model_cases import gradients, pad, ragged


def activate(name: str, value: Tensor) -> Tensor:
    return value.clamp(min=0) if name == "relu" else torch.tanh(value)


def softmax(logits: Tensor) -> Tensor:
    return torch.exp(logits) / torch.exp(logits).sum()


def first_state(layer, part: int = 0) -> Tensor:
    """The hidden state (0) or cell state (1) before the first token."""
    return torch.zeros(layer.width) if layer.initial_state is None else layer.initial_state[part]


def rnn(states: Tensor, module, name: str, hidden: Tensor, reverse: bool = False) -> Tensor:
    """One direction of `nn.RNN` over one sequence `[T, D]`."""
    suffix, outputs = "_l0_reverse" if reverse else "_l0", []
    w, u = getattr(module, "weight_ih" + suffix), getattr(module, "weight_hh" + suffix)
    b, c = getattr(module, "bias_ih" + suffix), getattr(module, "bias_hh" + suffix)
    for state in reversed(states) if reverse else states:
        hidden = activate(name, w @ state + b + u @ hidden + c)
        outputs.append(hidden)
    return torch.stack(outputs[::-1] if reverse else outputs)


class PlainStack:
    """Cells, top first; a cell that does not exist is zero."""

    def __init__(self, width: int, size: int | None):
        self.zero, self.size, self.cells = torch.zeros(width), size, []

    def cell(self, place: int) -> Tensor:
        return self.cells[place] if place < len(self.cells) else self.zero

    def top(self) -> Tensor:
        return self.cell(0)

    def act(self, chances: Tensor, value: Tensor):
        push, keep, pop = chances
        cells = []
        for i in range(min(len(self.cells) + 1, self.size or len(self.cells) + 1)):
            above = value if i == 0 else self.cell(i - 1)
            cells.append(push * above + keep * self.cell(i) + pop * self.cell(i + 1))
        self.cells = cells


class EndlessTape:
    """Cells by their distance to the right of the head; a cell that was never written is zero."""

    def __init__(self, width: int):
        self.zero, self.cells = torch.zeros(width), {}

    def cell(self, place: int) -> Tensor:
        return self.cells.get(place, self.zero)

    def top(self) -> Tensor:
        return self.cell(0)

    def act(self, chances: Tensor, value: Tensor):
        right, stay, left = chances
        self.cells[0] = value
        places = range(min(self.cells) - 1, max(self.cells) + 2)
        self.cells = {i: right * self.cell(i - 1) + stay * self.cell(i) + left * self.cell(i + 1) for i in places}


class CircularTape:
    """A circle of cells, of which the head stands at the first, with jumps by `jump` or, where it is None, without."""

    def __init__(self, width: int, size: int, jump: int | None):
        self.cells, self.jump = [torch.zeros(width)] * size, jump

    def top(self) -> Tensor:
        return self.cells[0]

    def act(self, chances: Tensor, value: Tensor):
        old = [value, *self.cells[1:]]
        moves = [1, 0, -1] if self.jump is None else [1, 0, -1, self.jump, -self.jump]  # to the right
        size = len(old)
        self.cells = [
            sum(chance * old[(i - move) % size] for chance, move in zip(chances, moves, strict=True))
            for i in range(size)
        ]


def controller(layer, states: Tensor, name: str, memories: list) -> Tensor:
    """One layer over one sequence `[T, D]`; the memories are left as they are after the last token."""
    hidden, outputs = first_state(layer), []
    for state in states:
        seen = torch.cat([state, *(memory.top() for memory in memories)])
        hidden = activate(name, layer.input.weight @ seen + layer.input.bias + layer.recurrent.weight @ hidden)
        actions = layer.actions.weight @ hidden + layer.actions.bias
        value = layer.write.weight @ hidden + layer.write.bias
        for further in layer.writer:
            value = further.weight @ value.clamp(min=0) + further.bias
        parts = zip(memories, actions.chunk(len(memories)), value.chunk(len(memories)), strict=True)
        for memory, logits, written in parts:
            memory.act(softmax(logits), written)
        outputs.append(hidden)
    return torch.stack(outputs)


def layer_states(layer, states: Tensor, config, jump=None) -> Tensor:
    """Any recurrent layer over one sequence `[T, D]`."""
    kind = config.model_type
    if kind in ("lstm", "rnn"):
        module = getattr(layer, kind)
        ways = []
        for way, reverse in enumerate([False, True][: layer.directions]):
            begin = [first_state(layer, part).chunk(layer.directions)[way] for part in range(layer.vectors)]
            if kind == "rnn":
                ways.append(rnn(states, module, config.hidden_act, *begin, reverse=reverse))
            else:
                ways.append(references.lstm(states, module, reverse, *begin))
        return torch.cat(ways, dim=-1)
    if kind == "stack_rnn":
        memories = [PlainStack(config.stack_cell_size, config.stack_size) for _ in range(config.num_stacks)]
    elif config.memory_size is None:
        memories = [EndlessTape(config.memory_cell_size) for _ in range(config.num_tapes)]
    else:
        memories = [
            CircularTape(config.memory_cell_size, config.memory_size, jump or config.jump_length)
            for _ in range(config.num_tapes)
        ]
    return controller(layer, states, config.hidden_act, memories)


def model_states(model, row: Tensor, jump=None) -> Tensor:
    """States `[T, D]` of one sequence of tokens `[T]`."""
    states = model.embed_tokens.weight[row] * model.config.hidden_size**0.5
    for layer in model.layers:
        states = layer_states(layer, states, model.config, jump)
    return states


def assert_is_plain(model, side: str, lengths=(4, 7, 2)):
    """The model gives the plain states of every row of a padded batch, and their gradients."""
    sequences = ragged(lengths)
    input_ids, mask = pad(sequences, side)
    states = model(input_ids, attention_mask=mask).last_hidden_state[mask.bool()]
    expected = torch.cat([model_states(model, sequence) for sequence in sequences])
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    (states * weights).sum().backward()
    found = gradients(model)
    model.zero_grad()
    (expected * weights).sum().backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)
        assert gradient.abs().max() > 0, name
