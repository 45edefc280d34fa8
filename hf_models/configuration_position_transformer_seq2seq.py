"""Configuration of the encoder-decoder transformer with a configurable position encoding.

SPDX-License-Identifier: Apache-2.0
"""

from huggingface_hub.dataclasses import strict

from .configuration_position_transformer import PositionTransformerConfig
from .configuration_seq2seq import Seq2SeqConfig
from .configuration_transformer import TransformerConfig
from .transformers_internals import RopeParameters


@strict
class PositionTransformerSeq2SeqConfig(Seq2SeqConfig, TransformerConfig):
    """Configuration of an encoder-decoder transformer; what is chosen by name holds for both sides.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.

    Args:
        num_encoder_layers: number of bidirectional layers that read the source.
        num_decoder_layers: number of causal layers that write the target and look at the source.
        position_encoding: as in a `PositionTransformerConfig`; a list is taken by the encoder and the decoder, which
            then have the same number of layers. Attention to the source has no positions of its own.
    """

    model_type = "position_transformer_seq2seq"

    num_encoder_layers: int = 2
    num_decoder_layers: int = 2
    position_encoding: str | dict | list = "rope"
    rope_parameters: RopeParameters | dict | None = None

    @property
    def num_hidden_layers(self) -> int:
        """Number of decoder layers, which have a cache."""
        return self.num_decoder_layers

    @classmethod
    def _derived_names(cls) -> list[str]:
        return [*super()._derived_names(), "num_hidden_layers"]

    def encoder_config(self) -> PositionTransformerConfig:
        """The configuration of the encoder."""
        return self.part(PositionTransformerConfig, num_hidden_layers=self.num_encoder_layers, is_causal=False)

    def decoder_config(self) -> PositionTransformerConfig:
        """The configuration of the decoder."""
        return self.part(PositionTransformerConfig, num_hidden_layers=self.num_decoder_layers, is_causal=True)
