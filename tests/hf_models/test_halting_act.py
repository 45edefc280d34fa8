"""Adaptive computation time: its identities, and the ponder loss.

The stack as a whole is compared with loops over positions in test_layer_looped.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_models.halting_act import Halting, HaltingRule, PublishedHalting, mean_ponder_cost
from tests.hf_models.model_cases import CLOSE, build, config_of, labels_for, tokens
from tests.hf_models.plain_recurrence import Published


REAL = torch.tensor([[1, 1, 1], [0, 1, 1]])


def rule_of(chances, threshold=0.99, rule=HaltingRule):
    """A rule whose halting probabilities are given, step by step."""
    made, following = rule(config_of("universal-act", halting_threshold=threshold)), iter(chances)
    made.probability = lambda states: next(following)
    return made


def probabilities(steps=5):
    """Hypothesis: halting probabilities of every step, row and position."""
    shape = (steps, 2, 3)
    numbers = st.lists(st.floats(0.0, 1.0, width=32), min_size=math.prod(shape), max_size=math.prod(shape))
    return numbers.map(lambda values: torch.tensor(values).view(shape))


def run(chances, threshold=0.99, token_mask=None, states=None):
    """All steps with given probabilities; the halting after each. States are one unless given."""
    states = torch.ones(*chances.shape[1:], 1) if states is None else states
    rule, halting, output = rule_of(chances, threshold), Halting.start(states, token_mask), torch.zeros_like(states)
    for number in range(len(chances)):
        halting = rule.advance(halting, states, states, number == len(chances) - 1)
        output = rule.mix(output, halting.weight, states)
        halting.output = output
        yield halting


@settings(max_examples=40, deadline=None)
@given(chances=probabilities(), threshold=st.sampled_from([0.3, 0.9, 0.99, 1.0]))
def test_weights_sum_to_one_on_every_real_token_and_to_nothing_on_padding(chances, threshold):
    *_, halting = run(chances, threshold, REAL)
    torch.testing.assert_close(halting.output[..., 0], REAL.float())  # states are one: outputs are sums of weights
    torch.testing.assert_close(halting.total, REAL.float())


@settings(max_examples=40, deadline=None)
@given(chances=probabilities(), threshold=st.sampled_from([0.3, 0.9, 1.0]))
def test_the_last_step_takes_exactly_what_the_steps_before_have_left(chances, threshold):
    *_, halting = run(chances, threshold, REAL)
    assert not halting.running.any()
    assert halting.steps[1, 0] == halting.remainders[1, 0] == 0
    for row, column in REAL.nonzero().tolist():
        taken, before = int(halting.steps[row, column]), torch.tensor(0.0)
        assert 1 <= taken <= 5
        for chance in chances[: taken - 1, row, column]:
            assert before + chance < threshold
            before = before + chance
        assert torch.equal(halting.remainders[row, column], 1 - before)
        assert taken == 5 or before + chances[taken - 1, row, column] >= threshold


@settings(max_examples=20, deadline=None)
@given(chances=probabilities())
def test_what_a_halted_position_gives_changes_no_more(chances):
    previous = None
    for halting in run(chances, 0.9, REAL, torch.randn(2, 3, 4)):
        if previous is not None:
            ended = ~previous.running
            for name in ("output", "steps", "remainders", "total"):
                assert torch.equal(getattr(halting, name)[ended], getattr(previous, name)[ended])
            assert not halting.running[ended].any()
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
    *_, halting = run(torch.full((6, 1, 1), chance), threshold)
    assert halting.steps.item() == steps
    assert halting.remainders.item() == pytest.approx(remainder, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(chances=probabilities(), threshold=st.sampled_from([0.5, 0.99]))
def test_the_published_variant_is_the_published_update(chances, threshold):
    rule = rule_of(chances, threshold, PublishedHalting)
    output, after = torch.zeros(2, 3, 4), torch.randn(5, 2, 3, 4)
    halting = Halting.start(output, None)
    accounts = {}
    for number in range(5):
        halting = rule.advance(halting, after[number], after[number], number == 4)
        output = rule.mix(output, halting.weight, after[number])
        for row, column in torch.ones(2, 3).nonzero().tolist():
            chance = chances[number, row, column]
            account = accounts.setdefault((row, column), Published({"threshold": threshold}))
            account.options["probability"] = lambda state, chance=chance: chance
            account.take(after[number, row, column], after[number, row, column], number == 4)
    for (row, column), account in accounts.items():
        torch.testing.assert_close(output[row, column], account.output, **CLOSE)
        torch.testing.assert_close(halting.remainders[row, column], account.remainder, **CLOSE)
        assert halting.steps[row, column] == account.steps


def test_the_published_variant_forces_no_remainder_and_mixes_instead_of_summing():
    rule = rule_of(torch.full((3, 1, 1), 0.2), rule=PublishedHalting)
    ones, output = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    halting = Halting.start(output, None)
    for number in range(3):
        halting = rule.advance(halting, ones, ones, number == 2)
        output = rule.mix(output, halting.weight, ones)
    assert halting.running.all()
    assert output.item() == pytest.approx(1 - 0.8**3)  # the weights' sum would be 0.6
    assert halting.remainders.item() == 0


def test_the_halting_probability_is_a_sigmoid_of_a_linear_map_that_begins_as_configured():
    rule = HaltingRule(config_of("universal-act", halting_bias=0.7, hidden_size=1024))
    unit = rule.unit
    unit.initialise()
    assert unit.bias.item() == pytest.approx(0.7)
    assert unit.weight.std().item() == pytest.approx(1024**-0.5, rel=0.1)
    states = torch.randn(2, 3, 1024)
    expected = 1 / (1 + torch.exp(-(states @ unit.weight[0] + unit.bias)))
    torch.testing.assert_close(rule.probability(states), expected, **CLOSE)
    assert rule.to(torch.bfloat16).probability(states.to(torch.bfloat16)).dtype == torch.float32


# The ponder loss.


def plain_loss(cost, token_mask, labels, items):
    """Each row's mean over its real positions, times its number of labels, over the number of all labels."""
    total, count = torch.tensor(0.0), 0
    for row in range(len(cost)):
        costs = [cost[row, t] for t in range(cost.shape[1]) if token_mask[row, t]]
        scored = int((labels[row] != -100).sum())
        total = total + scored * sum(costs) / len(costs)
        count += scored
    return total / (count if items is None else items)


