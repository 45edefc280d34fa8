"""The description of a model for `longreach models NAME`."""

import torch
from transformers import CONFIG_MAPPING, AutoConfig

from eval_harness.models.adapter import adapter_of, build_model
from eval_harness.models.checkpoints import is_checkpoint, on_the_hub, revision_of
from eval_harness.models.sizes import size_model
from eval_harness.models.warm_start import describe_checkpoint
from eval_harness.tokenization.vocabulary import Vocabulary


# Without a task.
NEEDS = {
    "vocab_size": 32,
    "pad_token_id": Vocabulary.pad_id,
    "bos_token_id": Vocabulary.bos_id,
    "eos_token_id": Vocabulary.eos_id,
    "decoder_start_token_id": Vocabulary.bos_id,
}


def describe_model(name: str, budget: int) -> dict:
    """An architecture at a budget, or a checkpoint at its own size.

    Args:
        name: as a run names its model.
        budget: counted parameters.

    Returns:
        The name; the class that is built; its kind: causal, bidirectional or encoder-decoder; the sizes chosen, by
        field; and parameters by kind.

    Raises:
        HarnessError: there is no such model, or none of this size.
    """
    if is_checkpoint(name):
        revision = revision_of(name)
        head = _head(AutoConfig.from_pretrained(name, revision=on_the_hub(revision)))
        sized = describe_checkpoint(name, revision, head, needs={}, given={})
    else:
        head = _head(CONFIG_MAPPING[name]) if name in CONFIG_MAPPING else "token"
        sized = size_model(name, budget, head, NEEDS)
    with torch.device("meta"):
        built = type(build_model(sized.config, head)).__name__
    direction = "causal" if adapter_of(sized.config).is_causal else "bidirectional"
    return {
        "model": name,
        "class": built,
        "kind": direction if head == "token" else "encoder-decoder",
        "chosen": sized.chosen,
        "parameters": sized.parameters,
    }


def _head(config) -> str:
    return "sequence_to_sequence" if getattr(config, "is_encoder_decoder", False) else "token"
