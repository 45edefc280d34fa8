"""The network with stacks against a loop over cells, and as a real stack where its actions are certain."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_models import StackRNNConfig
from hf_models.modeling_stack_rnn import StackRNNLayer
from tests.hf_models.model_cases import CLOSE, build, tokens
from tests.hf_models.plain_memory import assert_is_plain


PUSH, KEEP, POP = 0, 1, 2


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", ["stack_rnn", "stack_rnn-fixed"])
def test_the_model_is_a_loop_over_cells_forward_and_in_every_gradient(case, side):
    assert_is_plain(build(case, "Model"), side)


def test_a_stack_that_grew_many_times_is_still_the_loop():
    assert_is_plain(build("stack_rnn", "Model", noise=0.05), "right", lengths=(37, 20))


@torch.no_grad()
def puppet(stack_size=None):
    """A layer of width 8 that does what its inputs say: channels 0 to 2 choose the action, 3 and 4 are pushed.

    Channels 5 and 6 of the output are the top that was read.
    """
    layer = StackRNNLayer(StackRNNConfig(hidden_size=8, stack_cell_size=2, stack_size=stack_size))
    for parameter in layer.parameters():
        parameter.zero_()
    layer.input.weight[:, :8] = torch.eye(8)
    layer.input.weight[5:7, 8:] = torch.eye(2)  # the top
    layer.actions.weight[:, :3] = 200 * torch.eye(3)  # the others' probabilities are zero in float32
    layer.write.weight[:, 3:5] = torch.eye(2)
    return layer


def told(actions, values) -> torch.Tensor:
    """Inputs of a puppet `[1, T, 8]`."""
    states = torch.zeros(1, len(actions), 8)
    for token, (action, value) in enumerate(zip(actions, values, strict=True)):
        states[0, token, action] = 1
        states[0, token, 3:5] = value
    return states


@torch.no_grad()
def run(layer, actions, values):
    """The tops that were read `[T, 2]`, and the stack that is left `[M, 2]`."""
    states = told(actions, values)
    output, (_, stacks) = layer.run(states, None, layer.first_state(states))
    return output[0, :, 5:7], stacks[0, 0]


def random_program(length: int = 60):
    generator = torch.Generator().manual_seed(0)
    actions = torch.multinomial(torch.tensor([0.5, 0.2, 0.3]), length, replacement=True, generator=generator).tolist()
    return actions, torch.rand(length, 2, generator=generator)


@pytest.mark.parametrize("size", [None, 100, 5])
def test_with_certain_actions_it_is_a_stack(size):
    actions, values = random_program()
    seen, left = run(puppet(size), actions, values)
    stack: list[torch.Tensor] = []
    for token, action in enumerate(actions):
        assert torch.equal(seen[token], stack[-1] if stack else torch.zeros(2))
        if action == PUSH:
            stack = [*stack, values[token]][-(size or 100) :]
        elif action == POP:
            stack = stack[:-1]
    assert torch.equal(left[: len(stack)], torch.stack(stack[::-1]))
    assert left[len(stack) :].abs().max() == 0
    assert len(stack) > 2


def test_what_falls_below_a_stack_of_fixed_size_is_lost():
    values = torch.arange(1, 6).float()[:, None].expand(5, 2)
    actions = [PUSH] * 5 + [POP] * 5
    pushed = torch.cat([values, torch.zeros(5, 2)])
    whole, cut = (run(puppet(size), actions, pushed)[0][5:, 0].tolist() for size in (None, 3))
    assert whole == [5, 4, 3, 2, 1]
    assert cut == [5, 4, 3, 0, 0]


def test_a_stack_has_a_cell_for_every_token_and_no_more_than_its_size():
    assert run(puppet(), *random_program(40))[1].shape == (40, 2)
    assert run(puppet(7), *random_program(40))[1].shape == (7, 2)
    assert run(puppet(7), *random_program(3))[1].shape == (3, 2)


def test_a_stack_larger_than_the_sequence_is_an_endless_one():
    endless, large = build("stack_rnn", "Model"), build("stack_rnn", "Model", stack_size=25)
    input_ids = tokens(2, 24)
    torch.testing.assert_close(endless(input_ids).last_hidden_state, large(input_ids).last_hidden_state)
    small = build("stack_rnn", "Model", stack_size=2)
    assert not torch.allclose(endless(input_ids).last_hidden_state, small(input_ids).last_hidden_state, atol=1e-3)


def test_each_stack_has_a_distribution_of_its_own():
    layer = build("stack_rnn-fixed", "Model").layers[0]
    ones = torch.ones(
        2, 2, 4, 3
    )  # [B, N, M, C]: any mixture of ones is one, but at the bottom, where pops bring zeros
    mixed = layer._update(ones, torch.randn(2, 6), torch.ones(2, 6), torch.zeros(2, 2, 1, 3))
    torch.testing.assert_close(mixed[:, :, :-1], ones[:, :, :-1])


def test_padding_leaves_state_and_stack_as_they_are():
    model = build("stack_rnn", "Model")
    first = model(tokens(2, 4), use_cache=True).past_key_values
    hidden, stack = (part.clone() for part in first.layers[0].state())
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    after = model(tokens(2, 2, 3), attention_mask=mask, past_key_values=first).past_key_values.layers[0]
    assert torch.equal(after.keys[0], hidden[0])
    assert torch.equal(after.values[0, :, :4], stack[0])
    assert after.values[0, :, 4:].abs().max() == 0
    assert not torch.allclose(after.values[1, :, :4], stack[1], atol=1e-3)


def test_rows_of_the_cache_can_be_reordered_selected_and_repeated():
    model = build("stack_rnn-fixed", "Model")

    def cache():
        return model(tokens(), use_cache=True).past_key_values

    kept = [layer.values.clone() for layer in cache().layers]
    order = torch.tensor([2, 0, 0])
    reordered, repeated, selected = cache(), cache(), cache()
    reordered.reorder_cache(order)
    repeated.batch_repeat_interleave(2)
    selected.batch_select_indices(torch.tensor([1]))
    for index, stacks in enumerate(kept):
        assert torch.equal(reordered.layers[index].values, stacks[order])
        assert torch.equal(repeated.layers[index].values, stacks.repeat_interleave(2, 0))
        assert torch.equal(selected.layers[index].values, stacks[[1]])


def test_recurrent_weights_begin_orthogonal_and_inputs_of_unit_gain():
    layer = build("stack_rnn", "Model", noise=0.0, hidden_size=64).layers[0]
    torch.testing.assert_close(layer.recurrent.weight @ layer.recurrent.weight.T, torch.eye(64), rtol=0, atol=1e-5)
    # Token and top are one input: were each of unit gain, the loop over the stack would make the state explode.
    assert layer.input.weight.shape == (64, 72)
    assert layer.input.weight.std().item() == pytest.approx(72**-0.5, rel=0.05)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stack_size": 0}, "stack_size must be at least 1, not 0"),
        ({"stack_cell_size": 0}, "stack_cell_size must be at least 1, not 0"),
        ({"num_stacks": 0}, "num_stacks must be at least 1, not 0"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"stack_sise": 4}, "has no key 'stack_sise'. Did you mean 'stack_size'?"),
        ({"bidirectional": True}, "bidirectional"),
    ],
    ids=str,
)
def test_what_makes_no_stack_is_refused(options, text):
    if "bidirectional" in options:
        assert not hasattr(StackRNNConfig(), "bidirectional")
        return
    with pytest.raises((ValueError, StrictDataclassError)) as caught:
        StackRNNConfig(**options)
    assert text in str(caught.value) + str(caught.value.__cause__ or "")


def test_cached_stacks_grow_token_by_token_as_at_once():
    model, cache = build("stack_rnn", "Model"), None
    input_ids = tokens(2, 20)
    for token in input_ids.T:
        output = model(token[:, None], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
    whole = model(input_ids, use_cache=True)
    torch.testing.assert_close(output.last_hidden_state[:, -1], whole.last_hidden_state[:, -1], **CLOSE)
    torch.testing.assert_close(cache.layers[0].values, whole.past_key_values.layers[0].values, **CLOSE)
