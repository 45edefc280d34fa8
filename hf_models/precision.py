"""In which floating-point type values are computed: float32 at least, float64 in a model of float64.

bfloat16 and half are raised to float32 where their rounding would do harm; nothing is cast down.

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor


def exact_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 if `dtype` is float64, else float32."""
    return torch.promote_types(dtype, torch.float32)


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or as they are in float64."""
    return values.to(exact_dtype(values.dtype))


def compute_dtype(states: Tensor) -> torch.dtype:
    """The type that a linear map makes of these states, autocast considered."""
    kind = states.device.type
    lowered = torch.is_autocast_enabled(kind) and states.dtype != torch.float64  # which autocast leaves as it is
    return torch.get_autocast_dtype(kind) if lowered else states.dtype
