"""Adaptive computation time against a loop over positions, and its identities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_models.adaptive_computation import Halting, HaltingUnit, ponder_loss
from tests.hf_models import references
from tests.hf_models.model_cases import CLOSE, config_of


REAL = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])


def probabilities(draw_steps=5):
    """Hypothesis: halting probabilities of every step, row and position, and which positions are real."""
    shape = (draw_steps, 2, 3)
    numbers = st.lists(st.floats(0.0, 1.0, width=32), min_size=math.prod(shape), max_size=math.prod(shape))
    return numbers.map(lambda values: torch.tensor(values).view(shape))


def run(chances, threshold=0.99, real=None, states=None):
    """All steps with given probabilities; yields the halting and the states before and after each."""
    states = torch.randn(*chances.shape[1:], 2) if states is None else states
    halting = Halting.start(states, real)
    for number, chance in enumerate(chances):
        after, before = torch.randn_like(states), states
        halting, states = halting.advance(before, after, chance, threshold, number == len(chances) - 1)
        yield halting, before, after, states


def total_weights(chances, **options):
    """Sum of each position's weights, seen through states that are all one."""
    halting = Halting.start(torch.zeros(*chances.shape[1:], 1), options.get("real"))
    ones = torch.ones(*chances.shape[1:], 1)
    for number, chance in enumerate(chances):
        last = number == len(chances) - 1
        halting, _ = halting.advance(ones, ones, chance, options.get("threshold", 0.99), last)
    return halting.output[..., 0]


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99])
def test_halting_is_the_loop_over_positions_forward_and_in_every_gradient(threshold):
    unit = HaltingUnit(config_of("universal-act"))
    torch.nn.init.normal_(unit.weight, std=0.4)
    torch.nn.init.constant_(unit.bias, -0.8)
    mix = torch.nn.Linear(16, 16)
    begin = torch.randn(2, 4, 16, requires_grad=True)

    def step(states, number):  # positions look at each other, so that frozen states matter
        return torch.tanh(mix(states) + states.mean(-2, keepdim=True) + 0.1 * number)

    states, halting = begin, Halting.start(begin, REAL)
    for number in range(5):
        chance = unit(states)
        halting, states = halting.advance(states, step(states, number), chance, threshold, number == 4)
    plain = [
        references.act(
            row, lambda state: torch.sigmoid(unit.weight[0] @ state + unit.bias[0]), step, threshold, 5, flags
        )
        for row, flags in zip(begin, REAL.bool().tolist(), strict=True)
    ]
    output = torch.stack([row[0] for row in plain])
    remainders = torch.stack([torch.stack(row[2]) for row in plain])
    assert halting.steps.tolist() == [row[1] for row in plain]
    assert len({n for row in plain for n in row[1]}) > 2
    torch.testing.assert_close(halting.output, output, **CLOSE)
    torch.testing.assert_close(halting.remainders, remainders, **CLOSE)
    inputs = [begin, *unit.parameters(), *mix.parameters()]
    upstream = torch.randn_like(output)
    ours = torch.autograd.grad((halting.output * upstream).sum() + halting.remainders.sum(), inputs)
    theirs = torch.autograd.grad((output * upstream).sum() + remainders.sum(), inputs)
    for first, second in zip(ours, theirs, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(chances=probabilities(), threshold=st.sampled_from([0.3, 0.9, 0.99, 1.0]))
def test_weights_sum_to_one_on_every_real_token_and_to_nothing_on_padding(chances, threshold):
    real = torch.tensor([[1, 1, 1], [0, 1, 1]])
    torch.testing.assert_close(total_weights(chances, threshold=threshold, real=real), real.float())


@settings(max_examples=40, deadline=None)
@given(chances=probabilities(), threshold=st.sampled_from([0.3, 0.9, 1.0]))
def test_steps_are_whole_and_within_bounds_and_the_last_step_takes_the_remainder(chances, threshold):
    real = torch.tensor([[1, 1, 1], [0, 1, 1]])
    *_, (halting, *_) = run(chances, threshold, real)
    assert not halting.running.any()
    assert halting.steps[0].min() >= 1
    assert halting.steps.max() <= 5
    assert halting.steps[1, 0] == 0
    assert halting.remainders[1, 0] == 0
    assert halting.remainders.min() >= 0
    assert halting.remainders.max() <= 1
    for row, column in real.nonzero().tolist():
        taken = int(halting.steps[row, column])
        before = chances[: taken - 1, row, column].sum()
        assert halting.remainders[row, column].item() == pytest.approx(1 - before.item(), abs=1e-5)
        if taken < 5:
            assert before + chances[taken - 1, row, column] >= threshold - 1e-6


@settings(max_examples=40, deadline=None)
@given(chances=probabilities())
def test_the_state_of_a_halted_position_is_frozen_and_its_output_complete(chances):
    previous = None
    for halting, before, after, states in run(chances, 0.9, torch.tensor([[1, 1, 1], [0, 1, 1]])):
        started = torch.tensor([[1, 1, 1], [0, 1, 1]]).bool() if previous is None else previous.running
        assert torch.equal(states[~started], before[~started])
        assert torch.equal(states[started], after[started])
        if previous is not None:
            assert torch.equal(halting.output[~started], previous.output[~started])
            assert torch.equal(halting.steps[~started], previous.steps[~started])
            assert torch.equal(halting.remainders[~started], previous.remainders[~started])
        previous = halting


@pytest.mark.parametrize(
    ("chance", "threshold", "steps", "remainder"),
    [
        (1.0, 0.99, 1, 1.0),
        (0.995, 0.99, 1, 1.0),
        (0.5, 0.99, 2, 0.5),
        (0.4, 0.99, 3, 0.2),
        (0.3, 0.99, 4, 0.1),
        (0.3, 0.85, 3, 0.4),
        (0.1, 0.99, 6, 0.5),
        (0.0, 0.99, 6, 1.0),
    ],
)
def test_a_constant_probability_gives_the_known_number_of_steps_and_remainder(chance, threshold, steps, remainder):
    *_, (halting, *_) = run(torch.full((6, 1, 1), chance), threshold)
    assert halting.steps.item() == steps
    assert halting.remainders.item() == pytest.approx(remainder, abs=1e-6)


def test_the_halting_unit_is_a_sigmoid_of_a_linear_map_and_begins_as_configured():
    unit = HaltingUnit(config_of("universal-act", halting_bias=0.7, hidden_size=1024))
    unit.initialise()
    assert unit.bias.item() == pytest.approx(0.7)
    assert unit.weight.std().item() == pytest.approx(1024**-0.5, rel=0.1)
    states = torch.randn(2, 3, 1024)
    expected = 1 / (1 + torch.exp(-(states @ unit.weight[0] + unit.bias)))
    torch.testing.assert_close(unit(states), expected, **CLOSE)
    assert unit.to(torch.bfloat16)(states.to(torch.bfloat16)).dtype == torch.float32


# The ponder cost.


def plain_ponder_loss(steps, remainders, real, labels, items):
    """Each row's mean over its real positions, times its number of labels, over the number of all labels."""
    total, count = torch.tensor(0.0), 0
    for row in range(len(steps)):
        costs = [steps[row, t] + remainders[row, t] for t in range(steps.shape[1]) if real[row, t]]
        scored = int((labels[row] != -100).sum())
        total = total + scored * sum(costs) / len(costs)
        count += scored
    return total / (count if items is None else items)


@pytest.mark.parametrize("items", [None, 11])
def test_the_ponder_loss_is_its_definition_forward_and_in_its_gradient(items):
    steps = torch.tensor([[3.0, 1.0, 2.0, 4.0], [0.0, 0.0, 2.0, 1.0]])
    remainders = (torch.rand(2, 4) * REAL).requires_grad_()
    labels = torch.tensor([[1, -100, 2, 3], [-100, -100, -100, 5]])
    ours = ponder_loss(steps, remainders, REAL, labels, items)
    plain = plain_ponder_loss(steps, remainders, REAL, labels, items)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(torch.autograd.grad(ours, remainders), torch.autograd.grad(plain, remainders))


def test_without_labels_and_padding_the_ponder_loss_is_the_mean_cost():
    steps, remainders = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.5, 0.25], [1.0, 0.0]])
    assert ponder_loss(steps, remainders, None, None).item() == pytest.approx((10 + 1.75) / 4)


def test_four_micro_batches_of_one_add_up_to_one_of_four():
    steps = torch.randint(1, 5, (4, 6)).float()
    remainders, real = torch.rand(4, 6), torch.ones(4, 6)
    real[2, :4] = 0
    labels = torch.randint(0, 9, (4, 6))
    labels[0, :5], labels[1, :2] = -100, -100
    items = (labels != -100).sum()
    whole = ponder_loss(steps, remainders, real, labels, items)
    torch.testing.assert_close(whole, ponder_loss(steps, remainders, real, labels))
    parts = [
        ponder_loss(steps[r : r + 1], remainders[r : r + 1], real[r : r + 1], labels[r : r + 1], items)
        for r in range(4)
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_a_batch_without_labels_or_real_tokens_costs_nothing():
    steps, none = torch.ones(2, 3), torch.full((2, 3), -100)
    assert ponder_loss(steps, steps, None, none).item() == 0
    assert ponder_loss(steps, steps, torch.zeros(2, 3), torch.ones(2, 3)).item() == 0
