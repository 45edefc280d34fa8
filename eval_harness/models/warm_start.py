"""Training that starts from a checkpoint: its shape and weights, with the vocabulary of the task."""

from dataclasses import fields
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from eval_harness.errors import HarnessError, unknown
from eval_harness.models.adapter import adapter_of, build_model
from eval_harness.models.checkpoints import on_the_hub, revision_of
from eval_harness.models.compute import count_parameters, parameters_by_kind
from eval_harness.models.library_fields import names, without_dropout
from eval_harness.models.library_types import refusal
from eval_harness.models.sizes import SizedModel


def describe_checkpoint(
    source: str, revision: str, head: str, needs: dict[str, Any], given: dict[str, Any]
) -> SizedModel:
    """The checkpoint's configuration, changed to the task's vocabulary and to no dropout.

    Args:
        source: folder or Hub id.
        revision: as `revision_of` gives it.
        head: the model's head, as formats name it.
        needs: fields that the task needs, such as `vocab_size`; the checkpoint's tables of positions stay.
        given: configuration fields that the user gives.

    Raises:
        HarnessError: the checkpoint cannot be read, its folder has changed since `revision`, or it has no such head.
    """
    if on_the_hub(revision) is None and (found := revision_of(source)) != revision:
        raise HarnessError(f"The checkpoint {source} has changed: it is {found}, not {revision}.")
    try:
        config = AutoConfig.from_pretrained(source, revision=on_the_hub(revision))
    except (OSError, ValueError) as error:
        raise refusal(source, error) from error
    if config.is_encoder_decoder != (head == "sequence_to_sequence"):
        kind = "an encoder-decoder" if config.is_encoder_decoder else "no encoder-decoder"
        raise HarnessError(f"{source} is {kind} and cannot answer in a format with a {head} head.")
    own = names(type(config))
    for key in given:
        if type(config).attribute_map.get(key, key) not in own:
            raise unknown(f"configuration key of {config.model_type}:", key, own)
    known = {each.name for each in fields(config)}
    needed = {key: value for key, value in needs.items() if key in known and key != "max_position_embeddings"}
    try:
        for key, value in (without_dropout(type(config)) | needed | given).items():
            setattr(config, key, value)
        with torch.device("meta"):
            parameters = count_parameters(build_model(config, head))
    except Exception as error:  # of every kind, from every type
        raise refusal(source, error) from error
    return SizedModel(source, config, parameters, {})


def start_from(source: str, revision: str, config: PreTrainedConfig, head: str, tokens: tuple[str, ...]) -> Any:
    """A model of that configuration with the checkpoint's weights, but for embedding and head of another vocabulary.

    Args:
        source: folder or Hub id.
        revision: as `revision_of` gives it.
        config: as `describe_checkpoint` gives it.
        head: the model's head, as formats name it.
        tokens: the task's, in the order of their ids.

    Returns:
        The model, and whether the vocabularies are equal, so that all weights were kept.

    Raises:
        HarnessError: the weights cannot be read, or are of another shape.
    """
    try:
        loading = adapter_of(config).auto_class(head).from_pretrained(source, revision=on_the_hub(revision))
    except (OSError, ValueError, SafetensorError) as error:
        raise refusal(source, error) from error
    stored, model = loading.state_dict(), build_model(config, head)
    same = _vocabulary(source, revision) == {token: number for number, token in enumerate(tokens)}
    labels = {"head"} if head == "classification" else set()  # of the task, whatever they were
    renewed = _names(model, labels if same else {"embedding", "head"})
    kept = {}
    for name, tensor in model.state_dict().items():
        if name in renewed or (name in stored and _grew_with_vocabulary(stored[name], tensor, loading, model)):
            continue
        if name not in stored or stored[name].shape != tensor.shape:
            raise HarnessError(f"{source} has no weights of this shape: {name} {tuple(tensor.shape)}.")
        kept[name] = stored[name]
    model.load_state_dict(kept, strict=False)
    return model, same


def _vocabulary(source: str, revision: str) -> dict[str, int]:
    """The checkpoint's tokens with their ids; none where it brings no tokenizer of the kind that tasks have."""
    try:
        return PreTrainedTokenizerFast.from_pretrained(source, revision=on_the_hub(revision) or "main").get_vocab()
    except (OSError, ValueError, KeyError):
        return {}


def _names(model: PreTrainedModel, kinds: set[str]) -> set[str]:
    """Names of the parameters of these kinds, all those of a tied one."""
    by_kind = parameters_by_kind(model)
    chosen = {parameter for kind in kinds for parameter in by_kind[kind]}
    return {name for name, each in model.named_parameters(remove_duplicate=False) if each in chosen}


def _grew_with_vocabulary(old: torch.Tensor, new: torch.Tensor, before: PreTrainedModel, now: PreTrainedModel) -> bool:
    """Whether a tensor is as long as the vocabulary, and the vocabulary is another: a bias beside the head."""
    lengths = (old.shape[-1:], new.shape[-1:])
    return lengths[0] != lengths[1] and lengths == ((before.config.vocab_size,), (now.config.vocab_size,))
