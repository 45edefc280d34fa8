"""Caches and generate(): cached equals recomputed, padded equals alone, for every causal model."""

import pytest
import torch
from transformers import DynamicCache

from hf_models.position_ids import draw_position_ids
from tests.hf_models.model_cases import (
    CAUSAL,
    CLOSE,
    PAD,
    RECURRENT,
    VOCABULARY,
    build,
    pad,
    ragged,
    tokens,
)
from tests.hf_models.registered_models import GENERATING, is_seq2seq
from tests.hf_models.registered_models import build as registered


pytestmark = pytest.mark.versions
KINDS = ("lstm-2", "stack_rnn", "tape_rnn-jumps", "transformer-alibi", "transformer-learned", "universal-act")


def generate(model, input_ids, mask=None, new=5, **options):
    """New tokens only, exactly `new` of them."""
    mask = torch.ones_like(input_ids) if mask is None else mask
    options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": PAD, **options}
    return model.generate(input_ids, attention_mask=mask, **options)[:, input_ids.shape[1] :]


def in_chunks(model, input_ids, mask, sizes, **inputs):
    """Logits of consecutive chunks, each continuing from the returned cache of the last."""
    logits, past, begin = [], None, 0
    for size in sizes:
        end = begin + size
        output = model(
            input_ids[:, begin:end], attention_mask=mask[:, :end], past_key_values=past, use_cache=True, **inputs
        )
        logits.append(output.logits)
        past, begin = output.past_key_values, end
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (3, 4), (4, 1, 2)], ids=str)
@pytest.mark.parametrize("case", CAUSAL)
def test_cached_logits_equal_recomputed_ones_with_and_without_left_padding(case, sizes):
    model = build(case)
    for input_ids, mask in ((tokens(), torch.ones(3, 7, dtype=torch.long)), pad(ragged(), "left")):
        expected = model(input_ids, attention_mask=mask, use_cache=False)
        assert expected.past_key_values is None
        logits = in_chunks(model, input_ids, mask, sizes)
        torch.testing.assert_close(logits[mask.bool()], expected.logits[mask.bool()], **CLOSE)


@pytest.mark.parametrize("case", CAUSAL)
def test_the_cache_counts_its_tokens(case):
    model = build(case)
    cache = model(tokens(), use_cache=True).past_key_values
    assert cache.get_seq_length() == 7
    assert len(cache.layers) == model.config.num_hidden_layers
    assert model(tokens()).past_key_values is not None
    assert build(case, use_cache=False)(tokens()).past_key_values is None


@pytest.mark.parametrize(
    "options",
    [{}, {"do_sample": True, "top_k": 0}, {"num_beams": 3}],
    ids=["greedy", "sampling", "beam"],
)
@pytest.mark.parametrize("case", CAUSAL)
def test_generation_with_and_without_a_cache_gives_the_same_tokens(case, options):
    model = build(case)
    input_ids, mask = pad(ragged(), "left")
    results = []
    for use_cache in (True, False):
        torch.manual_seed(3)
        results.append(generate(model, input_ids, mask, use_cache=use_cache, **options))
    assert torch.equal(*results)
    assert len(results[0].unique()) > 1


@pytest.mark.parametrize("case", CAUSAL)
def test_a_left_padded_batch_generates_what_each_prompt_generates_alone(case):
    model, prompts, options = build(case), ragged(), {"num_beams": 3} if case in KINDS else {}
    together = generate(model, *pad(prompts, "left"), **options)
    alone = torch.cat([generate(model, prompt[None], **options) for prompt in prompts])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("case", CAUSAL)
def test_greedy_generation_is_the_argmax_of_teacher_forcing(case):
    model, prompt = build(case), tokens()
    answer = generate(model, prompt)
    logits = model(torch.cat([prompt, answer], dim=1)).logits[:, 6:-1]
    logits[..., model.config.eos_token_id] = -torch.inf
    assert torch.equal(logits.argmax(-1), answer)


@pytest.mark.parametrize("case", CAUSAL)
def test_generation_continues_from_the_cache_that_it_returned(case):
    model, prompt = build(case), tokens()
    first = model.generate(
        prompt, max_new_tokens=3, min_new_tokens=3, do_sample=False, return_dict_in_generate=True, pad_token_id=PAD
    )
    options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "pad_token_id": PAD}
    options["attention_mask"] = torch.ones_like(first.sequences)  # else generated <pad> would pass for padding
    continued = model.generate(first.sequences, past_key_values=first.past_key_values, **options)
    assert torch.equal(continued, model.generate(first.sequences, **options))


