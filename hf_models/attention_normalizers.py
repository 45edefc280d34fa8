"""What turns scores into attention weights: softmax, and what lengths ask of it.

B batch   Tq query positions   Tk key positions   H heads   D model width

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn

from .entries import check_arguments, parse_entry
from .position_encoding import Positions


class Softmax(nn.Module):
    """Softmax, and the base of all others; each attention layer has its own.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    causal_only = False  # has no bidirectional form
    eager_only = False  # overrides weights, which no fused kernel computes
    sees = False  # reads `visible`

    def __init__(self, config):
        super().__init__()

    @classmethod
    def check(cls, config, **arguments):
        """Raises ValueError where the normalizer does not fit the configuration or has no such argument."""
        check_arguments(cls, arguments)
        if cls.causal_only and not config.is_causal:
            raise ValueError(f"{cls.__name__} has no bidirectional form; it needs is_causal=True.")

    def initialise(self):
        """Sets the normalizer's own parameters; modules inside it begin as everywhere in the model."""

    def temperature(self, states: Tensor, at: Positions) -> Tensor | None:
        """Factor on the product of each query with the keys, not on what an encoding adds `[B, H, Tq, 1]`."""
        return None

    def weights(self, scores: Tensor, visible: Tensor) -> Tensor:
        """Weights of the keys `[B, H, Tq, Tk]`.

        Args:
            scores: float32 `[B, H, Tq, Tk]`.
            visible: which keys each query sees `[B, 1, Tq, Tk]`; a query that sees none, on padding, may get anything
                finite.
        """
        return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(dim=-1)


NORMALIZERS: dict[str, type[Softmax]] = {"softmax": Softmax}


def parse_normalizer(entry: str | dict) -> tuple[type[Softmax], dict]:
    """Class and arguments of a configuration's entry; ValueError names what is wrong."""
    return parse_entry(entry, NORMALIZERS, "attention normalizer")
