"""Vanilla recurrent network whose state is its cache: h_t = act(W x_t + b + U h_{t-1} + c).

Elman 1990, https://doi.org/10.1207/s15516709cog1402_1; with ReLU and 256 units it is the RNN of Delétang et al. 2022,
https://arxiv.org/abs/2207.02098.

SPDX-License-Identifier: Apache-2.0
"""

from torch import nn

from .configuration_rnn import RNNConfig
from .modeling_base import register_for_auto_classes
from .modeling_generation import LongreachGenerationMixin
from .modeling_heads import CausalLMHead, MaskedLMHead, SequenceClassificationHead, TokenClassificationHead
from .modeling_recurrent import PackedLayer, RecurrentBackbone, RecurrentPreTrainedModel


class RNNLayer(PackedLayer):
    """One layer; its state is the hidden state."""

    def __init__(self, config: RNNConfig):
        super().__init__(config)
        self.rnn = nn.RNN(nonlinearity=config.hidden_act, **self.options())

    def read(self, inputs, begin):
        """Calls the network."""
        output, hidden = self.rnn(inputs, begin[0])
        return output, (hidden,)


class RNNPreTrainedModel(RecurrentPreTrainedModel):
    """Base class: the configuration, and what is not split over devices."""

    config: RNNConfig
    config_class = RNNConfig
    _no_split_modules = ["RNNLayer"]


class RNNModel(RecurrentBackbone, RNNPreTrainedModel):
    """Embeddings and the network's layers."""

    layer_class = RNNLayer


class RNNForCausalLM(CausalLMHead, RNNPreTrainedModel, LongreachGenerationMixin):
    """The network with a next-token head; `generate()` carries its state."""

    backbone_class = RNNModel


class RNNForMaskedLM(MaskedLMHead, RNNPreTrainedModel):
    """The network with a token head that is read without a shift."""

    backbone_class = RNNModel


class RNNForSequenceClassification(SequenceClassificationHead, RNNPreTrainedModel):
    """The network with one label per sequence."""

    backbone_class = RNNModel


class RNNForTokenClassification(TokenClassificationHead, RNNPreTrainedModel):
    """The network with one label per token."""

    backbone_class = RNNModel


register_for_auto_classes(
    RNNConfig,
    RNNModel,
    RNNForCausalLM,
    RNNForMaskedLM,
    RNNForSequenceClassification,
    RNNForTokenClassification,
)
