"""Models by name at a budget, those of transformers and checkpoints among them, and what is found of them by trying.

The names below load what they need when they are first used: a specification needs to know of checkpoints, not torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from eval_harness.models.adapter import ModelAdapter, adapter_of, build_model, declared, head_of
    from eval_harness.models.architectures import ARCHITECTURES
    from eval_harness.models.checkpoints import is_checkpoint, revision_of
    from eval_harness.models.listing import describe_model
    from eval_harness.models.probing import Probe, decode
    from eval_harness.models.sizes import SizedModel, size_model
    from eval_harness.models.warm_start import describe_checkpoint, start_from

_MODULES = {
    "ARCHITECTURES": "architectures",
    "ModelAdapter": "adapter",
    "Probe": "probing",
    "SizedModel": "sizes",
    "adapter_of": "adapter",
    "build_model": "adapter",
    "declared": "adapter",
    "decode": "probing",
    "describe_checkpoint": "warm_start",
    "describe_model": "listing",
    "head_of": "adapter",
    "is_checkpoint": "checkpoints",
    "revision_of": "checkpoints",
    "size_model": "sizes",
    "start_from": "warm_start",
}

__all__ = ["ARCHITECTURES", "ModelAdapter", "Probe", "SizedModel", "adapter_of", "build_model", "declared", "decode"]
__all__ += ["describe_checkpoint", "describe_model", "head_of", "is_checkpoint", "revision_of", "size_model"]
__all__ += ["start_from"]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
