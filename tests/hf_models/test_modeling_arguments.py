"""Both names of the KV cache, and keyword arguments that a model does not have, for every registered model."""

import copy
import inspect

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import hf_models
from hf_models.modeling_arguments import CACHE_NAME, LIBRARY_ARGUMENTS, OTHER_CACHE_NAME
from tests.hf_models.model_cases import CLOSE, checkpoint_activations, main_output, tokens
from tests.hf_models.registered_models import CASES, GENERATING, build, is_seq2seq


pytestmark = pytest.mark.usefixtures("no_gradients")
CACHED = [case for case in GENERATING if build(case).prefix_stable]
UNCACHED = [case for case in GENERATING if case not in CACHED]
# One configuration of each class.
TYPES = {CASES[case][0]: case for case in reversed(CASES)}
CLASSES = [model_class for classes in hf_models.MODEL_CLASSES.values() for model_class in classes.values()]
NEW = {"decoder_input_ids": tokens(2, 3, seed=1)}


@pytest.fixture
def no_gradients():
    """Caches that carry gradients cannot be copied."""
    with torch.no_grad():
        yield


def inputs(case: str, new: slice) -> dict:
    """Part of a sequence; of an encoder-decoder, a source and part of a target."""
    ids = tokens(2, 8)
    return {"input_ids": ids, "decoder_input_ids": ids[:, new]} if is_seq2seq(case) else {"input_ids": ids[:, new]}


@pytest.mark.versions
@pytest.mark.parametrize("case", CACHED)
def test_the_cache_is_taken_and_returned_under_both_names(case):
    model = build(case)
    expected = main_output(model(**inputs(case, slice(None)), use_cache=False))[:, 5:]
    begun = model(**inputs(case, slice(5)), use_cache=True)
    assert begun.cache is begun.past_key_values is begun["cache"] is begun["past_key_values"]
    assert begun.get("cache") is begun.get("past_key_values") is not None
    assert "cache" in begun
    assert "past_key_values" in begun
    for name in ("cache", "past_key_values"):
        found = model(**inputs(case, slice(5, None)), **{name: copy.deepcopy(begun.cache)})
        torch.testing.assert_close(main_output(found), expected, **CLOSE)


@pytest.mark.versions
@pytest.mark.parametrize("case", TYPES.values())
def test_generate_takes_and_returns_the_cache_under_both_names(case):
    model, ids = build(case), tokens(2, 8)
    if case not in GENERATING:
        pytest.skip("it does not generate")
    options = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True, "eos_token_id": None}
    expected = model.generate(ids, **options)
    assert expected.cache is expected.past_key_values is not None
    if is_seq2seq(case):
        return
    begun = model(ids[:, :5], use_cache=True)
    for name in ("cache", "past_key_values"):
        found = model.generate(ids, **{name: copy.deepcopy(begun.cache)}, **options)
        assert torch.equal(found.sequences, expected.sequences)


def test_two_caches_are_refused():
    model = build("rope-causal")
    cache = model(tokens(2, 5), use_cache=True).cache
    with pytest.raises(ValueError, match=r"'past_key_values' and as 'cache'; expected one"):
        model(tokens(2, 1), cache=cache, past_key_values=copy.deepcopy(cache))


@pytest.mark.parametrize("case", UNCACHED)
def test_a_model_that_is_not_prefix_stable_generates_without_a_cache_and_refuses_one(case):
    model, ids = build(case), tokens(2, 8)
    options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    found = model.generate(ids, return_dict_in_generate=True, **options)
    assert found.cache is None
    assert torch.equal(found.sequences, model.generate(ids, use_cache=False, **options))
    assert model(**inputs(case, slice(None))).cache is None
    for call in (
        lambda: model(**inputs(case, slice(None)), use_cache=True),
        lambda: model.generate(ids, use_cache=True, **options),
        lambda: model.generate(ids, cache_implementation="static", **options),
    ):
        with pytest.raises(ValueError, match="has no KV cache with this configuration"):
            call()


