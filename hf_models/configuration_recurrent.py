"""What the configurations of the recurrent models share.

SPDX-License-Identifier: Apache-2.0
"""

from typing import Literal

from huggingface_hub.dataclasses import strict

from .configuration_base import LongreachConfig


@strict
class RecurrentConfig(LongreachConfig):
    """Base of the configurations of recurrent models.

    Args:
        num_hidden_layers: number of layers.
        dropout: dropout on what each layer hands to the next, not after the last.
        initial_state: whether the hidden state (an LSTM's cell state too) begins at zero or is learned from there.
            Stacks and tapes begin empty either way.
    """

    num_hidden_layers: int = 1
    dropout: int | float = 0.0
    initial_state: Literal["zero", "learned"] = "zero"

    @property
    def is_causal(self) -> bool:
        """Whether the state at a position depends on that position and those before it alone."""
        return True

    @property
    def layer_types(self) -> list[str]:
        """The cache layer of each layer: its recurrent state, registered by modeling_recurrent.py."""
        return ["recurrent_state"] * self.num_hidden_layers

    @classmethod
    def _derived_names(cls) -> list[str]:
        return ["is_causal", "layer_types"]

    def validate_layer_type(self):
        """Replaces the library's check, which knows its own cache layers only."""


@strict
class TwoWayConfig(RecurrentConfig):
    """Base of the configurations of recurrent models that may read both ways.

    Args:
        bidirectional: whether each layer reads both ways; each direction then has `hidden_size // 2` units. Refused by
            the causal head.
    """

    bidirectional: bool = False

    @property
    def is_causal(self) -> bool:
        """Whether the state at a position depends on that position and those before it alone."""
        return not self.bidirectional

    def validate_architecture(self):
        """A bidirectional layer shares its width between two directions."""
        if self.bidirectional and self.hidden_size % 2:
            raise ValueError(f"hidden_size must be even when bidirectional, not {self.hidden_size}.")


@strict
class MemoryConfig(RecurrentConfig):
    """Base of the configurations of recurrent networks that have a memory beside their hidden state.

    Args:
        hidden_act: nonlinearity of the network.
    """

    hidden_act: Literal["relu", "tanh"] = "relu"

    def check_at_least(self, least: int, *names: str):
        """Refuses fields below `least`; None is no size.

        Raises:
            ValueError: one is.
        """
        for name in names:
            value = getattr(self, name)
            if isinstance(value, int) and value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}.")