@pytest.mark.parametrize("case", KINDS)
def test_generation_from_embedded_tokens_equals_generation_from_tokens(case):
    model = build(case)
    input_ids, mask = pad(ragged(), "left")
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": PAD}
    embedded = model.get_input_embeddings()(input_ids)
    answer = model.generate(inputs_embeds=embedded, attention_mask=mask, **options)
    assert torch.equal(answer, generate(model, input_ids, mask, new=4))


@pytest.mark.parametrize("case", [case for case in GENERATING if registered(case).prefix_stable])
def test_a_cache_of_fixed_size_gives_the_same_tokens(case):
    model = registered(case)
    input_ids, mask = pad(ragged(), "left")
    answer = generate(model, input_ids, mask, cache_implementation="static")
    assert torch.equal(answer, generate(model, input_ids, mask))


# These count columns, padding included: a window, and a convolution.
BY_COLUMN = ("attention-sliding", "path-causal", "path+fox-causal")


@pytest.mark.parametrize("case", [case for case in GENERATING if not is_seq2seq(case) and case not in BY_COLUMN])
def test_a_prompt_with_padding_within_generates_as_one_without(case):
    model = registered(case)
    prompt = tokens(1, 5)
    expected = generate(model, prompt)
    row, mask = torch.full((1, 8), PAD), torch.tensor([[0, 1, 0, 1, 1, 0, 1, 1]])
    row[mask.bool()] = prompt[0]
    for options in ({}, {"use_cache": False}):
        assert torch.equal(generate(model, row, mask, **options), expected)
        # The library reads the next token off the last position: after padding it means nothing, but comes.
        assert generate(model, row, 1 - mask, **options).shape == expected.shape


@pytest.mark.parametrize("cache_steps", [1, 2, 3])
@pytest.mark.parametrize("halting", ["none", "act", "published", "ponder_net"])
def test_so_does_one_that_holds_some_steps_only(halting, cache_steps):
    options = {} if halting == "none" else {"halting": halting}
    model = build("universal", num_steps=4, cache_steps=cache_steps, **options)
    input_ids, mask = pad(ragged(), "left")
    answer = generate(model, input_ids, mask, cache_implementation="static")
    assert torch.equal(answer, generate(model, input_ids, mask))


@pytest.mark.parametrize("case", [case for case in RECURRENT if "bidirectional" not in case])
def test_a_state_is_kept_in_a_cache_that_knows_no_configuration(case):
    model = build(case)
    input_ids, mask = pad(ragged(), "left")
    cache = DynamicCache()
    begun = model(input_ids[:, :4], attention_mask=mask[:, :4], past_key_values=cache)
    assert begun.past_key_values is cache
    found = model(input_ids[:, 4:], attention_mask=mask, past_key_values=cache).logits
    torch.testing.assert_close(found, model(input_ids, attention_mask=mask).logits[:, 4:], **CLOSE)


def test_a_state_is_not_kept_where_keys_and_values_are():
    cache = build("transformer-rope")(tokens()).past_key_values
    with pytest.raises(ValueError, match="A recurrent model caches its state, and DynamicLayer holds keys and values"):
        build("lstm")(tokens(), past_key_values=cache)


def test_abacus_ids_cannot_be_counted_from_embedded_tokens():
    options = {"position_ids_scheme": "abacus", "eval_position_ids_scheme": "abacus", "abacus_tokens": [3, 4]}
    model = build("transformer-learned", **options)
    embedded = model.get_input_embeddings()(tokens())
    with pytest.raises(ValueError, match="abacus ids are counted from tokens: pass input_ids to generate"):
        model.generate(inputs_embeds=embedded, max_new_tokens=1)


@pytest.mark.parametrize("case", KINDS)
def test_logits_to_keep_computes_those_logits_alone(case):
    model = build(case)
    logits = model(tokens()).logits
    torch.testing.assert_close(model(tokens(), logits_to_keep=2).logits, logits[:, -2:])
    torch.testing.assert_close(model(tokens(), logits_to_keep=torch.tensor([0, 3])).logits, logits[:, [0, 3]])


