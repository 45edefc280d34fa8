"""The Universal Transformer: shared depth, halting, and what it reports."""

import pytest
import torch

from hf_models import UniversalTransformerForCausalLM
from hf_models.layer_looped import LoopedLayers
from tests.hf_models.model_cases import (
    CLOSE,
    HEADS,
    assert_same,
    build,
    checkpoint_activations,
    gradients,
    labels_for,
    pad,
    ragged,
    tokens,
)


@pytest.mark.parametrize("encoding", ["none", "sinusoidal", "learned", "rope", "alibi", "t5", "fire"])
@pytest.mark.parametrize("group", [1, 2])
def test_without_halting_it_is_a_stack_of_layers_with_tied_weights(encoding, group):
    shared = build("universal", "ForMaskedLM", position_encoding=encoding, num_shared_layers=group, num_steps=3)
    stack = build("transformer-none", "ForMaskedLM", position_encoding=encoding, num_hidden_layers=3 * group)
    weights = shared.state_dict()
    for name in stack.state_dict():
        if name.startswith("model.layers."):
            index, rest = name.removeprefix("model.layers.").split(".", 1)
            weights[name] = shared.state_dict()[f"model.stack.layers.{int(index) % group}.{rest}"]
    stack.load_state_dict({name: weights[name] for name in stack.state_dict()})
    input_ids, mask = pad(ragged(), "left")
    logits = [model(input_ids, attention_mask=mask).logits[mask.bool()] for model in (shared, stack)]
    torch.testing.assert_close(*logits, **CLOSE)


def test_depth_adds_no_parameters():
    counts = [build("universal-act", num_steps=steps).num_parameters() for steps in (1, 2, 7)]
    assert len(set(counts)) == 1


@pytest.mark.parametrize("halting", ["none", "act"])
def test_the_number_of_steps_may_change_after_loading(halting, tmp_path):
    model = build("universal-act", halting=halting, num_steps=2)
    model.save_pretrained(tmp_path)
    loaded = UniversalTransformerForCausalLM.from_pretrained(tmp_path)
    loaded.config.num_steps = 5
    expected = build("universal-act", halting=halting, num_steps=5)
    output = loaded(tokens())
    torch.testing.assert_close(output.logits, expected(tokens()).logits, **CLOSE)
    assert not torch.allclose(output.logits, model(tokens()).logits, atol=1e-3)
    assert len(output.past_key_values.layers) == 5
    asked = UniversalTransformerForCausalLM.from_pretrained(tmp_path, num_steps=5)
    torch.testing.assert_close(asked(tokens()).logits, output.logits, **CLOSE)
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    generated = loaded.generate(tokens(), **options)
    assert torch.equal(generated, expected.generate(tokens(), use_cache=False, **options))


# Halting.


def count_steps(monkeypatch):
    """A list that grows by one at every step taken."""
    taken, original = [], LoopedLayers.step

    def step(self, states, number, *arguments, **options):
        taken.append(number)
        return original(self, states, number, *arguments, **options)

    monkeypatch.setattr(LoopedLayers, "step", step)
    return taken


@pytest.mark.parametrize("training", [True, False])
def test_without_a_cache_the_loop_ends_with_the_last_running_position(training, monkeypatch):
    model = build("universal-act", num_steps=8, halting_bias=0.5).train(training)
    with torch.no_grad():
        model.model.stack.halting.unit.weight *= 0.1
    taken = count_steps(monkeypatch)
    input_ids, mask = pad(ragged(), "left")
    early = model(input_ids, attention_mask=mask, use_cache=False)
    assert len(taken) == int(early.ponder_steps.max()) < 8
    taken.clear()
    whole = model(input_ids, attention_mask=mask, use_cache=True)
    assert len(taken) == 8  # later tokens look for keys and values at every step
    torch.testing.assert_close(early.logits[mask.bool()], whole.logits[mask.bool()], **CLOSE)
    assert torch.equal(early.ponder_steps, whole.ponder_steps)


def test_a_cache_filled_by_halted_tokens_serves_tokens_that_think_longer():
    model = build("universal-act", num_steps=6, halting_bias=0.5)
    whole = model(tokens(), use_cache=False)
    assert whole.ponder_steps[:, 4:].max() > whole.ponder_steps[:, :4].min()
    first = model(tokens()[:, :4], use_cache=True)
    rest = model(tokens()[:, 4:], past_key_values=first.past_key_values)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole.logits, **CLOSE)
    assert torch.equal(torch.cat([first.ponder_steps, rest.ponder_steps], 1), whole.ponder_steps)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("is_causal", [True, False])
def test_padding_takes_no_steps_and_real_tokens_take_one_to_all(side, is_causal):
    model = build("universal-act", "Model", is_causal=is_causal)
    sequences = ragged()
    input_ids, mask = pad(sequences, side)
    output = model(input_ids, attention_mask=mask)
    assert output.ponder_steps[mask == 0].abs().max() == 0
    assert output.remainders[mask == 0].abs().max() == 0
    token_mask = output.ponder_steps[mask.bool()]
    assert token_mask.min() >= 1
    assert token_mask.max() <= 4
    assert torch.equal(token_mask, token_mask.round())
    for row, sequence in enumerate(sequences):
        alone = model(sequence[None])
        assert torch.equal(output.ponder_steps[row, mask[row].bool()], alone.ponder_steps[0])
        torch.testing.assert_close(output.remainders[row, mask[row].bool()], alone.remainders[0], **CLOSE)


