"""Models by name at a budget, those of transformers and checkpoints among them, and what is found of them by trying.

The names below load what they need when they are first used: a specification needs to know of checkpoints, not torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from eval_harness.models.architectures import ARCHITECTURES
    from eval_harness.models.building import build_model, head_of, is_causal
    from eval_harness.models.checkpoints import is_checkpoint, revision_of
    from eval_harness.models.library_types import auto_class, is_foreign, refusal
    from eval_harness.models.listing import describe_model
    from eval_harness.models.probing import Trial, calls_embedding, decode, sees_ahead, try_out
    from eval_harness.models.sizes import SizedModel, size_model
    from eval_harness.models.warm_start import describe_checkpoint, start_from

_MODULES = {
    "ARCHITECTURES": "architectures",
    "SizedModel": "sizes",
    "Trial": "probing",
    "auto_class": "library_types",
    "build_model": "building",
    "calls_embedding": "probing",
    "decode": "probing",
    "describe_checkpoint": "warm_start",
    "describe_model": "listing",
    "head_of": "building",
    "is_causal": "building",
    "is_checkpoint": "checkpoints",
    "is_foreign": "library_types",
    "refusal": "library_types",
    "revision_of": "checkpoints",
    "sees_ahead": "probing",
    "size_model": "sizes",
    "start_from": "warm_start",
    "try_out": "probing",
}

__all__ = ["ARCHITECTURES", "SizedModel", "Trial", "auto_class", "build_model", "calls_embedding"]
__all__ += ["decode", "describe_checkpoint", "describe_model", "head_of", "is_causal", "is_checkpoint", "is_foreign"]
__all__ += ["refusal", "revision_of", "sees_ahead", "size_model", "start_from", "try_out"]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
