"""What holds for every model, encoding and head."""

import contextlib

import pytest
import torch

from hf_models.layer_looped import HALTING_RULES
from tests.hf_models.model_cases import (
    ATTENTION_CASES,
    CASES,
    CLOSE,
    ENCODINGS,
    HEADS,
    RECURRENT,
    REPRESENTATIVES,
    VOCABULARY,
    assert_same,
    build,
    checkpoint_activations,
    gradients,
    heads_of,
    labels_for,
    main_output,
    pad,
    pairs,
    ragged,
    spread,
    tokens,
)
from tests.hf_models.registered_models import CASES as REGISTERED
from tests.hf_models.registered_models import build as registered
from tests.hf_models.registered_models import is_seq2seq


def last_width(head: str, model) -> int:
    if head == "Model":
        return model.config.hidden_size
    return VOCABULARY if head in ("ForCausalLM", "ForMaskedLM") else 3


def run_ragged(model, sequences, side):
    """Outputs of a padded batch, cut back to each sequence; a sequence classifier's as they are."""
    input_ids, mask = pad(sequences, side)
    output = main_output(model(input_ids, attention_mask=mask))
    if output.dim() == 2:
        return list(output)
    return [row[keep.bool()] for row, keep in zip(output, mask, strict=True)]


def cross_entropy(logits, labels):
    """The mean of -log p(label), position by position."""
    losses = []
    for scores, label in zip(logits.flatten(0, -2), labels.flatten(), strict=True):
        if label != -100:
            losses.append(-torch.log(torch.exp(scores[label]) / torch.exp(scores).sum()))
    return torch.stack(losses).mean()


@pytest.mark.parametrize(("case", "head"), pairs())
def test_forward_has_the_shape_of_its_head(case, head):
    model = build(case, head)
    output = main_output(model(tokens()))
    assert output.shape == ((3, 3) if head == "ForSequenceClassification" else (3, 7, last_width(head, model)))
    assert output.isfinite().all()


@pytest.mark.parametrize(
    ("case", "head"),
    [(case, None) for case in REGISTERED] + [(f"halting-{rule}", head) for rule in HALTING_RULES for head in HEADS],
)
def test_without_labels_each_output_in_evaluation_has_an_entry_for_every_sequence(case, head):
    # Pipelines of transformers split a batch so.
    output = registered(case, head)(
        input_ids=tokens(), **({"decoder_input_ids": tokens()} if is_seq2seq(case) else {})
    )
    sizes = {name: value.shape[:1] for name, value in output.items() if isinstance(value, torch.Tensor)}
    assert sizes == dict.fromkeys(sizes, (3,))


@pytest.mark.parametrize(("case", "head"), [pair for pair in pairs() if pair[1] != "Model"])
def test_loss_is_the_cross_entropy_of_the_labels_and_the_weighted_ponder_cost(case, head):
    model, labels = build(case, head), labels_for(head)
    output = model(tokens(), labels=labels)
    logits, scored = output.logits, labels
    if head == "ForCausalLM":
        logits, scored = logits[:, :-1], labels[:, 1:]
    expected = cross_entropy(logits, scored)
    if getattr(model.config, "halting", "none") == "act":
        expected = expected + model.config.ponder_loss_weight * output.ponder_loss
    torch.testing.assert_close(output.loss, expected, **CLOSE)


