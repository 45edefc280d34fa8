"""The arguments of a model's `forward`, the same under every release of transformers.

transformers 5.24 renamed the KV cache from `past_key_values` to `cache` in `generate()`, in every `forward` and in the
outputs. Models that are published carry their code with them, so they take and return both names under any release.

SPDX-License-Identifier: Apache-2.0
"""

import functools
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from .transformers_internals import ALL_ATTENTION_FUNCTIONS, TransformersKwargs


# The name that the installed release uses.
CACHE_NAME = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"
OTHER_CACHE_NAME = "past_key_values" if CACHE_NAME == "cache" else "cache"
CACHE_NAMES = ("past_key_values", "cache", "cache_params")

# Where sequences of a packed row begin and end, for flash attention and for state space models of transformers.
PACKING_ARGUMENTS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")
# Arguments that transformers passes to any model, without those that our models cannot honour.
LIBRARY_ARGUMENTS = (frozenset(TransformersKwargs.__optional_keys__) | {"return_dict"}) - {
    "is_causal",
    "output_router_logits",
    *PACKING_ARGUMENTS,
}
# The arguments that `Attention` itself passes to an attention function.
PASSED_TO_ATTENTION = frozenset(
    {"module", "query", "key", "value", "attention_mask", "scaling", "dropout", "is_causal", "position_bias"}
)


def named_cache(cache) -> dict[str, Any]:
    """The cache as a keyword argument of the installed release's functions and outputs."""
    return {CACHE_NAME: cache}


def rename_cache(arguments: dict[str, Any], name: str) -> None:
    """Renames the cache among keyword arguments to `name`, in place.

    Raises:
        ValueError: two caches are given under two names.
    """
    given = [alias for alias in CACHE_NAMES if arguments.get(alias) is not None]
    if len(given) > 1:
        raise ValueError(f"The cache is given as {given[0]!r} and as {given[1]!r}; expected one of them.")
    caches = [arguments.pop(alias) for alias in CACHE_NAMES if alias in arguments]
    if caches:
        arguments[name] = next((cache for cache in caches if cache is not None), None)


class BothCacheNames:
    """An output whose cache is found under `past_key_values` and under `cache`, whichever is its field.

    A base of output dataclasses, before the class of transformers that has the field.
    """

    def __getitem__(self, k):
        return super().__getitem__(CACHE_NAME if k == OTHER_CACHE_NAME else k)  # ty: ignore[missing-attribute]

    def __contains__(self, key):
        return super().__contains__(CACHE_NAME if key == OTHER_CACHE_NAME else key)  # ty: ignore[missing-attribute]

    def get(self, key, default=None):
        """The value of a field that is not None, else the default."""
        return super().get(CACHE_NAME if key == OTHER_CACHE_NAME else key, default)  # ty: ignore[missing-attribute]


setattr(  # the name that is no field in the installed release
    BothCacheNames,
    OTHER_CACHE_NAME,
    property(lambda output: getattr(output, CACHE_NAME), lambda output, cache: setattr(output, CACHE_NAME, cache)),
)


def model_arguments(forward: Callable) -> Callable:
    """Decorates a model's `forward`: it takes the cache under both names and refuses what it does not know.

    Raises:
        ValueError: a keyword argument is unknown, or cannot be honoured.
    """
    signature = inspect.signature(forward)
    known = frozenset(signature.parameters) | LIBRARY_ARGUMENTS
    takes_cache = "past_key_values" in known

    @functools.wraps(forward)
    def checked(self, *args, **kwargs):
        if takes_cache:
            rename_cache(kwargs, "past_key_values")
        if kwargs.keys() - known:
            separated = signature.bind_partial(self, *args, **kwargs).arguments.get("position_ids") is not None
            kwargs = _only_known(self, known, kwargs, separated)
        return forward(self, *args, **kwargs)

    # Every argument with "label" in its name would be a label that the Trainer expects in each batch.
    shown = [each for each in signature.parameters.values() if each.name != "shift_labels"]
    if takes_cache:
        shown.insert(-1, inspect.Parameter("cache", inspect.Parameter.KEYWORD_ONLY, default=None))
    checked.__signature__ = signature.replace(parameters=shown)  # ty: ignore[missing-attribute]
    return checked


def _only_known(
    model: PreTrainedModel, known: frozenset[str], arguments: dict[str, Any], separated: bool
) -> dict[str, Any]:
    """The arguments without those that mean nothing; ValueError for one that nothing in the model knows.

    `separated`: whether position ids separate the sequences of packed rows, so that nothing else need to.
    """
    accepted = known | _accepted_inside(model)
    kept = {}
    for name, value in arguments.items():
        if name in accepted:
            kept[name] = value
        elif value is not None and not ((separated and name in PACKING_ARGUMENTS) or _is_neutral(model, name, value)):
            raise ValueError(_refusal(model, name, accepted))
    return kept


def _accepted_inside(model: PreTrainedModel) -> set[str]:
    """The argument names of the models inside this one, and of its attention function."""
    names: set[str] = set()
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            names |= set(inspect.signature(module.forward).parameters)
    implementation = model.config._attn_implementation
    if implementation == "flex_attention":
        names.add("kernel_options")
    elif implementation in ALL_ATTENTION_FUNCTIONS:  # a function that a user has registered may have its own
        names |= set(inspect.signature(ALL_ATTENTION_FUNCTIONS[implementation]).parameters) - PASSED_TO_ATTENTION
    return names


def _is_neutral(model: PreTrainedModel, name: str, value) -> bool:
    """Whether an argument that the model does not have asks for what the model does anyway."""
    if name == "is_causal":
        return bool(value) == model.config.is_causal
    if name == "output_router_logits":
        return not value
    if name == "token_type_ids" and isinstance(value, Tensor):  # tokenizers make them by default, all zero
        return torch.compiler.is_compiling() or not value.any()
    return False


def _refusal(model: PreTrainedModel, name: str, accepted) -> str:
    model_name = type(model).__name__
    if name == "is_causal":
        return f"{model_name} is causal or not by its configuration; is_causal cannot be passed to forward()."
    if name == "token_type_ids":
        return (
            f"{model_name} has no token types, but token_type_ids other than 0 are given. Leave them out: "
            "tokenizer.model_input_names = ['input_ids', 'attention_mask']."
        )
    if name in PACKING_ARGUMENTS:
        return (
            f"{model_name} keeps several sequences in a row apart by position_ids that start again, but only {name} "
            "is given; pass position_ids too (DataCollatorWithFlattening(return_position_ids=True))."
        )
    public = sorted(accepted - {"self", "args", "kwargs", "sources", "readout"})
    near = get_close_matches(name, public, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(public)}."
    return f"{model_name}.forward() has no argument {name!r}.{hint}"
