"""All positions halt after their first step: nothing is left to compute, and later tokens still see what was offered.

Every encoding, normalizer and attention type with every way to halt or to leave, with a cache and without.
"""

from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_models import UniversalTransformerConfig, UniversalTransformerSeq2SeqConfig
from hf_models.attention_normalizers import NORMALIZERS
from hf_models.attention_registry import ATTENTION_TYPES
from hf_models.layer_looped import HALTING_RULES
from tests.hf_models.model_cases import ATTENTION, CLOSE, PAD, pad, ragged
from tests.hf_models.plain_encodings import ENTRIES
from tests.hf_models.registered_models import model_class


AT_ONCE: dict[str, dict[str, Any]] = {
    **{rule: {"halting": rule, "halting_bias": 9.0, "halting_threshold": 0.5} for rule in HALTING_RULES},
    "latent_difference": {"exit_criterion": "latent_difference", "exit_threshold": 1e9},
    "stable_argmax": {"exit_criterion": "stable_argmax", "exit_threshold": 1},
    "sequence": {"exit_criterion": "latent_difference", "exit_threshold": 1e9, "exit_scope": "sequence"},
}
CHOICES: dict[str, dict] = {
    **{label: {"position_encoding": entry} for label, entry in ENTRIES.items()},
    **{f"normalizer-{name}": {"attention_normalizer": name} for name in NORMALIZERS},
    **{f"attention-{name}": {"attention_types": name, "sliding_window": 3} for name in ATTENTION_TYPES},
    "around": {"num_prelude_layers": 1, "num_coda_layers": 1, "num_shared_layers": 2, "position_encoding": "fox"},
}


def configuration(config_class, choice: str, way: str):
    """The configuration; None where there is no such combination."""
    options = {**ATTENTION, "num_steps": 3, "eos_token_id": None, **CHOICES[choice], **AT_ONCE[way]}
    try:
        return config_class(**options)
    except StrictDataclassError:
        return None


def pairs(config_class) -> list:
    return [
        pytest.param(config, id=f"{choice}-{way}")
        for choice in CHOICES
        for way in AT_ONCE
        if (config := configuration(config_class, choice, way)) is not None
    ]


def build(config):
    head = "ForConditionalGeneration" if config.is_encoder_decoder else "ForCausalLM"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config, head)(config).eval()
    # A hook makes the model compute all positions in all steps.
    plain = model_class(config, head)(config).eval()
    plain.load_state_dict(model.state_dict())
    for module in plain.modules():
        if hasattr(module, "early_exit"):
            for layer in module.layers:
                layer.register_forward_hook(lambda *given: None)
    return model, plain


def generate(model, use_cache):
    input_ids, mask = pad(ragged(), "left")
    written = model.generate(
        input_ids,
        attention_mask=mask,
        max_new_tokens=3,
        do_sample=False,
        use_cache=use_cache,
        pad_token_id=PAD,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return torch.stack(written.logits)


def check(config):
    model, plain = build(config)
    input_ids, mask = pad(ragged(), "left")
    expected = generate(plain, False)
    torch.testing.assert_close(generate(model, False), expected, **CLOSE)
    if model.prefix_stable:
        torch.testing.assert_close(generate(model, True), expected, **CLOSE)
    target = {"decoder_input_ids": input_ids} if config.is_encoder_decoder else {}
    steps = model(input_ids, attention_mask=mask, **target).ponder_steps
    if config.exit_criterion != "stable_argmax":  # which waits until a prediction is made twice
        assert steps.max() == 1


@pytest.mark.parametrize("config", pairs(UniversalTransformerConfig))
def test_models_whose_positions_have_all_halted_go_on(config):
    check(config)


@pytest.mark.parametrize("config", pairs(UniversalTransformerSeq2SeqConfig))
def test_so_do_encoder_decoders(config):
    check(config)
