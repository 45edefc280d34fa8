"""The recurrent stack against loops over positions, and the agreement of its two ways to halt."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_models import UniversalTransformerForCausalLM
from hf_models.halting_packing import Packing
from hf_models.layer_looped import LoopedLayers
from tests.hf_models import plain_recurrence, references
from tests.hf_models.model_cases import (
    CLOSE,
    assert_same,
    build,
    checkpoint_activations,
    gradients,
    pad,
    ragged,
    tokens,
)


EXIT = {"halting": "none", "exit_criterion": "latent_difference", "exit_threshold": 0.6}
RULES = {
    "none": {"halting": "none"},
    "act": {"halting": "act"},
    "published": {"halting": "published", "halting_threshold": 0.8},
    "ponder_net": {"halting": "ponder_net", "halting_threshold": 0.6},
    "exit": EXIT,
}
SHAPES = {
    "coordinate": {},
    "group": {"num_shared_layers": 2, "position_encoding": ["rope", "alibi"], "norm_position": "post"},
    "around": {
        "num_prelude_layers": 1,
        "num_coda_layers": 1,
        "position_encoding": "alibi",
        "step_encoding": "learned",
        "input_injection": "concat",
        "initial_state": "zero",
    },
    "once": {
        "position_encoding": {"name": "coordinate", "every_step": False},
        "step_encoding": "sinusoidal",
        "input_injection": "add",
    },
    "bidirectional": {"is_causal": False, "position_encoding": "rope"},
}
CASES = [
    (rule, shape)
    for rule in RULES
    for shape in SHAPES
    if (rule, shape) != ("ponder_net", "around")  # PonderNet has no coda
]


def model_of(rule, shape="coordinate", **options):
    """A recurrent model without a head, whose positions halt after different numbers of steps."""
    return build("universal-act", "Model", **{**RULES[rule], **SHAPES[shape], **options})


@pytest.fixture
def dense(monkeypatch):
    """Makes all positions be computed."""
    return lambda: monkeypatch.setattr(LoopedLayers, "packs", lambda self: False)


@pytest.fixture
def packings(monkeypatch):
    """Every packing that was made."""
    made, original = [], Packing.of

    def of(*arguments):
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr(Packing, "of", of)
    return made


# The equations.


def plain_account(model, readout=None):
    """A new account of the model's rule; `readout` maps a state to logits."""
    config, halting = model.config, model.stack.halting
    options = {"threshold": config.halting_threshold, "training": model.training}
    if halting is not None:
        weight, bias = halting.unit.weight[0], halting.unit.bias[0]
        options["probability"] = lambda state: torch.sigmoid(weight @ state + bias)
    kind = {"act": plain_recurrence.ACT, "published": plain_recurrence.Published}.get(config.halting)
    if config.halting == "ponder_net":
        kind = plain_recurrence.PonderNet
    if config.exit_criterion == "latent_difference":
        kind, options["threshold"] = plain_recurrence.Difference, config.exit_threshold
    if config.exit_criterion == "stable_argmax":
        kind, options["threshold"] = plain_recurrence.StableArgmax, config.exit_threshold
        options["readout"] = readout
    return (kind or plain_recurrence.Account)(options)


def plain_enter(model, given, ids):
    """What each step adds to the states."""
    config, stack = model.config, model.stack

    def enter(states, number):
        if config.input_injection == "add":
            states = states + given
        if config.input_injection == "concat":
            states = torch.stack(
                [stack.injection.weight @ torch.cat(pair) for pair in zip(states, given, strict=True)]
            )
        if config.step_encoding == "learned":
            states = states + stack.step_encoding.table.weight[number]
        if config.step_encoding == "sinusoidal":
            states = states + references.sinusoid(number + 1, states.shape[-1])
        once = isinstance(config.position_encoding, dict) and number
        if "coordinate" in str(config.position_encoding) and not once:
            states = states + torch.stack([references.coordinate(i, number + 1, states.shape[-1]) for i in ids])
        return states

    return enter