@pytest.mark.versions
@pytest.mark.parametrize("case", CACHED)
def test_activation_checkpointing_has_no_cache(case):
    model = build(case).train()
    checkpoint_activations(model, use_reentrant=False)
    with torch.enable_grad():
        assert model(**inputs(case, slice(None))).cache is None
        with pytest.raises(ValueError, match="Activation checkpointing computes layers twice"):
            model(**inputs(case, slice(None)), use_cache=True)
    cache = model(**inputs(case, slice(5)), use_cache=True).cache  # without gradients nothing is computed twice
    with torch.enable_grad(), pytest.raises(ValueError, match="Activation checkpointing computes layers twice"):
        model(**inputs(case, slice(5, None)), past_key_values=cache)


def test_models_of_every_kind_are_among_those_without_a_cache():
    assert {"attention-lsh", "exits-sequence", "rope-dynamic-causal", "tape_rnn-input"} <= set(UNCACHED)


@pytest.mark.versions
@pytest.mark.parametrize("model_class", CLASSES, ids=lambda model_class: model_class.__name__)
def test_an_unknown_keyword_is_refused_with_the_nearest_name(model_class):
    model = build_class(model_class)
    for given, nearest in (
        ("atention_mask", "attention_mask"),
        ("inputs_embed", "inputs_embeds"),
        ("caches", "cache"),
    ):
        with pytest.raises(ValueError, match=rf"no argument '{given}'. Did you mean '{nearest}'"):
            model(tokens(), **NEW if "Seq2Seq" in model_class.__name__ else {}, **{given: tokens()})
    with pytest.raises(ValueError, match=r"no argument 'zebra'\. Known: "):
        model(tokens(), zebra=1)
    model_inputs = {"input_ids": tokens()} | (
        {"decoder_input_ids": tokens()} if model.config.is_encoder_decoder else {}
    )
    model(**model_inputs, zebra=None)  # as batches of datasets and pipelines have them


def build_class(model_class):
    """A model of a class, with the smallest causal configuration of its type if there is one."""
    case = next(case for config_class, case in TYPES.items() if config_class is model_class.config_class)
    config_class, options = CASES[case]
    return model_class(config_class(**options)).eval()


@pytest.mark.versions
@pytest.mark.parametrize("case", TYPES.values())
def test_what_transformers_passes_is_taken(case):
    model, given = build(case), inputs(case, slice(None))
    expected = main_output(model(**given))
    passed = {"return_dict": True, "output_attentions": False, "output_hidden_states": True, "use_cache": False}
    passed |= {"num_items_in_batch": None, "token_type_ids": torch.zeros(2, 8, dtype=torch.long)}
    assert set(LIBRARY_ARGUMENTS) >= {"num_items_in_batch", "output_attentions", "output_hidden_states"}
    torch.testing.assert_close(main_output(model(**given, **passed)), expected, **CLOSE)
    with pytest.raises(ValueError, match="has no token types"):
        model(**given, token_type_ids=torch.ones(2, 8, dtype=torch.long))


def test_what_a_registered_attention_function_takes_is_passed_on():
    seen = []

    def attend(module, query, key, value, attention_mask, temper=1.0, **kwargs):
        seen.append(temper)
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, **kwargs)

    ALL_ATTENTION_FUNCTIONS["tempered"] = attend
    try:
        model = build("rope-causal", attn_implementation="tempered")
        model(tokens(), temper=2.0)
        with pytest.raises(ValueError, match=r"no argument 'tempre'. Did you mean 'temper'"):
            model(tokens(), tempre=2.0)
    finally:
        del ALL_ATTENTION_FUNCTIONS["tempered"]
    assert seen == [2.0]


@pytest.mark.parametrize("model_class", CLASSES, ids=lambda model_class: model_class.__name__)
def test_both_names_are_in_the_signature(model_class):
    parameters = inspect.signature(model_class.forward).parameters
    assert {CACHE_NAME, OTHER_CACHE_NAME} <= parameters.keys()
    assert list(parameters)[-1] == "kwargs"
