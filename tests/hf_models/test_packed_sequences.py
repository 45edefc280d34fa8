"""Several sequences in a row: each gives what it gives in a row of its own, or the model refuses them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DataCollatorWithFlattening

import hf_models
from hf_models.packed_sequences import Unpacking, find_sequences
from tests.hf_models.model_cases import ATTENTION, CLOSE, COMMON, assert_same, gradients, main_output, pad, ragged
from tests.hf_models.registered_models import CASES, build, is_seq2seq
from tests.hf_models.test_every_encoding import uncompiled


SEQUENCES = ragged((4, 7, 1, 2))
REFUSED = {
    "attention-lsh": "LSHAttention reads no mask of pairs",
    "exits-sequence": "exit_scope 'sequence' takes a row for one sequence",
    "tape_rnn-input": "jump_length 'input' is that of a row",
}
ABLE = [case for case in CASES if not is_seq2seq(case) and case not in REFUSED]


def flattened(sequences=SEQUENCES) -> dict:
    """All sequences in one row, as the collator of transformers makes it."""
    collated = DataCollatorWithFlattening(return_tensors="pt")([{"input_ids": each.tolist()} for each in sequences])
    return {name: collated[name] for name in ("input_ids", "position_ids")}


def one_by_one(model, sequences=SEQUENCES) -> torch.Tensor:
    """Outputs of each sequence in a call of its own, one after the other `[1, T, …]`."""
    return torch.cat([main_output(model(each[None], use_cache=False)) for each in sequences], dim=1)


# The position ids.


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5), offset=st.integers(0, 3), data=st.data())
def test_a_sequence_begins_where_ids_start_again(lengths, offset, data):
    ids = torch.cat([offset + torch.arange(length) for length in lengths])[None]
    expected = torch.cat([torch.full((length,), index) for index, length in enumerate(lengths)])[None]
    assert torch.equal(find_sequences(ids, None, 2), expected.expand(2, -1))
    # Padding between the tokens, whatever its ids, begins nothing.
    total = ids.shape[1]
    places = data.draw(st.permutations(range(2 * total)))[:total]
    token_mask = torch.zeros(1, 2 * total, dtype=torch.long)
    token_mask[0, places] = 1
    spread = torch.randint(9, (1, 2 * total)).masked_scatter(token_mask.bool(), ids)
    assert torch.equal(find_sequences(spread, token_mask, 1)[token_mask.bool()], expected[0])


def test_ids_with_gaps_are_one_sequence():
    assert not find_sequences(torch.tensor([[0, 2, 3, 9]]), None, 1).any()


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.lists(st.integers(1, 4), min_size=3, max_size=3), min_size=1, max_size=3))
def test_unpacking_gives_every_sequence_a_row_and_packing_reverts_it(lengths):
    total = max(map(sum, lengths))
    rows = [[*row[:2], total - sum(row[:2])] for row in lengths]
    sequences = torch.stack([torch.repeat_interleave(torch.arange(3), torch.tensor(row)) for row in rows])
    values, unpacking = torch.randn(len(rows), total, 2), Unpacking(sequences)
    unpacked = unpacking.unpack(values)
    flat = [length for row in rows for length in row]
    assert unpacked.shape == (len(flat), max(flat), 2)
    assert torch.equal(unpacking.pack(unpacked), values)
    expected = torch.nn.utils.rnn.pad_sequence(values.flatten(0, 1).split(flat), batch_first=True)
    assert torch.equal(unpacked, expected)


# The models.


@pytest.mark.parametrize("case", ABLE)
def test_packed_sequences_give_what_each_gives_in_a_row_of_its_own(case):
    model = build(case)
    with torch.no_grad():
        found = main_output(model(**flattened()))
    torch.testing.assert_close(found, one_by_one(model), **CLOSE)


KINDS = ["rope-causal", "t5-causal", "alibi-bidirectional", "attention-sliding", "halting-act"]


@pytest.mark.filterwarnings("ignore")  # uncompiled FlexAttention warns that it is slow
@pytest.mark.parametrize("implementation", ["eager", "flex_attention"])
@pytest.mark.parametrize("case", KINDS)
def test_so_do_they_with_every_implementation(case, implementation):
    model = build(case, attn_implementation=implementation)
    with torch.no_grad(), uncompiled():
        torch.testing.assert_close(main_output(model(**flattened())), one_by_one(model), **CLOSE)


@pytest.mark.parametrize("case", ["rope-causal", "path-causal", "lstm-bidirectional", "stack_rnn", "halting-act"])
def test_several_packed_rows_with_padding_give_the_same(case):
    model = build(case)
    rows = [flattened(SEQUENCES[:2]), flattened(SEQUENCES[2:])]
    input_ids, mask = pad([row["input_ids"][0] for row in rows], "left")
    position_ids, _ = pad([row["position_ids"][0] for row in rows], "left")
    with torch.no_grad():
        found = main_output(model(input_ids, attention_mask=mask, position_ids=position_ids))
    torch.testing.assert_close(found[mask.bool()], one_by_one(model)[0], **CLOSE)


@pytest.mark.parametrize("case", ["rope-causal", "path-causal", "fox-causal", "lstm-learned", "tape_rnn", "universal"])
def test_training_on_packed_sequences_is_training_on_padded_ones(case):
    model, found = build(case), []
    collated = DataCollatorWithFlattening(return_tensors="pt")([{"input_ids": each.tolist()} for each in SEQUENCES])
    input_ids, mask = pad(SEQUENCES, "right")
    padded = {"input_ids": input_ids, "attention_mask": mask, "labels": input_ids.masked_fill(mask == 0, -100)}
    for batch in (padded, {name: collated[name] for name in ("input_ids", "position_ids", "labels")}):
        model.zero_grad()
        output = model(**batch)
        output.loss.backward()
        found.append(({"loss": output.loss.detach()}, gradients(model)))
    for first, second in zip(*found, strict=True):
        assert_same(first, second, **CLOSE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own tracing
@pytest.mark.parametrize("case", ["rope-causal", "rope-bidirectional", "halting-act"])
def test_a_compiled_model_keeps_sequences_apart_too(case):
    model = build(case)
    expected = one_by_one(model)
    compiled = torch.compile(model, backend="eager", dynamic=True)
    with torch.no_grad():
        torch.testing.assert_close(main_output(compiled(**flattened(), use_cache=False)), expected, **CLOSE)


@pytest.mark.parametrize("scheme", ["random_offset", "randomized"])
def test_given_ids_of_random_schemes_that_fall_begin_a_sequence(scheme):
    model = build("rope-causal", position_ids_scheme=scheme, eval_position_ids_scheme=scheme)
    randomized_distances = [3 + torch.arange(len(each)) * 2 for each in SEQUENCES]
    with torch.no_grad():
        found = model(torch.cat(SEQUENCES)[None], position_ids=torch.cat(randomized_distances)[None]).logits
        pairs = zip(SEQUENCES, randomized_distances, strict=True)
        expected = [model(each[None], position_ids=ids[None]).logits for each, ids in pairs]
    torch.testing.assert_close(found, torch.cat(expected, dim=1), **CLOSE)


# What cannot do it.


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_would_mix_sequences_refuses_them(case):
    with pytest.raises(ValueError, match=rf"cannot keep them apart: {REFUSED[case]}\. Give each sequence"):
        build(case)(**flattened(), use_cache=False)


@pytest.mark.parametrize("config_class", [each for each in hf_models.MODEL_CLASSES if "Seq2Seq" not in each.__name__])
def test_a_label_for_each_row_is_refused(config_class):
    options = COMMON if "num_attention_heads" not in config_class().to_dict() else ATTENTION
    name = config_class.__name__.removesuffix("Config") + "ForSequenceClassification"
    model = getattr(hf_models, name)(config_class(**options)).eval()
    with pytest.raises(ValueError, match="it has one label for each row"):
        model(**flattened())


@pytest.mark.parametrize("case", [case for case in CASES if is_seq2seq(case)])
def test_an_encoder_decoder_refuses_packed_sources_and_targets(case):
    model, packed = build(case), flattened()
    for batch in (
        {**packed, "decoder_input_ids": packed["input_ids"]},
        {"input_ids": packed["input_ids"], "decoder_input_ids": packed["input_ids"]}
        | {"decoder_position_ids": packed["position_ids"]},
    ):
        with pytest.raises(ValueError, match="its target attends to a row of the source"):
            model(**batch)


@pytest.mark.parametrize("case", ["rope-causal", "lstm", "halting-act"])
def test_packed_sequences_have_no_cache(case):
    model, packed = build(case), flattened()
    assert model(**packed).past_key_values is None
    with pytest.raises(ValueError, match="several sequences, and these have no KV cache"):
        model(**packed, use_cache=True)
    cache = model(SEQUENCES[0][None], use_cache=True).past_key_values
    with pytest.raises(ValueError, match="several sequences, and these have no KV cache"):
        model(**packed, past_key_values=cache)


@pytest.mark.parametrize("case", ["lstm", "rope-causal", "seq2seq-lstm"])
def test_lengths_of_sequences_alone_are_refused(case):
    collator = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True, return_tensors="pt")
    packed = collator([{"input_ids": each.tolist()} for each in SEQUENCES])
    model = build(case)
    if not is_seq2seq(case):
        torch.testing.assert_close(main_output(model(**packed)), one_by_one(model), **CLOSE)
    packed.pop("position_ids")
    with pytest.raises(ValueError, match="position_ids that start again, but only seq_idx is given"):
        model(**packed)