@pytest.mark.parametrize(("bias", "steps"), [(20.0, 1), (0.0, 2), (-20.0, 6)])
def test_the_halting_bias_alone_gives_the_known_number_of_steps(bias, steps):
    model = build("universal-act", "Model", num_steps=6, halting_threshold=0.99)
    torch.nn.init.zeros_(model.stack.halting.unit.weight)
    torch.nn.init.constant_(model.stack.halting.unit.bias, bias)
    assert set(model(tokens()).ponder_steps.flatten().tolist()) == {steps}


def test_a_position_that_always_halts_at_once_is_a_model_of_one_step():
    adaptive = build("universal-act", "Model")
    torch.nn.init.zeros_(adaptive.stack.halting.unit.weight)
    torch.nn.init.constant_(adaptive.stack.halting.unit.bias, 30.0)
    fixed = build("universal", "Model", num_steps=1)
    fixed.load_state_dict({k: v for k, v in adaptive.state_dict().items() if "halting" not in k})
    torch.testing.assert_close(adaptive(tokens()).last_hidden_state, fixed(tokens()).last_hidden_state, **CLOSE)


# What it reports.


@pytest.mark.parametrize("head", HEADS)
def test_outputs_carry_the_halting_statistics_where_positions_halt(head):
    model = build("universal-act", head)
    output = model(tokens())
    assert output.ponder_steps.shape == output.remainders.shape == (3, 7)
    assert len(output.ponder_steps.unique()) > 1
    if head != "Model":
        assert "ponder_loss" not in output
        expected = (output.ponder_steps + output.remainders).mean()
        torch.testing.assert_close(model.train()(tokens()).ponder_loss, expected)
    plain = build("universal", head)(tokens())
    assert plain.ponder_steps is None
    assert "ponder_steps" not in plain
    assert "ponder_loss" not in plain


@pytest.mark.parametrize("head", HEADS[1:])
def test_the_ponder_weight_scales_the_ponder_part_of_the_loss(head):
    losses = []
    for weight in (0.0, 1.0, 2.5):
        output = build("universal-act", head, ponder_loss_weight=weight)(tokens(), labels=labels_for(head))
        losses.append(output.loss.item())
    ponder = output.ponder_loss.item()
    assert losses[1] - losses[0] == pytest.approx(ponder, rel=1e-4)
    assert losses[2] - losses[0] == pytest.approx(2.5 * ponder, rel=1e-4)


@pytest.mark.parametrize("halting", ["act", "ponder_net"])
@pytest.mark.parametrize(("head", "shifted_outside"), [("ForCausalLM", True), *((head, False) for head in HEADS[1:])])
def test_the_losses_of_four_micro_batches_add_up_to_that_of_one(head, shifted_outside, halting):
    model = build("universal-act", head, ponder_loss_weight=1.0, halting=halting).train()
    input_ids, labels = tokens(4), labels_for(head, 4)
    counted = labels[:, 1:] if head == "ForCausalLM" and not shifted_outside else labels
    items = (counted != -100).sum()

    def loss(rows, **options):
        given = {"shift_labels": labels[rows]} if shifted_outside else {}
        return model(input_ids[rows], labels=labels[rows], **given, **options).loss

    whole = loss(slice(0, 4))
    torch.testing.assert_close(loss(slice(0, 4), num_items_in_batch=items), whole, **CLOSE)
    parts = [loss(slice(row, row + 1), num_items_in_batch=items) for row in range(4)]
    torch.testing.assert_close(sum(parts), whole, **CLOSE)


def test_the_ponder_loss_reaches_the_halting_unit():
    model = build("universal-act", "ForMaskedLM", ponder_loss_weight=1.0)
    model.train()(tokens()).ponder_loss.backward()
    assert model.model.stack.halting.unit.weight.grad.abs().max() > 0
    assert model.model.stack.halting.unit.bias.grad.item() < 0  # less pondering by halting sooner


def test_raising_the_ponder_weight_shortens_the_pondering():
    means = []
    for weight in (0.0, 5.0):
        model = build("universal-act", "ForMaskedLM", ponder_loss_weight=weight, num_steps=6)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(15):
            model(tokens(), labels=tokens()).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        means.append(model(tokens()).ponder_steps.mean().item())
    assert means[1] < means[0]


def test_hidden_states_are_recorded_at_every_layer_of_every_step():
    model = build("universal-group", "Model", attn_implementation="eager")
    output = model(tokens(), output_hidden_states=True, output_attentions=True)
    assert len(output.hidden_states) == 5
    assert len(output.attentions) == 4


@pytest.mark.parametrize("halting", ["none", "act"])
@pytest.mark.parametrize("head", HEADS)
def test_states_and_logits_of_every_step_are_given_on_request(head, halting):
    model = build("universal-act", head, halting=halting)
    output = model(tokens(), output_steps=True)
    assert [states.shape for states in output.step_states] == [(3, 7, 16)] * 4
    if halting == "none":
        last = output.step_states[-1]
        expected = last if head == "Model" else model.model(tokens()).last_hidden_state
        torch.testing.assert_close(last, expected, **CLOSE)
    if head in ("ForCausalLM", "ForMaskedLM"):
        torch.testing.assert_close(output.step_logits[1], model.lm_head(output.step_states[1]))
    assert "step_states" not in model(tokens())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("halting", ["none", "act", "published", "ponder_net"])
def test_checkpointed_gradients_are_those_of_the_stored_states(halting, reentrant):
    results = []
    for checkpointing in (False, True):
        model = build("universal-act", halting=halting, num_shared_layers=2, num_prelude_layers=1).train()
        if checkpointing:
            checkpoint_activations(model, use_reentrant=reentrant)
        model.enable_input_require_grads()
        model(tokens(), labels=tokens()).loss.backward()
        results.append(gradients(model))
    assert_same(*results, **CLOSE)
