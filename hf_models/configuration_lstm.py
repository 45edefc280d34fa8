"""Configuration of the LSTM baseline.

SPDX-License-Identifier: Apache-2.0
"""

from huggingface_hub.dataclasses import strict

from .configuration_recurrent import TwoWayConfig


@strict
class LSTMConfig(TwoWayConfig):
    """Configuration of a stack of LSTM layers; the arguments are those of all recurrent models."""

    model_type = "lstm"
