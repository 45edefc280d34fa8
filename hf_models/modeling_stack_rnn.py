"""Recurrent network with differentiable stacks, which are part of its cache.

With probabilities of push, keep and pop, the new cell i (0 is the top, a cell that does not exist is zero) is

    cell_i = push · cell_{i-1} + keep · cell_i + pop · cell_{i+1}      where cell_{-1} is the pushed value

Joulin & Mikolov 2015, https://arxiv.org/abs/1503.01007, in the form of Delétang et al. 2022,
https://arxiv.org/abs/2207.02098: an action that keeps the stack, pushed vectors without a nonlinearity, empty cells of
zero, and the top alone is read.

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn

from .configuration_stack_rnn import StackRNNConfig
from .layer_memory import MemoryLayer, windows
from .modeling_base import register_for_auto_classes
from .modeling_generation import LongreachGenerationMixin
from .modeling_heads import CausalLMHead, MaskedLMHead, SequenceClassificationHead, TokenClassificationHead
from .modeling_recurrent import RecurrentBackbone, RecurrentPreTrainedModel


class StackRNNLayer(MemoryLayer):
    """One layer; its state is the hidden state and the stacks, top first. The moves are push, keep and pop."""

    def __init__(self, config: StackRNNConfig):
        super().__init__(config, config.num_stacks, config.stack_cell_size)
        self.stack_size = config.stack_size

    def first_cells(self) -> int:
        """None: there is one for every token."""
        return 0

    def prepare(self, state: tuple[Tensor, ...], tokens: int) -> tuple[Tensor, Tensor]:
        """One more cell for every token, up to the configured size, and the zero that is under every stack."""
        stacks = state[1]
        cells = stacks.shape[2] + tokens
        if self.stack_size is not None:
            cells = min(cells, self.stack_size)
        stacks = nn.functional.pad(stacks, (0, 0, 0, cells - stacks.shape[2]))
        return stacks, torch.zeros_like(stacks[:, :, :1])

    def after_moves(self, memory: Tensor, value: Tensor, fixed: Tensor) -> Tensor:
        """The stacks after push, keep and pop."""
        return windows(torch.cat([value, memory, fixed], dim=2))


class StackRNNPreTrainedModel(RecurrentPreTrainedModel):
    """Base class: the configuration, and what is not split over devices."""

    config: StackRNNConfig
    config_class = StackRNNConfig
    _no_split_modules = ["StackRNNLayer"]


class StackRNNModel(RecurrentBackbone, StackRNNPreTrainedModel):
    """Embeddings and the network's layers."""

    layer_class = StackRNNLayer


class StackRNNForCausalLM(CausalLMHead, StackRNNPreTrainedModel, LongreachGenerationMixin):
    """The network with a next-token head; `generate()` carries its state."""

    backbone_class = StackRNNModel


class StackRNNForMaskedLM(MaskedLMHead, StackRNNPreTrainedModel):
    """The network with a token head that is read without a shift."""

    backbone_class = StackRNNModel


class StackRNNForSequenceClassification(SequenceClassificationHead, StackRNNPreTrainedModel):
    """The network with one label per sequence."""

    backbone_class = StackRNNModel


class StackRNNForTokenClassification(TokenClassificationHead, StackRNNPreTrainedModel):
    """The network with one label per token."""

    backbone_class = StackRNNModel


register_for_auto_classes(
    StackRNNConfig,
    StackRNNModel,
    StackRNNForCausalLM,
    StackRNNForMaskedLM,
    StackRNNForSequenceClassification,
    StackRNNForTokenClassification,
)