@pytest.mark.parametrize("case", REPRESENTATIVES[:2] + REPRESENTATIVES[3:])
def test_shift_labels_are_taken_as_they_are(case):
    model, labels = build(case), labels_for("ForCausalLM")
    output = model(tokens(), labels=labels, shift_labels=labels)
    expected = cross_entropy(output.logits, labels)
    if case == "universal-act":
        expected = expected + model.config.ponder_loss_weight * output.ponder_loss
    torch.testing.assert_close(output.loss, expected, **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_hidden_states_are_the_embeddings_and_what_each_layer_gives(case):
    model = build(case, "Model")
    input_ids = tokens()
    output = model(input_ids, output_hidden_states=True)
    assert len(output.hidden_states) == model.config.num_hidden_layers + 1
    assert all(states.shape == (3, 7, 16) for states in output.hidden_states)
    torch.testing.assert_close(output.hidden_states[-1], output.last_hidden_state)
    if case in RECURRENT:
        torch.testing.assert_close(output.hidden_states[0], model.embed_tokens(input_ids))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", CASES)
def test_hidden_states_of_a_padded_batch_stand_where_their_tokens_stand(case, side):
    model, sequences = build(case, "Model"), ragged()
    input_ids, mask = pad(sequences, side)
    padded = model(input_ids, attention_mask=mask, output_hidden_states=True).hidden_states
    for row, sequence in enumerate(sequences):
        alone = model(sequence[None], output_hidden_states=True).hidden_states
        for ours, single in zip(padded, alone, strict=True):
            torch.testing.assert_close(ours[row, mask[row].bool()], single[0], **CLOSE)


@pytest.mark.parametrize("case", ATTENTION_CASES)
def test_eager_attention_weights_are_returned_and_sum_to_one(case):
    model = build(case, heads_of(case)[-1], attn_implementation="eager")
    input_ids, mask = pad(ragged(), "left")
    attentions = model(input_ids, attention_mask=mask, output_attentions=True).attentions
    assert len(attentions) == model.config.num_hidden_layers
    for weights in attentions:
        assert weights.shape == (3, 2, 7, 7)
        token_mask = weights.transpose(1, 2)[mask.bool()]  # [tokens, H, Tk]
        torch.testing.assert_close(token_mask.sum(-1), torch.ones(int(mask.sum()), 2))
        hidden = weights * (1 - mask)[:, None, None, :]
        assert hidden.transpose(1, 2)[mask.bool()].abs().max() == 0
        if model.config.is_causal:
            assert weights.triu(1).transpose(1, 2)[mask.bool()].abs().max() == 0


@pytest.mark.parametrize("case", ATTENTION_CASES)
def test_eager_and_sdpa_agree_forward_and_in_every_gradient(case):
    head = heads_of(case)[1]
    input_ids, mask = pad(ragged(), "right")
    results = []
    for implementation in ("eager", "sdpa"):
        model = build(case, head, attn_implementation=implementation)
        output = model(input_ids, attention_mask=mask, labels=input_ids.masked_fill(mask == 0, -100))
        output.loss.backward()
        results.append((output.logits[mask.bool()], gradients(model)))
    torch.testing.assert_close(results[0][0], results[1][0], **CLOSE)
    assert_same(results[0][1], results[1][1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("case", "head"), spread())
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_leaves_every_gradient_as_it_is(case, head, reentrant):
    input_ids, mask = pad(ragged(), "left")
    labels = labels_for(head)
    results = []
    for checkpointing in (False, True):
        model = build(case, head).train()
        if checkpointing:
            checkpoint_activations(model, use_reentrant=reentrant)
        model.enable_input_require_grads()
        model(input_ids, attention_mask=mask, labels=labels).loss.backward()
        results.append(gradients(model))
    assert_same(*results, **CLOSE)
    assert any(gradient.abs().max() > 0 for gradient in results[0].values())


@pytest.mark.parametrize(("case", "head"), pairs())
def test_padding_and_batching_leave_every_output_as_it_is(case, head):
    model, sequences = build(case, head), ragged()
    alone = [main_output(model(sequence[None]))[0] for sequence in sequences]
    for side in ("left", "right"):
        for ours, single in zip(run_ragged(model, sequences, side), alone, strict=True):
            torch.testing.assert_close(ours, single, **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_of_equal_lengths_gives_what_each_row_gives_alone(case):
    model, input_ids = build(case, "Model"), tokens()
    together = model(input_ids).last_hidden_state
    alone = torch.cat([model(row[None]).last_hidden_state for row in input_ids])
    torch.testing.assert_close(together, alone, **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_embedded_tokens_are_taken_in_place_of_tokens(case):
    model = build(case, "Model")
    input_ids, mask = pad(ragged(), "left")
    embedded = model.get_input_embeddings()(input_ids)
    expected = model(input_ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state, expected)


@pytest.mark.parametrize("head", ["ForCausalLM", "ForMaskedLM"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("case", ["lstm-2", "stack_rnn", "transformer-alibi", "universal-act"])
def test_resized_embeddings_keep_the_old_tokens_and_score_the_new_ones(case, head, tied):
    model = build(case, head, tie_word_embeddings=tied)
    before = model(tokens()).logits.detach()
    model.resize_token_embeddings(VOCABULARY + 4, mean_resizing=False)
    after = model(tokens()).logits
    assert model.config.vocab_size == VOCABULARY + 4
    assert after.shape[-1] == VOCABULARY + 4
    torch.testing.assert_close(after[..., :VOCABULARY], before, **CLOSE)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    model(torch.full((1, 2), VOCABULARY + 3), labels=torch.full((1, 2), VOCABULARY + 3)).loss.backward()
    assert model.lm_head.weight.grad[VOCABULARY + 3].abs().max() > 0


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_autocast_stays_close_to_float32(case):
    model = build(case, "ForMaskedLM", noise=0.02)
    input_ids, mask = pad(ragged(), "left")
    expected = model(input_ids, attention_mask=mask).logits[mask.bool()]
    with torch.autocast("cpu", torch.bfloat16):
        output = model(input_ids, attention_mask=mask, labels=input_ids)
    output.loss.backward()
    logits = output.logits[mask.bool()].float()
    assert logits.isfinite().all()
    assert (logits - expected).abs().max() < 0.1 * expected.abs().max()
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())


@pytest.mark.parametrize("case", CASES)
def test_a_bfloat16_model_runs_and_stays_close_to_float32(case):
    model = build(case, "ForMaskedLM", noise=0.02)
    input_ids, mask = pad(ragged(), "left")
    expected = model(input_ids, attention_mask=mask).logits[mask.bool()]
    logits = model.to(torch.bfloat16)(input_ids, attention_mask=mask).logits[mask.bool()]
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - expected).abs().max() < 0.15 * expected.abs().max()


@pytest.mark.parametrize("case", ["lstm", "stack_rnn-fixed", "transformer-none", "universal"])
def test_a_long_bfloat16_sequence_is_classified_at_its_last_token(case):
    # Beyond 256 not every whole number is one of bfloat16's: positions must not be counted in it.
    model = build(case, "ForSequenceClassification").to(torch.bfloat16)
    input_ids = tokens(1, 258)
    states = model.model(input_ids).last_hidden_state
    torch.testing.assert_close(model(input_ids).logits, model.score(states[:, -1]))


COMPILED = {
    **{f"transformer-{encoding}": {"num_hidden_layers": 1} for encoding in ENCODINGS},
    "transformer-alibi-bidirectional": {"num_hidden_layers": 1},
    "universal": {"num_steps": 2},
    "universal-act": {"num_steps": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", COMPILED)
def test_a_fully_compiled_model_equals_the_eager_one(case):
    model = build(case, "ForMaskedLM", **COMPILED[case])
    input_ids, mask = pad(ragged(), "left")
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        expected = model(input_ids, attention_mask=mask).logits
        logits = compiled(input_ids, attention_mask=mask).logits
    torch.testing.assert_close(logits[mask.bool()], expected[mask.bool()], **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["lstm-2", "rnn", "stack_rnn", "tape_rnn-jumps"])
def test_a_compiled_recurrent_model_may_break_its_graph_but_equals_the_eager_one(case):
    model = build(case, "ForMaskedLM")
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(tokens()).logits, model(tokens()).logits, **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_only_the_causal_head_refuses_a_bidirectional_model(case):
    expectation = contextlib.nullcontext()
    if "bidirectional" in case:
        expectation = pytest.raises(ValueError, match="needs a causal model")
    with expectation:
        assert build(case, "ForCausalLM").prefix_stable
    assert build(case, "Model").prefix_stable == ("bidirectional" not in case)


@pytest.mark.parametrize("case", CASES)
def test_more_tokens_leave_earlier_outputs_as_they_are_exactly_when_the_model_says_so(case):
    model, input_ids = build(case, "Model"), tokens()
    whole = model(input_ids).last_hidden_state[:, :4]
    prefix = model(input_ids[:, :4]).last_hidden_state
    assert torch.allclose(whole, prefix, **CLOSE) == model.prefix_stable


@pytest.mark.parametrize("case", ["lstm-2", "stack_rnn-fixed", "transformer-t5", "universal-act"])
def test_dropout_acts_in_training_alone(case):
    dropout = {"dropout": 0.5} if case in RECURRENT else {"hidden_dropout": 0.5}
    model = build(case, "Model", **dropout)
    torch.testing.assert_close(model(tokens()).last_hidden_state, model(tokens()).last_hidden_state)
    model.train()
    assert not torch.allclose(model(tokens()).last_hidden_state, model(tokens()).last_hidden_state)
