"""Configuration of the vanilla recurrent network.

SPDX-License-Identifier: Apache-2.0
"""

from typing import Literal

from huggingface_hub.dataclasses import strict

from .configuration_recurrent import TwoWayConfig


@strict
class RNNConfig(TwoWayConfig):
    """Configuration of layers of a vanilla recurrent network.

    Args:
        hidden_act: the nonlinearity: `"relu"`, as in the baseline of Delétang et al., or `"tanh"`, as in Elman's.
    """

    model_type = "rnn"

    hidden_act: Literal["relu", "tanh"] = "relu"
