"""LSTM baseline whose recurrent state is its cache.

Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; a forget-gate bias of 1: Jozefowicz et al.
2015, https://proceedings.mlr.press/v37/jozefowicz15.html.

SPDX-License-Identifier: Apache-2.0
"""

from torch import nn

from .configuration_lstm import LSTMConfig
from .modeling_base import register_for_auto_classes
from .modeling_generation import LongreachGenerationMixin
from .modeling_heads import CausalLMHead, MaskedLMHead, SequenceClassificationHead, TokenClassificationHead
from .modeling_recurrent import PackedLayer, RecurrentBackbone, RecurrentPreTrainedModel


class LSTMLayer(PackedLayer):
    """One LSTM layer; its state is the hidden state and the cell state."""

    vectors = 2

    def __init__(self, config: LSTMConfig):
        super().__init__(config)
        self.lstm = nn.LSTM(**self.options())

    def read(self, inputs, begin):
        """Calls the LSTM."""
        return self.lstm(inputs, begin)


class LSTMPreTrainedModel(RecurrentPreTrainedModel):
    """Base class: the configuration, and what is not split over devices."""

    config: LSTMConfig
    config_class = LSTMConfig
    _no_split_modules = ["LSTMLayer"]


class LSTMModel(RecurrentBackbone, LSTMPreTrainedModel):
    """Embeddings and LSTM layers."""

    layer_class = LSTMLayer


class LSTMForCausalLM(CausalLMHead, LSTMPreTrainedModel, LongreachGenerationMixin):
    """The LSTM with a next-token head; `generate()` carries its state."""

    backbone_class = LSTMModel


class LSTMForMaskedLM(MaskedLMHead, LSTMPreTrainedModel):
    """The LSTM with a token head that is read without a shift."""

    backbone_class = LSTMModel


class LSTMForSequenceClassification(SequenceClassificationHead, LSTMPreTrainedModel):
    """The LSTM with one label per sequence."""

    backbone_class = LSTMModel


class LSTMForTokenClassification(TokenClassificationHead, LSTMPreTrainedModel):
    """The LSTM with one label per token."""

    backbone_class = LSTMModel


register_for_auto_classes(
    LSTMConfig,
    LSTMModel,
    LSTMForCausalLM,
    LSTMForMaskedLM,
    LSTMForSequenceClassification,
    LSTMForTokenClassification,
)
