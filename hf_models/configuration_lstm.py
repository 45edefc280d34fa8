"""Configuration of the LSTM baseline.

SPDX-License-Identifier: Apache-2.0
"""

from huggingface_hub.dataclasses import strict

from .configuration_base import LongreachConfig


@strict
class LSTMConfig(LongreachConfig):
    """Configuration of a stack of LSTM layers.

    Args:
        num_hidden_layers: number of layers.
        dropout: dropout on what each layer hands to the next, not after the last.
        bidirectional: whether each layer reads both ways; each direction then has `hidden_size // 2` units. Refused by
            the causal head.
    """

    model_type = "lstm"

    num_hidden_layers: int = 1
    dropout: int | float = 0.0
    bidirectional: bool = False

    @property
    def is_causal(self) -> bool:
        """Whether the state at a position depends on that position and those before it alone."""
        return not self.bidirectional

    @property
    def layer_types(self) -> list[str]:
        """The cache layer of each layer: its recurrent state, registered by the model file."""
        return ["lstm_state"] * self.num_hidden_layers

    @classmethod
    def _derived_names(cls) -> list[str]:
        return ["is_causal", "layer_types"]

    def validate_layer_type(self):
        """Replaces the library's check, which knows its own cache layers only."""

    def validate_architecture(self):
        """A bidirectional layer shares its width between two directions."""
        if self.bidirectional and self.hidden_size % 2:
            raise ValueError(f"hidden_size must be even when bidirectional, not {self.hidden_size}.")
