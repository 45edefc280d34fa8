"""Recurrent network with differentiable tapes, which are part of its cache.

The head of a tape stands at cell 0. At each token a value is written there in place of what it held; then the tape
moves under the head, by 1 cell to the right or to the left or not at all, and, where it may jump, by l cells to the
right or to the left. With probabilities p of the moves, on a circle of M cells the new cell i is

    cell_i = right · cell_{i-1} + stay · cell_i + left · cell_{i+1} + jump right · cell_{i-l} + jump left · cell_{i+l}

Delétang et al. 2022, https://arxiv.org/abs/2207.02098, whose tape is a circle and whose l is the length of the input,
without the tokens that follow it.

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn

from .configuration_tape_rnn import TapeRNNConfig
from .layer_memory import MemoryLayer, windows
from .modeling_base import register_for_auto_classes
from .modeling_generation import LongreachGenerationMixin
from .modeling_heads import CausalLMHead, MaskedLMHead, SequenceClassificationHead, TokenClassificationHead
from .modeling_recurrent import RecurrentBackbone, RecurrentPreTrainedModel


class TapeRNNLayer(MemoryLayer):
    """One layer; its state is the hidden state, the tapes, and how far each row jumps `[B]` where it may.

    The moves are right, stay, left, jump right and jump left. A tape without ends is a circle that is longer than
    what can be reached: 2 S + 1 cells after S tokens.
    """

    def __init__(self, config: TapeRNNConfig):
        self.jump_length = config.jump_length
        self.moves = 3 if config.jump_length is None else 5
        super().__init__(config, config.num_tapes, config.memory_cell_size, config.writer_sizes)
        self.memory_size = config.memory_size

    def first_cells(self) -> int:
        """The whole circle, or the cell under the head."""
        return self.memory_size or 1

    def first_state(self, states: Tensor, **given) -> tuple[Tensor, ...]:
        """The hidden state, tapes of zeros, and the jumps `[B]`: as configured or the given `input_lengths`."""
        state = super().first_state(states)
        if self.jump_length is None:
            return state
        if isinstance(self.jump_length, int):
            return *state, torch.full((states.shape[0],), self.jump_length, device=states.device)
        return *state, given["input_lengths"]

    def prepare(self, state: tuple[Tensor, ...], tokens: int) -> tuple[Tensor, Tensor]:
        """The tapes, longer by two cells for every token if without ends; and where cells come from in jumps."""
        tapes = state[1]
        if self.memory_size is None:
            far = tapes.shape[2] // 2 + 1  # the cells in between are farthest from the head on either side
            grown = nn.functional.pad(tapes[:, :, :far], (0, 0, 0, 2 * tokens))
            tapes = torch.cat([grown, tapes[:, :, far:]], dim=2)
        return tapes, tapes if self.jump_length is None else self._sources(tapes, state[2])

    def _sources(self, tapes, jumps):
        """From which cell each cell comes under each move, as an index of the cells of all tapes `[B N A M]`."""
        batch, memories, cells, _ = tapes.shape
        by = torch.stack([jumps.new_full((batch,), shift) for shift in (-1, 0, 1)] + [-jumps, jumps], dim=1)  # [B, A]
        sources = (torch.arange(cells, device=tapes.device) + by[..., None]) % cells  # [B, A, M]
        begins = cells * torch.arange(batch * memories, device=tapes.device).view(batch, memories, 1, 1)
        return (sources[:, None] + begins).flatten()

    def after_moves(self, memory: Tensor, value: Tensor, fixed: Tensor) -> Tensor:
        """The tapes after the value is written and each move is made."""
        if self.jump_length is None:
            return windows(torch.cat([memory[:, :, -1:], value, memory[:, :, 1:], value], dim=2))
        written = torch.cat([value, memory[:, :, 1:]], dim=2)
        moved = written.flatten(0, 2).index_select(0, fixed)
        return moved.view(*memory.shape[:2], self.moves, *memory.shape[2:])


class TapeRNNPreTrainedModel(RecurrentPreTrainedModel):
    """Base class: the configuration, and what is not split over devices."""

    config: TapeRNNConfig
    config_class = TapeRNNConfig
    _no_split_modules = ["TapeRNNLayer"]

    @property
    def prefix_stable(self) -> bool:
        """Whether more tokens leave earlier outputs as they are: not where jumps depend on where the input ends."""
        return super().prefix_stable and self.config.jump_length != "input"

    def why_not_packed(self):
        """Jumps have one length for each row."""
        return "jump_length 'input' is that of a row" if self.config.jump_length == "input" else None


class TapeRNNModel(RecurrentBackbone, TapeRNNPreTrainedModel):
    """Embeddings and the network's layers."""

    layer_class = TapeRNNLayer

    def given_to_layers(self, input_ids: Tensor | None, token_mask: Tensor | None, past_key_values) -> dict:
        """The length of each row's input `[B]`, where tapes jump by it.

        Raises:
            ValueError: the end of the input cannot be seen, since there are no tokens.
        """
        if self.config.jump_length != "input":
            return {}
        if input_ids is None:
            raise ValueError("With jump_length='input' the model needs input_ids: a token ends the input.")
        return {"input_lengths": self.input_lengths(input_ids, token_mask)}

    def input_lengths(self, input_ids: Tensor, token_mask: Tensor | None) -> Tensor:
        """Number of tokens before the first that ends the input, without <bos> and padding `[B]`; all if none ends it.

        Args:
            input_ids: all tokens `[B, T]`.
            token_mask: which of them are no padding `[B, T]`, or None.
        """
        counted = torch.ones_like(input_ids, dtype=torch.bool) if token_mask is None else token_mask
        ends = torch.isin(input_ids, torch.tensor(self.config.input_end_token_id, device=input_ids.device)) & counted
        if self.config.bos_token_id is not None:
            counted = counted & (input_ids != self.config.bos_token_id)
        return (counted & (ends.cumsum(-1) == 0)).sum(-1)


class TapeRNNForCausalLM(CausalLMHead, TapeRNNPreTrainedModel, LongreachGenerationMixin):
    """The network with a next-token head; `generate()` carries its state."""

    backbone_class = TapeRNNModel


class TapeRNNForMaskedLM(MaskedLMHead, TapeRNNPreTrainedModel):
    """The network with a token head that is read without a shift."""

    backbone_class = TapeRNNModel


class TapeRNNForSequenceClassification(SequenceClassificationHead, TapeRNNPreTrainedModel):
    """The network with one label per sequence."""

    backbone_class = TapeRNNModel


class TapeRNNForTokenClassification(TokenClassificationHead, TapeRNNPreTrainedModel):
    """The network with one label per token."""

    backbone_class = TapeRNNModel


register_for_auto_classes(
    TapeRNNConfig,
    TapeRNNModel,
    TapeRNNForCausalLM,
    TapeRNNForMaskedLM,
    TapeRNNForSequenceClassification,
    TapeRNNForTokenClassification,
)
