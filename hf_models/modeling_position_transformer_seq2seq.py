"""An encoder-decoder transformer with a configurable position encoding.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; the encodings name their papers in position_registry.py.

SPDX-License-Identifier: Apache-2.0
"""

from .attention import Attention
from .configuration_position_transformer_seq2seq import PositionTransformerSeq2SeqConfig
from .layer_decoder import CrossAttention, DecoderLayer
from .modeling_base import register_for_auto_classes
from .modeling_generation import LongreachGenerationMixin
from .modeling_position_transformer import PositionTransformerModel
from .modeling_seq2seq import ConditionalGenerationHead, TransformerSeq2SeqBackbone
from .modeling_transformer import TransformerPreTrainedModel


class PositionTransformerDecoder(PositionTransformerModel):
    """The causal transformer, whose layers also attend to a source."""

    layer_class = DecoderLayer
    _can_record_outputs = {
        "hidden_states": DecoderLayer,
        "attentions": Attention,
        "cross_attentions": CrossAttention,
    }


class PositionTransformerSeq2SeqPreTrainedModel(TransformerPreTrainedModel):
    """Base class: the configuration, and what is not split over devices."""

    config: PositionTransformerSeq2SeqConfig
    config_class = PositionTransformerSeq2SeqConfig
    _no_split_modules = ["TransformerLayer", "DecoderLayer"]


class PositionTransformerSeq2SeqModel(TransformerSeq2SeqBackbone, PositionTransformerSeq2SeqPreTrainedModel):
    """Encoder and decoder."""

    encoder_class = PositionTransformerModel
    decoder_class = PositionTransformerDecoder


class PositionTransformerForConditionalGeneration(
    ConditionalGenerationHead, PositionTransformerSeq2SeqPreTrainedModel, LongreachGenerationMixin
):
    """The encoder-decoder transformer with a head that predicts the target; `generate()` works."""

    backbone_class = PositionTransformerSeq2SeqModel


register_for_auto_classes(
    PositionTransformerSeq2SeqConfig,
    PositionTransformerSeq2SeqModel,
    PositionTransformerForConditionalGeneration,
)