@pytest.mark.parametrize(
    "case",
    ["lstm-bidirectional", "rnn-bidirectional", "transformer-rope-bidirectional", "universal-act-bidirectional"],
)
def test_a_bidirectional_model_has_no_cache(case):
    model = build(case, "Model")
    assert model(tokens()).past_key_values is None
    with pytest.raises(ValueError, match="bidirectional model has no KV cache"):
        model(tokens(), use_cache=True)
    cache = build(case.removesuffix("-bidirectional"))(tokens()).past_key_values
    with pytest.raises(ValueError, match="bidirectional model has no KV cache"):
        model(tokens(), past_key_values=cache)


# Position ids in generation.

SCHEMES = ("random_offset", "randomized")


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 0}], ids=str)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("case", ["transformer-learned", "transformer-rope", "transformer-fire", "universal-act"])
def test_generation_with_drawn_ids_does_not_depend_on_the_cache(case, scheme, options):
    model = build(case, position_ids_scheme=scheme, eval_position_ids_scheme=scheme)
    input_ids, mask = pad(ragged(), "left")
    results = []
    for use_cache in (True, False):
        torch.manual_seed(4)
        results.append(generate(model, input_ids, mask, use_cache=use_cache, **options))
    assert torch.equal(*results)


@pytest.mark.parametrize("case", ["transformer-learned", "transformer-rope", "transformer-fire", "universal-act"])
def test_generation_keeps_the_ids_it_was_given_for_the_final_length(case):
    # Trap: transformers alone would continue the ids by one.
    model = build(case, eval_position_ids_scheme="randomized")
    prompt, ids = tokens(), draw_position_ids("randomized", 3, 12, 32)
    for use_cache in (True, False):
        answer = generate(model, prompt, position_ids=ids, use_cache=use_cache)
        logits = model(torch.cat([prompt, answer], dim=1), position_ids=ids).logits[:, 6:-1]
        logits[..., model.config.eos_token_id] = -torch.inf
        assert torch.equal(logits.argmax(-1), answer)


@pytest.mark.parametrize("case", ["transformer-rope", "universal-act"])
def test_generation_past_the_given_ids_is_refused(case):
    model = build(case, eval_position_ids_scheme="randomized")
    ids = draw_position_ids("randomized", 3, 9, 32)
    with pytest.raises(ValueError, match=r"position_ids cover 9 tokens; generation has reached 10"):
        generate(model, tokens(), position_ids=ids)


def test_generation_beyond_the_range_of_random_ids_is_refused():
    model = build("transformer-rope", eval_position_ids_scheme="randomized")
    with pytest.raises(ValueError, match="max_position_embeddings allows 32"):
        generate(model, tokens(), new=26)


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
@pytest.mark.parametrize("scheme", ["consecutive", "randomized"])
def test_generation_takes_the_librarys_default_length_with_either_scheme(scheme):
    model = build("transformer-rope", eval_position_ids_scheme=scheme, max_position_embeddings=64, eos_token_id=None)
    assert model.generate(tokens(), do_sample=False, pad_token_id=PAD).shape == (3, 27)
    assert model.generate(tokens(), max_length=9, do_sample=False, pad_token_id=PAD).shape == (3, 9)


def test_drawn_ids_serve_generation_from_embedded_tokens():
    model = build("transformer-rope", eval_position_ids_scheme="randomized")
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": PAD}
    torch.manual_seed(5)
    expected = model.generate(tokens(), **options)[:, 7:]
    torch.manual_seed(5)
    assert torch.equal(model.generate(inputs_embeds=model.get_input_embeddings()(tokens()), **options), expected)


def test_consecutive_ids_that_start_elsewhere_are_continued_by_one():
    model = build("transformer-learned")
    ids = torch.arange(4, 11).expand(3, -1)
    prompt = tokens()
    answer = generate(model, prompt, position_ids=ids)
    assert torch.equal(answer, generate(model, prompt, position_ids=ids, use_cache=False))
    logits = model(torch.cat([prompt, answer], 1), position_ids=torch.arange(4, 16).expand(3, -1)).logits[:, 6:-1]
    logits[..., model.config.eos_token_id] = -torch.inf
    assert torch.equal(logits.argmax(-1), answer)
    assert answer.max() < VOCABULARY


def test_a_mask_that_leaves_cached_tokens_out_is_refused():
    model, input_ids = build("transformer-alibi"), tokens(1, 4)
    cache = model(input_ids, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="covers 1 tokens; with cached ones there are 5"):
        model(input_ids[:, :1], attention_mask=torch.ones((1, 1)), past_key_values=cache)
