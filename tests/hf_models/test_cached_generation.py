"""Generation is the same with a cache and without, for every registered model that generates: here and as Hub code.

The cases come from the registries, so that a model, an encoding, a way of halting or an attention type is tested by
being registered.
"""

from dataclasses import fields
from typing import Any, get_args

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

import hf_models
from hf_models.attention_normalizers import NORMALIZERS
from hf_models.attention_registry import ATTENTION_TYPES
from hf_models.position_registry import POSITION_ENCODINGS
from tests.hf_models import fresh_process
from tests.hf_models.model_cases import ATTENTION, CLOSE, COMMON, PAD, pad, ragged, tokens


pytestmark = pytest.mark.versions
GENERATING = {
    config_class: next(auto for auto in (AutoModelForCausalLM, AutoModelForSeq2SeqLM) if auto in classes)
    for config_class, classes in hf_models.MODEL_CLASSES.items()
    if {AutoModelForCausalLM, AutoModelForSeq2SeqLM} & classes.keys()
}
# Hashing sorts all tokens, so that a later one can change what an earlier one sees.
ATTENTIONS = [name for name in ATTENTION_TYPES if name != "lsh"]
CHOICES: dict[str, list] = {
    "position_encoding": list(POSITION_ENCODINGS),
    "attention_types": ATTENTIONS,
    "attention_normalizer": list(NORMALIZERS),
}


def choices(config_class) -> dict[str, list]:
    """The values of every field that decides how a model computes; halting and exits are closed lists of names."""
    closed = {each.name: get_args(each.type) for each in fields(config_class)}
    named = {name: list(values) for name, values in closed.items() if name in ("halting", "exit_criterion")}
    return {name: values for name, values in (CHOICES | named).items() if name in closed}


def options_of(config_class) -> dict[str, Any]:
    """The options of a small model."""
    if "num_attention_heads" not in {each.name for each in fields(config_class)}:
        return COMMON
    return {**ATTENTION, "sliding_window": 4}


def _cases() -> dict[str, tuple]:
    cases = {}
    for config_class in GENERATING:
        cases[config_class.model_type] = (config_class, options_of(config_class))
        for name, values in choices(config_class).items():
            for value in values:
                options = {**options_of(config_class), name: value}
                if "halting" in name and "encoder_halting" in {each.name for each in fields(config_class)}:
                    options["encoder_halting"] = "act"
                try:
                    config = config_class(**options)
                except StrictDataclassError:  # the model has no such combination
                    continue
                if config.use_cache:
                    cases[f"{config_class.model_type}-{name}-{value}"] = (config_class, options)
    return cases


CASES = _cases()
TYPES = [config_class.model_type for config_class in GENERATING]
# What the library's loader can get wrong does not depend on the encoding; test_saving.py has ways of halting.
AS_HUB_CODE = TYPES


def build(case: str):
    """A model in evaluation mode, the same at every call."""
    config_class, options = CASES[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GENERATING[config_class].from_config(config_class(**{**options, "eos_token_id": None}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def test_every_type_encoding_and_attention_is_among_the_cases():
    assert {config_class for config_class, _ in CASES.values()} == set(GENERATING)
    for name, values in CHOICES.items():
        assert all(any(options.get(name) == value for _, options in CASES.values()) for value in values), name
    assert {"act", "published", "ponder_net"} <= {options.get("halting") for _, options in CASES.values()}


# The library warns that a prompt is continued from its padding where that is on the right; it is still one sequence.
@pytest.mark.parametrize(("case", "side"), [(case, "left") for case in CASES] + [(case, "right") for case in TYPES])
def test_generation_is_the_same_with_a_cache_and_without(case, side):
    model = build(case)
    input_ids, mask = pad(ragged(), side)
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": PAD}
    options |= {"attention_mask": mask, "output_logits": True, "return_dict_in_generate": True}
    cached, plain = (model.generate(input_ids, use_cache=use_cache, **options) for use_cache in (True, False))
    assert torch.equal(cached.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(plain.logits), **CLOSE)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What a process without Longreach finds of the saved models, and what this process does."""
    folder, jobs, expected = tmp_path_factory.mktemp("hub_code"), [], {}
    for case in AS_HUB_CODE:
        model = build(case)
        model.save_pretrained(folder / case)
        auto_class = GENERATING[CASES[case][0]].__name__
        jobs.append({"name": case, "saved": case, "auto_class": auto_class, "input_ids": tokens().tolist()})
        expected[case] = fresh_process.look_at(model, tokens())
    return fresh_process.run(folder, jobs), expected


@pytest.mark.slow
@pytest.mark.parametrize("case", AS_HUB_CODE)
def test_hub_code_generates_the_same_with_a_cache_and_without(elsewhere, case):
    found, expected = elsewhere
    assert found[case]["module"].startswith("transformers_modules.")
    assert torch.equal(found[case]["tokens"], expected[case]["tokens"])
    assert torch.equal(found[case]["tokens"], found[case]["uncached_tokens"])
