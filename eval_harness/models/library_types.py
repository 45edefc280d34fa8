"""The model types of transformers: their heads, and how one is configured and built.

A type is named as in its configuration files (`gpt2`, `llama`, `t5`). What sizes its fields get at a budget is in
`library_sizes`, the fields' names in `library_fields`.
"""

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (  # only names: the mappings would import every configuration
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from eval_harness.errors import HarnessError, unknown
from eval_harness.models.library_fields import OF_PARTS, Sizes, names, sized_fields, without_dropout


LAYERS = 2  # as many as ours have
RECURRENT_LAYERS = frozenset({"linear_attention", "mamba", "recurrent", "conv", "moe", "mlp"})
# Types with a causal head by name that read tokens on both sides all the same.
BIDIRECTIONAL = frozenset({"xlnet"})


@dataclass(frozen=True)
class LibraryArchitecture:
    """A model type of transformers.

    Attributes:
        name: what users type: the type.
        config_class: configuration class of the model.
        head: its head, as formats name it.
    """

    name: str
    config_class: type[PreTrainedConfig]
    head: str = "token"


def list_library_types() -> list[str]:
    """The types that can be trained in some format, by name. Not all of them meet a budget."""
    mappings = (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )
    # Our causal classes are in the first mapping too, under names that are no types.
    return sorted({name for mapping in mappings for name in mapping if name in CONFIG_MAPPING})


def get_library_type(name: str, head: str = "token") -> LibraryArchitecture:
    """The architecture of a type, with the head that a format needs.

    Raises:
        HarnessError: the type has no such head, or reads more than tokens.
    """
    config_class = CONFIG_MAPPING[name]
    if config_class.sub_configs and name not in OF_PARTS:
        raise HarnessError(
            f"Model type {name!r} is made of parts ({', '.join(config_class.sub_configs)}){_text_of(name)}"
        )
    encoder_decoder = bool(getattr(config_class, "is_encoder_decoder", False))
    if encoder_decoder and head != "sequence_to_sequence":
        raise HarnessError(f"{name} is an encoder-decoder: pose the task in the sequence_to_sequence format.")
    if head not in _auto_classes(config_class):
        kind = {"token": "language model", "classification": "classifier"}.get(head, "encoder-decoder")
        raise HarnessError(f"transformers has no {kind} of type {name!r}.")
    return LibraryArchitecture(name, config_class, head)


def own_names(architecture: LibraryArchitecture, given: dict[str, Any]) -> dict[str, Any]:
    """Fields under the type's own names, where they differ from the usual ones.

    Raises:
        HarnessError: the configuration has no such field.
    """
    config_class = architecture.config_class
    renamed = {config_class.attribute_map.get(key, key): value for key, value in given.items()}
    own = names(config_class)
    for key in renamed:
        if key not in own:
            raise unknown(f"configuration key of {architecture.name}:", key, own)
    return renamed


def make_library_config(
    architecture: LibraryArchitecture, size: Sizes, needs: dict[str, Any], given: dict[str, Any]
) -> PreTrainedConfig:
    """A configuration of a size; given fields take precedence.

    Args:
        architecture: whose.
        size: the sizes.
        needs: ids and labels of the task, by the names that most configurations use.
        given: fields that the user sets, as `own_names` gives them.
    """
    config_class = architecture.config_class
    values: dict[str, Any] = sized_fields(config_class, size) | without_dropout(config_class)
    return config_class(**(values | _needed(config_class, needs) | given))


def align_labels(model: Any) -> PreTrainedModel:
    """Marks a model so that the Trainer counts labels without a shift and does not expect it to normalise the loss."""
    model.loss_type = "ForMaskedLM"
    model.accepts_loss_kwargs = False
    if model.config.model_type == "reformer":
        model.register_forward_pre_hook(_whole_chunks, with_kwargs=True)
    return model


def is_causal(config: PreTrainedConfig) -> bool:
    """Whether the logits at a token depend on no later token."""
    if config.model_type in BIDIRECTIONAL or config.is_encoder_decoder:
        return False
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and bool(getattr(config, "is_decoder", False))
    return True


def auto_class(config: PreTrainedConfig, head: str) -> Any:
    """The Auto class that builds a model with a head."""
    if head != "token":
        return _auto_classes(type(config))[head]
    masked = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not is_causal(config)
    return AutoModelForMaskedLM if masked else AutoModelForCausalLM


@cache
def default_layers(config_class: type[PreTrainedConfig]) -> int:
    """Two; of a type that mixes recurrent and attention layers, all up to its first attention layer."""
    default = config_class()
    kinds = getattr(default, "layer_types", None) or getattr(default, "layers_block_type", None) or ()
    attention = [place for place, kind in enumerate(kinds) if kind not in RECURRENT_LAYERS]
    return max(LAYERS, attention[0] + 1) if attention else LAYERS


def refusal(name: str, error: Exception) -> HarnessError:
    """The error of a type that cannot be built or run, in one line."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines() or [""]
    kind = "" if isinstance(cause, ValueError) else f"{type(cause).__name__}: "
    return HarnessError(f"{name} cannot be used: {kind}{lines[0]}")


def _auto_classes(config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """The Auto classes of a type by the head that they put on it."""
    has_tokens = config_class in MODEL_FOR_CAUSAL_LM_MAPPING or config_class in MODEL_FOR_MASKED_LM_MAPPING
    classes = {
        "token": AutoModelForCausalLM if has_tokens else None,
        "sequence_to_sequence": AutoModelForSeq2SeqLM
        if config_class in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        else None,
        "classification": AutoModelForSequenceClassification
        if config_class in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
        else None,
    }
    return {head: value for head, value in classes.items() if value is not None}


def _text_of(name: str) -> str:
    text = f"{name}_text"
    return f"; its language model is {text!r}." if text in CONFIG_MAPPING else "; only single models can be sized."


def _needed(config_class: type[PreTrainedConfig], needs: dict[str, Any]) -> dict[str, Any]:
    """The fields that the task needs, if the configuration has them."""
    known = {each.name for each in fields(config_class)}
    as_index = {key.replace("_token_id", "_index"): value for key, value in needs.items()}  # as XLM calls them
    needed = needs | as_index | {"forced_eos_token_id": None, "forced_bos_token_id": None}
    return {key: value for key, value in needed.items() if key in known}


def _whole_chunks(model: PreTrainedModel, arguments: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Pads a Reformer's training sequences to complete chunks, as it does itself in evaluation; the loss cuts them."""
    chunks = (model.config.local_attn_chunk_length, model.config.lsh_attn_chunk_length)
    tokens = inputs["input_ids"]
    missing = -tokens.shape[1] % math.lcm(*chunks)
    if not (model.training and missing and tokens.shape[1] > min(chunks)):
        return arguments, inputs
    mask = inputs.get("attention_mask", torch.ones_like(tokens))
    padded = {"input_ids": pad(tokens, (0, missing), value=model.config.pad_token_id)}
    return arguments, inputs | padded | {"attention_mask": pad(mask, (0, missing))}