@pytest.mark.parametrize("items", [None, 11])
def test_the_ponder_loss_is_its_definition_forward_and_in_its_gradient(items):
    cost = torch.rand(2, 3, requires_grad=True)
    labels = torch.tensor([[1, -100, 2], [-100, -100, 5]])
    ours, plain = mean_ponder_cost(cost, REAL, labels, items), plain_loss(cost, REAL, labels, items)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(torch.autograd.grad(ours, cost), torch.autograd.grad(plain, cost))


def test_without_labels_and_padding_the_ponder_loss_is_the_mean_cost():
    assert mean_ponder_cost(torch.tensor([[1.5, 2.25], [4.0, 4.0]]), None, None).item() == pytest.approx(11.75 / 4)


def test_four_micro_batches_of_one_add_up_to_one_of_four():
    cost, token_mask, labels = torch.rand(4, 6), torch.ones(4, 6), torch.randint(0, 9, (4, 6))
    token_mask[2, :4] = 0
    labels[0, :5], labels[1, :2] = -100, -100
    items = (labels != -100).sum()
    whole = mean_ponder_cost(cost, token_mask, labels, items)
    torch.testing.assert_close(whole, mean_ponder_cost(cost, token_mask, labels))
    parts = [mean_ponder_cost(cost[r : r + 1], token_mask[r : r + 1], labels[r : r + 1], items) for r in range(4)]
    torch.testing.assert_close(sum(parts), whole)


def test_a_batch_without_labels_or_real_tokens_costs_nothing():
    ones, none = torch.ones(2, 3), torch.full((2, 3), -100)
    assert mean_ponder_cost(ones, None, none).item() == 0
    assert mean_ponder_cost(ones, torch.zeros(2, 3), torch.ones(2, 3)).item() == 0


@pytest.mark.parametrize("halting", ["act", "ponder_net"])
def test_the_gradient_of_the_ponder_loss_is_that_of_finite_differences(halting):
    model = build("universal-act", "ForMaskedLM", halting=halting, noise=0.05).double().train()
    parameters = [model.model.stack.halting.unit.bias, model.model.stack.layers[0].feed_forward.up_proj.weight]
    loss = model(tokens(), labels=labels_for("ForMaskedLM")).ponder_loss
    gradients = torch.autograd.grad(loss, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn_like(parameter)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-5 * direction
                values.append(model(tokens(), labels=labels_for("ForMaskedLM")))
                parameter -= sign * 1e-5 * direction
        assert torch.equal(values[0].ponder_steps, values[1].ponder_steps)  # no jump in between
        slope = (values[0].ponder_loss - values[1].ponder_loss) / 2e-5
        assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-6)
        assert abs(slope.item()) > 1e-3
