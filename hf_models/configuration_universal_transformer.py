"""Configuration of the Universal Transformer.

SPDX-License-Identifier: Apache-2.0
"""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.modeling_rope_utils import RopeParameters

from .configuration_transformer import TransformerConfig


@strict
class UniversalTransformerConfig(TransformerConfig):
    """Configuration of a transformer whose layers are shared over depth.

    Dehghani et al. 2019, https://arxiv.org/abs/1807.03819; halting: Graves 2016, https://arxiv.org/abs/1603.08983.

    Args:
        num_shared_layers: layers in the group that every step applies.
        num_steps: how often the group is applied; with halting, at most. May be changed after loading.
        position_encoding: "coordinate" (position and step, added before every step, as in the paper) or any encoding
            of `position_encodings.POSITION_ENCODINGS`; a list has one entry per layer of the group.
        halting: "none" for a fixed number of steps, "act" for adaptive computation time at every position.
        halting_threshold: a position halts once its halting probabilities sum to this; 1 - epsilon in the paper.
        halting_bias: initial bias of the halting unit.
        ponder_loss_weight: weight of the ponder cost in the loss of every head.
    """

    model_type = "universal_transformer"

    num_shared_layers: int = 1
    num_steps: int = 4
    position_encoding: str | dict | list = "coordinate"
    rope_parameters: RopeParameters | dict | None = None
    halting: Literal["none", "act"] = "none"
    halting_threshold: float = 0.99
    halting_bias: int | float = 1.0
    ponder_loss_weight: int | float = 0.01

    @property
    def num_hidden_layers(self) -> int:
        """Depth as executed: one cache slot for each layer of each step."""
        return self.num_shared_layers * self.num_steps

    @classmethod
    def _derived_names(cls) -> list[str]:
        return [*super()._derived_names(), "num_hidden_layers"]

    def num_distinct_layers(self) -> int:
        """Number of layers with weights of their own."""
        return self.num_shared_layers

    def validate_halting(self):
        """A threshold outside (0, 1] would never halt, or halt before the first step."""
        if not 0 < self.halting_threshold <= 1:
            raise ValueError(f"halting_threshold must lie in (0, 1], not {self.halting_threshold}.")
        if self.ponder_loss_weight < 0:
            raise ValueError(f"ponder_loss_weight must not be negative, not {self.ponder_loss_weight}.")