def plain_model(model, row, embedding=None, source=None, readout=None):
    """Outputs `[T, D]` and accounts of one sequence, and the outputs that each step would give.

    A decoder is told the embedding and the source `[S, D]`, an exit by predictions how a state is read.
    """
    config, stack = model.config, model.stack
    ids = list(range(len(row)))
    states = (embedding or model.embed_tokens).weight[row] * 4.0  # the square root of the width
    hooks = [references.Hooks(model.encodings[i], config.is_causal, 2) for i in range(config.num_distinct_layers())]
    for layer in stack.prelude:
        states = references.layer(states, layer, hooks[0], ids, config.is_causal)
    group = PlainGroup(stack.layers, hooks[len(stack.prelude) :], ids, config.is_causal, source)
    accounts = [plain_account(model, readout) for _ in row]
    start = torch.zeros_like(states) if config.initial_state == "zero" else states
    enter, waits = plain_enter(model, states, ids), config.halting == "published"
    each = plain_recurrence.recur(start, group, accounts, config.num_steps, enter, waits)
    states = torch.stack([account.output for account in accounts])
    for layer in stack.coda:
        states = references.layer(states, layer, hooks[-1], ids, config.is_causal)
    outputs = [references.layer_norm(s, model.norm) if config.norm_position == "pre" else s for s in (states, *each)]
    return outputs[0], accounts, outputs[1:]


class PlainGroup(plain_recurrence.Group):
    """A group whose layers have encodings of their own."""

    def __init__(self, layers, hooks, ids, causal, source):
        super().__init__(layers, None, ids, causal, source)
        self.each = [
            plain_recurrence.Group([layer], hook, ids, causal, source)
            for layer, hook in zip(layers, hooks, strict=False)
        ]

    def step(self, states, running, fresh):
        for group in self.each:
            states = group.step(states, running, fresh)
        return states


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "dense"])
@pytest.mark.parametrize(("rule", "shape"), CASES)
def test_the_stack_is_the_loop_over_positions_forward_and_in_every_gradient(rule, shape, packed, dense, packings):
    model = model_of(rule, shape)
    if not packed:
        dense()
    sequences = ragged((5, 3))
    input_ids, mask = pad(sequences, "left")
    output = model(input_ids, attention_mask=mask, use_cache=False)
    assert bool(packings) == (packed and rule not in ("none", "published"))
    plain = [plain_model(model, sequence) for sequence in sequences]
    expected, accounts = torch.cat([row[0] for row in plain]), [account for row in plain for account in row[1]]
    states = output.last_hidden_state[mask.bool()]
    torch.testing.assert_close(states, expected, rtol=1e-3, atol=1e-4)
    ours, theirs = (states**3).sum(), (expected**3).sum()
    if rule != "none":
        assert output.ponder_steps[mask.bool()].tolist() == [account.steps for account in accounts]
        assert len({account.steps for account in accounts}) > 1
        assert output.ponder_steps[mask == 0].abs().max() == 0
    if rule in ("act", "published"):
        remainders = torch.stack([account.remainder for account in accounts])
        torch.testing.assert_close(output.remainders[mask.bool()], remainders, **CLOSE)
        ours, theirs = ours + output.remainders.sum(), theirs + remainders.sum()
    ours.backward()
    found = gradients(model)
    model.zero_grad()
    theirs.backward()
    for name, gradient in gradients(model).items():
        scale = gradient.abs().max()
        assert (found[name] - gradient).abs().max() <= 1e-3 * scale + 1e-5, name


@pytest.mark.parametrize("how", ["packed", "dense", "cached"])
def test_an_exit_by_stable_predictions_is_the_loop_over_positions(how, dense, packings):
    model = build("universal", num_steps=6, exit_criterion="stable_argmax", exit_threshold=1)
    if how == "dense":
        dense()
    sequences = ragged((6, 4))
    input_ids, mask = pad(sequences, "left")
    options, cache, pieces, steps = {"use_cache": how == "cached"}, None, [], []
    for start, end in ((0, 4), (4, 5), (5, 6)) if how == "cached" else ((0, 6),):
        given = {"attention_mask": mask[:, :end], "past_key_values": cache, **options}
        output = model(input_ids[:, start:end], **given)
        cache = output.past_key_values
        pieces.append(output.logits)
        steps.append(output.ponder_steps)
    assert bool(packings) == (how != "dense")

    def read(state):
        return model.lm_head(references.layer_norm(state[None], model.model.norm)[0])

    plain = [plain_model(model.model, sequence, readout=read) for sequence in sequences]
    expected = torch.cat([model.lm_head(row[0]) for row in plain])
    torch.testing.assert_close(torch.cat(pieces, 1)[mask.bool()], expected, rtol=1e-3, atol=1e-4)
    taken = [account.steps for row in plain for account in row[1]]
    assert torch.cat(steps, 1)[mask.bool()].tolist() == taken
    assert len(set(taken)) > 1


