"""Small models over all registries: every model type, encoding, normalizer, attention type and way to halt."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

import hf_models
from hf_models.attention_normalizers import NORMALIZERS
from hf_models.attention_registry import ATTENTION_TYPES
from hf_models.layer_looped import HALTING_RULES
from tests.hf_models.model_cases import ATTENTION, COMMON, PONDERING, RECURRENT, class_of, labels_for, pad, ragged
from tests.hf_models.model_cases import CASES as NAMED
from tests.hf_models.plain_encodings import ENTRIES
from tests.hf_models.test_every_encoding import fits
from tests.hf_models.test_modeling_seq2seq import CASES as SEQ2SEQ


TRANSFORMER, UNIVERSAL = hf_models.PositionTransformerConfig, hf_models.UniversalTransformerConfig
EXITS: dict[str, Any] = {"exit_criterion": "stable_argmax", "exit_threshold": 2}
DYNAMIC: dict[str, Any] = {"position_encoding": "rope", "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}
JUMPS: dict[str, Any] = {"memory_size": 5, "jump_length": "input", "input_end_token_id": 3}


def _encodings() -> dict[str, tuple]:
    cases = {}
    for label, entry in ENTRIES.items():
        for causal in (True, False):
            if fits(entry, causal):
                options = {**ATTENTION, "position_encoding": entry, "is_causal": causal, "num_hidden_layers": 1}
                config_class = TRANSFORMER
                if entry == "coordinate":  # which only models that are recurrent in depth have
                    options["num_steps"] = options.pop("num_hidden_layers") + 1
                    config_class = UNIVERSAL
                cases[f"{label}-{'causal' if causal else 'bidirectional'}"] = (config_class, options)
    return cases


def _choices() -> dict[str, tuple]:
    alibi = {**ATTENTION, "position_encoding": "alibi", "num_hidden_layers": 1}
    normalizers = {name: (TRANSFORMER, {**alibi, "attention_normalizer": name}) for name in NORMALIZERS}
    attention = {
        f"attention-{name}": (TRANSFORMER, {**alibi, "attention_types": name, "sliding_window": 3})
        for name in ATTENTION_TYPES
    }
    halting = {f"halting-{rule}": (UNIVERSAL, {**PONDERING, "halting": rule}) for rule in HALTING_RULES}
    universal = {name: case for name, case in NAMED.items() if name.startswith("universal")}
    others = {
        "exits": (UNIVERSAL, {**ATTENTION, **EXITS}),
        "exits-sequence": (UNIVERSAL, {**ATTENTION, **EXITS, "exit_scope": "sequence"}),
        "rope-dynamic-causal": (TRANSFORMER, {**alibi, **DYNAMIC}),
    }
    return {**normalizers, **attention, **halting, **universal, **others}


CASES: dict[str, tuple] = {
    **RECURRENT,
    "tape_rnn-input": (hf_models.TapeRNNConfig, {**COMMON, **JUMPS}),
    **_encodings(),
    **_choices(),
    **{f"seq2seq-{name}": case for name, case in SEQ2SEQ.items()},
}


def is_seq2seq(case: str) -> bool:
    return case.startswith("seq2seq")


def is_recurrent(case: str) -> bool:
    """Whether the (decoder's) cache is a state."""
    return case.removeprefix("seq2seq-") in {
        *RECURRENT,
        "tape_rnn-input",
        *(name for name in SEQ2SEQ if "lstm" in name),
    }


def is_causal(case: str) -> bool:
    """Whether the model generates by itself."""
    config_class, options = CASES[case]
    return not is_seq2seq(case) and config_class(**options).is_causal


CAUSAL = [case for case in CASES if is_causal(case)]
GENERATING = [case for case in CASES if is_seq2seq(case) or case in CAUSAL]


def build(case: str, head: str | None = None, noise: float = 0.05, **overrides) -> PreTrainedModel:
    """A model in evaluation mode, the same at every call; with the head that generates, else with that of tokens."""
    config_class, options = CASES[case]
    config = config_class(**{**options, **overrides})
    if is_seq2seq(case):
        head = "ForConditionalGeneration"
    elif head is None:
        head = "ForCausalLM" if case in CAUSAL else "ForMaskedLM"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config, head)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += noise * torch.randn_like(parameter)
    return model.eval()


def model_class(config, head: str) -> type[PreTrainedModel]:
    """The class of a configuration's family with this head."""
    if head != "ForConditionalGeneration":
        return class_of(config, head)
    return getattr(hf_models, type(config).__name__.removesuffix("Seq2SeqConfig") + head)


def batch(head: str = "ForCausalLM") -> dict[str, Tensor]:
    """Padded tokens, their mask and labels for a head."""
    input_ids, mask = pad(ragged(), "left")
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels_for(head)}


def linears_and_embeddings(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear map and every embedding of a model, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Embedding))}
