"""Configuration of the transformer with a configurable position encoding.

SPDX-License-Identifier: Apache-2.0
"""

from huggingface_hub.dataclasses import strict

from .configuration_transformer import TransformerConfig
from .transformers_internals import RopeParameters


@strict
class PositionTransformerConfig(TransformerConfig):
    """Configuration of a transformer, causal or bidirectional, whose position encoding is a choice.

    Args:
        num_hidden_layers: number of layers, each with its own weights.
        position_encoding: a name (`"alibi"`), a name with arguments (`{"name": "alibi", "form": "directional"}`), or a
            list of these, one per layer. Names and arguments are those of `position_encodings.POSITION_ENCODINGS`.
    """

    model_type = "position_transformer"

    num_hidden_layers: int = 2
    position_encoding: str | dict | list = "rope"
    rope_parameters: RopeParameters | dict | None = None