def test_ponder_net_in_training_is_its_loop_too():
    model = model_of("ponder_net").train()
    output = model(tokens(1, 5), output_steps=True)
    _, accounts, _ = plain_model(model, tokens(1, 5)[0])
    plain = torch.stack([torch.stack(account.probabilities) for account in accounts], dim=1)
    torch.testing.assert_close(torch.stack(output.halting_probabilities)[:, 0], plain, **CLOSE)
    torch.testing.assert_close(plain.sum(0), torch.ones(5))


# Positions that are put together.


@pytest.mark.parametrize("side", ["left", "right", None])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("encoding", ["rope", "t5", "fox", "cope", "path"])
@pytest.mark.parametrize("normalizer", ["softmax", "ssmax", "as_entmax"])
def test_packed_equals_dense(normalizer, encoding, implementation, side, dense, packings):
    options = {"position_encoding": encoding, "attention_normalizer": normalizer, "num_shared_layers": 2}
    try:
        model = model_of("act", attn_implementation=implementation, halting_bias=0.0, **options)
    except ValueError:
        pytest.skip("computed by eager attention alone")
    input_ids, mask = pad(ragged((4, 7, 2)), side) if side else (tokens(), None)
    kept = torch.ones(3, 7).bool() if mask is None else mask.bool()
    results = []
    for _ in range(2):
        model.zero_grad()
        output = model(input_ids, attention_mask=mask, use_cache=False)
        (output.last_hidden_state[kept] ** 3).sum().backward()
        results.append((output.last_hidden_state[kept].detach(), output.ponder_steps, gradients(model)))
        with torch.no_grad():
            again = model(input_ids, attention_mask=mask, use_cache=False).last_hidden_state[kept]
        torch.testing.assert_close(again, results[-1][0], **CLOSE)
        dense()
    assert packings
    assert "path" in encoding or len(results[0][1][kept].unique()) > 1
    torch.testing.assert_close(results[0][0], results[1][0], **CLOSE)
    assert torch.equal(results[0][1], results[1][1])
    assert_same(results[0][2], results[1][2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_positions_halt_under_a_sliding_window(implementation, dense, packings):
    options = {"attention_types": "sliding", "sliding_window": 3, "position_encoding": "alibi"}
    model = model_of("act", attn_implementation=implementation, num_shared_layers=2, **options)
    input_ids, mask = pad(ragged((5, 9, 2)), "left")
    token_mask = mask.bool()
    packed = model(input_ids, attention_mask=mask, use_cache=False)
    assert packings
    assert len(packed.ponder_steps[token_mask].unique()) > 1
    first = model(input_ids[:, :6], attention_mask=mask[:, :6], use_cache=True)
    rest = model(input_ids[:, 6:], attention_mask=mask, past_key_values=first.past_key_values)
    cached = torch.cat([first.last_hidden_state, rest.last_hidden_state], 1)
    torch.testing.assert_close(cached[token_mask], packed.last_hidden_state[token_mask], **CLOSE)
    dense()
    whole = model(input_ids, attention_mask=mask, use_cache=False)
    torch.testing.assert_close(whole.last_hidden_state[token_mask], packed.last_hidden_state[token_mask], **CLOSE)
    wide = model_of("act", num_shared_layers=2, position_encoding="alibi")(input_ids, attention_mask=mask)
    assert not torch.allclose(wide.last_hidden_state[token_mask], packed.last_hidden_state[token_mask], atol=1e-3)


def test_only_running_positions_are_computed_and_finished_sequences_leave(packings):
    model = model_of("act", num_steps=6)
    input_ids, mask = pad(ragged((6, 3, 5)), "left")
    steps = model(input_ids, attention_mask=mask, use_cache=False).ponder_steps
    assert len(packings) == int(steps.max())  # and the loop ends with the last
    for number, packing in enumerate(packings):
        running = steps > number
        assert len(packing.chosen) == int(running.sum())
        assert packing.rows.tolist() == running.any(1).nonzero()[:, 0].tolist()
        assert packing.columns.shape[1] == int(running.sum(1).max())
        halted_before = (steps == number) & (steps > 0)
        assert len(packing.fresh) == int(running.sum() + halted_before.sum())


@pytest.mark.parametrize("use_cache", [False, True])
def test_a_batch_of_padding_alone_takes_no_step(use_cache):
    output = model_of("act")(tokens(), attention_mask=torch.zeros_like(tokens()), use_cache=use_cache)
    assert not output.ponder_steps.any()
    assert output.last_hidden_state.isfinite().all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_few_finished_sequences_stay_among_the_others(side, dense, packings):
    model = model_of("act", num_steps=6)
    quick = min(range(3, 17), key=lambda token: model(torch.tensor([[token]])).ponder_steps.item())
    packings.clear()
    input_ids, mask = pad([torch.tensor([quick]), *ragged((4, 7, 5) * 6, seed=2)], side)
    packed = model(input_ids, attention_mask=mask, use_cache=False)
    steps = packed.ponder_steps
    empty = [19 - int((steps > number).any(1).sum()) for number in range(len(packings))]
    kept = [len(packing.rows) == 19 for packing in packings]
    assert kept == [rows < 2 for rows in empty]
    assert 1 in empty
    dense()
    whole = model(input_ids, attention_mask=mask, use_cache=False)
    assert torch.equal(whole.ponder_steps, steps)
    token_mask = mask.bool()
    torch.testing.assert_close(packed.last_hidden_state[token_mask], whole.last_hidden_state[token_mask], **CLOSE)


def test_a_halted_position_is_frozen_bit_by_bit(dense):
    model = model_of("act", num_steps=6)
    dense()
    output = model(tokens(), output_steps=True)
    for t, steps in enumerate(output.ponder_steps.flatten().long().tolist()):
        states = [states.flatten(0, 1)[t] for states in output.step_states]
        assert all(torch.equal(states[steps - 1], later) for later in states[steps:])
        assert steps < 2 or not torch.equal(states[steps - 1], states[steps - 2])


@pytest.mark.parametrize("reason", ["hook", "hook inside", "steps", "checkpointing", "lsh", "published"])
def test_all_positions_are_computed_where_packing_would_be_seen_or_is_impossible(reason, packings):
    options = {"attention_types": {"name": "lsh", "chunk_length": 4}, "position_encoding": "rope"}
    model = model_of("published" if reason == "published" else "act", **(options if reason == "lsh" else {}))
    seen = []
    if reason.startswith("hook"):
        layer = model.stack.layers[0]
        module = layer if reason == "hook" else layer.feed_forward
        module.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    if reason == "checkpointing":
        checkpoint_activations(model, use_reentrant=False)
        model.train()
    model(tokens(), use_cache=False, output_steps=reason == "steps")
    assert not packings
    assert set(seen) <= {(3, 7, 16)}
    assert len(seen) in (0, 4)


def test_recording_sees_all_positions_and_later_calls_are_packed_again(packings):
    model = model_of("act", num_shared_layers=2, attn_implementation="eager")
    recorded = model(tokens(), output_hidden_states=True, output_attentions=True, use_cache=False)
    assert not packings
    assert [states.shape for states in recorded.hidden_states] == [(3, 7, 16)] * 9
    assert [weights.shape for weights in recorded.attentions] == [(3, 2, 7, 7)] * 8
    plain = model(tokens(), use_cache=False)
    assert packings
    torch.testing.assert_close(plain.last_hidden_state, recorded.last_hidden_state, **CLOSE)


# Cached equals recomputed.


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "dense"])
@pytest.mark.parametrize(("rule", "shape"), [case for case in CASES if case[1] != "bidirectional"])
def test_cached_equals_recomputed_with_per_position_halting_and_left_padding(rule, shape, packed, dense):
    model = model_of(rule, shape)
    if not packed:
        dense()
    input_ids, mask = pad(ragged((5, 9, 2)), "left")
    whole = model(input_ids, attention_mask=mask, use_cache=False)
    pieces, steps, cache = [], [], None
    for start, end in ((0, 4), (4, 5), (5, 8), (8, 9)):
        output = model(input_ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        pieces.append(output.last_hidden_state)
        steps.append(output.ponder_steps)
    torch.testing.assert_close(torch.cat(pieces, 1)[mask.bool()], whole.last_hidden_state[mask.bool()], **CLOSE)
    if rule != "none":
        assert torch.equal(torch.cat(steps, 1), whole.ponder_steps)
        assert len(whole.ponder_steps.unique()) > 2
    assert len(cache.layers) == model.config.num_hidden_layers
    assert all(layer.keys.shape[2] == 9 for layer in cache.layers)


def test_the_last_steps_cache_and_a_ring_are_approximations_of_constant_size():
    whole = model_of("none", num_steps=4, position_encoding="rope")
    expected = whole(tokens(), use_cache=False).last_hidden_state
    for kept in (1, 2, 4, None):
        model = model_of("none", num_steps=4, position_encoding="rope", cache_steps=kept)
        first = model(tokens()[:, :4], use_cache=True)
        assert len(first.past_key_values.layers) == (kept or 4)
        torch.testing.assert_close(first.last_hidden_state, expected[:, :4], **CLOSE)  # no approximation in one call
        rest = model(tokens()[:, 4:], past_key_values=first.past_key_values, use_cache=True).last_hidden_state
        assert torch.allclose(rest, expected[:, 4:], **CLOSE) == (kept in (4, None))
        assert all(layer.keys.shape[2] == 7 for layer in first.past_key_values.layers)


def test_a_ring_reads_the_last_step_that_shares_the_place():
    model = model_of("none", num_steps=4, position_encoding="rope", cache_steps=2)
    whole = model_of("none", num_steps=4, position_encoding="rope")
    ring, full = (each(tokens(), use_cache=True).past_key_values for each in (model, whole))
    for place in range(2):
        torch.testing.assert_close(ring.layers[place].keys, full.layers[2 + place].keys, **CLOSE)


# Steps.


def test_more_steps_than_in_training_stay_finite_and_are_taken():
    model = model_of("none", num_steps=2)
    model.config.num_steps = 200
    output = model(tokens(), output_steps=True, use_cache=False)
    assert len(output.step_states) == 200
    assert output.last_hidden_state.isfinite().all()


def test_a_learned_step_encoding_refuses_steps_it_has_no_vector_for():
    model = model_of("none", step_encoding="learned", num_steps=3)
    model.config.num_steps = 4
    with pytest.raises(ValueError, match="Step 4 is beyond the learned step_encoding of 3 steps"):
        model(tokens())


@pytest.mark.parametrize(("kind", "mean"), [("uniform", 4.5), ("poisson", 8.0)])
def test_random_numbers_of_steps_in_training_alone(kind, mean):
    stack = model_of("none", random_steps=kind, num_steps=8).stack
    assert {stack.draw_steps() for _ in range(20)} == {8}
    stack.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        randomized_distances = torch.tensor([stack.draw_steps() for _ in range(4000)]).float()
    assert randomized_distances.min() == 1
    assert randomized_distances.mean() == pytest.approx(mean, rel=0.05)
    assert randomized_distances.max() == 8 if kind == "uniform" else randomized_distances.max() > 16


@pytest.mark.parametrize("halting", ["none", "act"])
def test_back_propagation_ends_before_the_last_steps(halting):
    options = {"halting": halting, "num_steps": 4, "input_injection": "add", "halting_bias": -20}
    found = []
    for backprop_steps in (None, 4, 2):
        model = model_of("none", **{**options, "backprop_steps": backprop_steps}).train()
        output = model(tokens(), output_steps=True)
        (output.last_hidden_state**3).sum().backward()
        assert [states.requires_grad for states in output.step_states[-2:]] == [True, True]
        assert output.step_states[0].requires_grad  # through the last norm
        found.append(gradients(model))
    assert_same(found[0], found[1], rtol=1e-4, atol=1e-4)
    weight = "stack.layers.0.attention.qkv_proj.weight"
    assert not torch.allclose(found[0][weight], found[2][weight], rtol=1e-2)
    assert found[2][weight].abs().max() > 0


def test_truncated_back_propagation_is_the_same_for_positions_put_together(dense, packings):
    found = []
    for backprop_steps in (2, 2, None):
        model = model_of("act", num_steps=6, input_injection="add", backprop_steps=backprop_steps).train()
        output = model(tokens())
        (output.last_hidden_state**3).sum().backward()
        found.append(gradients(model))
        dense()
    assert packings
    assert_same(found[0], found[1], rtol=1e-3, atol=1e-4)
    weight = "stack.layers.0.attention.qkv_proj.weight"
    assert not torch.allclose(found[1][weight], found[2][weight], rtol=1e-2)


@pytest.mark.parametrize("rule", ["act", "ponder_net"])
def test_positions_halt_within_a_random_number_of_steps(rule):
    model = model_of(rule, random_steps="poisson", num_steps=3, halting_bias=-20).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        outputs = [model(tokens(1, 3)) for _ in range(12)]
    steps = [set(output.ponder_steps.flatten().tolist()) for output in outputs]
    assert all(len(each) == 1 for each in steps)  # the last step takes what is left, whichever it is
    assert len(set.union(*steps)) > 2
    if rule == "act":
        torch.testing.assert_close(outputs[0].remainders, torch.ones(1, 3))


def test_a_learned_step_encoding_takes_no_number_of_steps_that_may_exceed_it():
    with pytest.raises(StrictDataclassError, match="has no vectors for them"):
        model_of("none", step_encoding="learned", random_steps="poisson")


def test_truncated_back_propagation_is_that_of_the_last_steps_from_a_constant():
    model = model_of("none", num_steps=3, backprop_steps=1, position_encoding="rope").train()
    (model(tokens()).last_hidden_state ** 3).sum().backward()
    last = model_of("none", num_steps=1, position_encoding="rope")
    with torch.no_grad():
        model.config.num_steps, states = 2, []
        model.stack.register_forward_hook(lambda module, inputs, output: states.append(output.states))
        model.eval()(tokens())
    (last(inputs_embeds=states[0]).last_hidden_state ** 3).sum().backward()
    for name in ("stack.layers.0.attention.qkv_proj.weight", "stack.layers.0.feed_forward.up_proj.weight"):
        torch.testing.assert_close(gradients(model)[name], gradients(last)[name], rtol=1e-3, atol=1e-4)


def test_a_random_initial_state_is_drawn_in_training_and_zero_in_evaluation():
    options = {"initial_state": "random", "input_injection": "add"}
    model = model_of("none", **options)
    zero = model_of("none", **{**options, "initial_state": "zero"})
    torch.testing.assert_close(model(tokens()).last_hidden_state, zero(tokens()).last_hidden_state)
    model.train()
    assert not torch.allclose(model(tokens()).last_hidden_state, model(tokens()).last_hidden_state)


def test_one_step_between_prelude_and_coda_is_a_stack_of_layers():
    shared = build("universal", num_prelude_layers=1, num_coda_layers=1, num_steps=1, position_encoding="rope")
    stack = build("transformer-rope", num_hidden_layers=3)
    names = {"0": "stack.prelude.0", "1": "stack.layers.0", "2": "stack.coda.0"}
    weights = shared.state_dict()
    for name in stack.state_dict():
        if name.startswith("model.layers."):
            index, rest = name.removeprefix("model.layers.").split(".", 1)
            weights[name] = shared.state_dict()[f"model.{names[index]}.{rest}"]
    stack.load_state_dict({name: weights[name] for name in stack.state_dict()})
    torch.testing.assert_close(shared(tokens()).logits, stack(tokens()).logits, **CLOSE)


@pytest.mark.parametrize("rule", ["act", "ponder_net", "exit"])
def test_generation_with_a_cache_is_generation_without(rule):
    model = build("universal-act", "ForCausalLM", **RULES[rule])
    assert isinstance(model, UniversalTransformerForCausalLM)
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    input_ids, mask = pad(ragged(), "left")
    with_cache, without = (
        model.generate(input_ids, attention_mask=mask, use_cache=cached, **options) for cached in (True, False)
    )
    assert torch.equal(with_cache, without)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["none", "act", "published", "ponder_net", "exit"])
def test_compilation_finds_no_graph_break(rule):
    torch._dynamo.reset()
    model = model_of(rule, use_cache=False, num_steps=3)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    input_ids, mask = pad(ragged(), "left")
    expected = model(input_ids, attention_mask=mask).last_hidden_state[mask.bool()]
    found = compiled(input_ids, attention_mask=mask).last_hidden_state[mask.bool()]
    torch.testing.assert_close(found, expected, **CLOSE)
