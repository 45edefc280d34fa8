"""A vanilla recurrent network that reads a memory before each step and changes it after: stacks and tapes.

At token t, with memories read at r_{t-1} and moves of the memory with probabilities p_t:

    h_t = act(W [x_t, r_{t-1}] + b + U h_{t-1})    the output, and the state
    p_t = softmax(P h_t + c)                       one distribution for each memory
    v_t = writer(h_t)                              what is pushed or written: a linear map or a small network
    memory_t = sum over the moves of p_t times the memory after that move

So what is pushed at a token is read at the next. The network is that of Delétang et al. 2022,
https://arxiv.org/abs/2207.02098; in their code one softmax runs over the actions of all stacks together, which is the
same for one stack; here each memory has its own.

B batch   T new tokens   D model width   N memories   C cell width   M cells   A moves

SPDX-License-Identifier: Apache-2.0
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from .modeling_recurrent import RecurrentLayer, RecurrentWeights
from .precision import compute_dtype


ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
GROWTH = 16  # memories that grow do so for so many tokens at a time


class MemoryLayer(RecurrentLayer):
    """One layer of the network; a subclass says what the moves of its memory are.

    Args:
        config: configuration of the model.
        memories: number of memories.
        cell_size: width of a cell.
        writer_sizes: widths of the hidden layers, with ReLU, of the writer.

    Attributes:
        moves: number of moves.
    """

    moves = 3

    def __init__(self, config, memories: int, cell_size: int, writer_sizes=()):
        super().__init__(config)
        self.memories, self.cell_size = memories, cell_size
        self.activation = ACTIVATIONS[config.hidden_act]
        self.input = nn.Linear(self.width + memories * cell_size, self.width)
        self.recurrent = RecurrentWeights(self.width, self.width, bias=False)
        self.actions = nn.Linear(self.width, memories * self.moves)
        first, *further = (*writer_sizes, memories * cell_size)
        self.write = nn.Linear(self.width, first)
        self.writer = nn.ModuleList(nn.Linear(*pair) for pair in pairwise((first, *further)))

    def first_state(self, states, **given):
        """The hidden state `[B, D]` and the memories `[B, N, M, C]`, empty."""
        hidden = super().first_state(states)
        return *hidden, states.new_zeros(states.shape[0], self.memories, self.first_cells(), self.cell_size)

    def first_cells(self) -> int:
        """Number of cells before the first token."""
        raise NotImplementedError

    def prepare(self, state: tuple[Tensor, ...], tokens: int) -> tuple[Tensor, Tensor]:
        """The memories with room for `tokens` more tokens, and a tensor that the moves need and do not change.

        Args:
            state: all parts of the state: hidden state, memories and others.
            tokens: number of tokens to come.
        """
        raise NotImplementedError

    def after_moves(self, memory: Tensor, value: Tensor, fixed: Tensor) -> Tensor:
        """The memories `[B, N, A, M, C]` after each move.

        Args:
            memory: the memories `[B, N, M, C]`.
            value: what is pushed or written `[B, N, 1, C]`.
            fixed: what `prepare` gave.
        """
        raise NotImplementedError

    def run(self, states, token_mask, begin):
        """Reads token by token. On padding the state is kept.

        Raises:
            ValueError: a graph for all lengths is asked for, which a loop over tokens has not.
        """
        if torch.compiler.is_exporting() and not isinstance(states.shape[1], int):
            raise ValueError(
                f"{type(self).__name__} reads token by token, so that it can be exported for a fixed length only."
            )
        hidden, memory, *others = begin
        dtype = compute_dtype(states)
        hidden, memory = hidden.to(dtype), memory.to(dtype)
        given = states.to(dtype).unbind(1)
        kept = [None] * len(given) if token_mask is None else token_mask.unbind(1)
        outputs = []
        for token, keep in enumerate(kept):
            if token % GROWTH == 0:
                memory, fixed = self.prepare((hidden, memory, *others), min(GROWTH, len(given) - token))
            seen = torch.cat([given[token], memory[:, :, 0].flatten(1)], dim=-1)
            new_hidden = self.activation(self.input(seen) + self.recurrent(hidden))
            new_memory = self._update(memory, self.actions(new_hidden), self.write(new_hidden), fixed)
            if keep is not None:
                new_hidden = torch.where(keep[:, None], new_hidden, hidden)
                new_memory = torch.where(keep[:, None, None, None], new_memory, memory)
            hidden, memory = new_hidden, new_memory
            outputs.append(hidden)
        return torch.stack(outputs, dim=1), (hidden, memory, *others)

    def _update(self, memory, actions, value, fixed):
        batch, memories, _, _ = memory.shape
        probabilities = actions.reshape(batch * memories, 1, self.moves).softmax(-1).to(memory.dtype)
        for layer in self.writer:
            value = layer(torch.relu(value))
        value = value.to(memory.dtype).unflatten(1, (memories, 1, -1))  # [B, N, 1, C]
        moved = self.after_moves(memory, value, fixed)
        return torch.bmm(probabilities, moved.flatten(0, 1).flatten(2)).to(memory.dtype).view_as(memory)


def windows(cells: Tensor) -> Tensor:
    """The three runs of M neighbours among M + 2 cells `[B, N, M + 2, C]`, stacked `[B, N, 3, M, C]`."""
    length = cells.shape[2] - 2
    return torch.stack([cells[:, :, begin : begin + length] for begin in range(3)], dim=2)
