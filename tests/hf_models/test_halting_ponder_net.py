"""PonderNet: the distribution over steps, its prior, and the mixture of losses."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from hf_models.halting_ponder_net import divergence
from tests.hf_models.model_cases import CLOSE, HEADS, build, labels_for, pad, ragged, tokens


def pondering(head="ForMaskedLM", **options):
    return build("universal-act", head, **{"halting": "ponder_net", "halting_prior": 0.3, **options})


def test_the_probabilities_of_all_steps_sum_to_one_on_real_tokens_and_to_nothing_on_padding():
    model = pondering("Model").train()
    input_ids, mask = pad(ragged(), "left")
    output = model(input_ids, attention_mask=mask)
    assert len(output.halting_probabilities) == 4
    torch.testing.assert_close(torch.stack(output.halting_probabilities).sum(0), mask.float())
    assert torch.equal(output.ponder_steps, 4.0 * mask)


def test_the_cost_is_the_divergence_from_a_geometric_distribution_that_is_cut_off():
    probabilities = torch.rand(4, 2, 3).softmax(0)
    prior = [0.3 * 0.7**n for n in range(4)]
    prior = torch.tensor([share / sum(prior) for share in prior])[:, None, None]
    expected = nn.functional.kl_div(prior.log().expand(4, 2, 3), probabilities, reduction="none").sum(0)
    torch.testing.assert_close(divergence(probabilities, 0.3), expected)
    torch.testing.assert_close(divergence(prior.expand(4, 2, 3), 0.3), torch.zeros(2, 3))


def test_a_probability_of_zero_has_a_finite_cost_and_gradient():
    probabilities = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).requires_grad_()
    cost = divergence(probabilities, 0.3)
    cost.sum().backward()
    assert cost.isfinite().all()
    assert probabilities.grad.isfinite().all()


def plain_loss(model, head, labels, output, mask):
    """The task loss of each step's own outputs, weighted by the probability of halting there."""
    total, count = 0.0, 0
    for logits, probability in zip(output.step_logits, output.probabilities, strict=True):
        for row in range(len(labels)):
            positions = range(labels.shape[1]) if labels.dim() == 2 else [None]
            for t in positions:
                if t is None:  # read at the last token
                    t = int(mask[row].nonzero()[-1])
                    label = labels[row]
                else:
                    label = labels[row, t]
                if head == "ForCausalLM":
                    if t + 1 == labels.shape[1]:
                        continue
                    label = labels[row, t + 1]
                if label != -100:
                    total = total - probability[row, t] * logits[row, t].log_softmax(-1)[label]
    counted = labels[:, 1:] if head == "ForCausalLM" else labels
    count = (counted != -100).sum()
    return total / count


@pytest.mark.parametrize("head", HEADS[1:])
def test_in_training_the_task_loss_is_the_mixture_over_steps(head):
    model, labels = pondering(head, ponder_loss_weight=0.5).train(), labels_for(head)
    output = model(tokens(), labels=labels, output_steps=True)
    states = model.model(tokens(), output_steps=True)
    output.probabilities = states.halting_probabilities
    expected = plain_loss(model, head, labels, output, torch.ones(3, 7))
    torch.testing.assert_close(output.loss - 0.5 * output.ponder_loss, expected, **CLOSE)
    torch.testing.assert_close(output.step_logits[-1].shape, output.step_logits[0].shape)


def test_in_evaluation_a_position_halts_where_the_probabilities_reach_the_threshold():
    model = pondering("Model", halting_threshold=0.6, halting_bias=0.5)
    training = pondering("Model", halting_threshold=0.6, halting_bias=0.5).train()
    alone = tokens(1, 1)  # one position: nobody else's frozen state changes it
    probabilities = torch.stack(training(alone).halting_probabilities).cumsum(0)[:, 0, 0]
    expected = 1 + int((probabilities[:-1] < 0.6).sum())
    output = model(alone, output_steps=True)
    assert output.ponder_steps.item() == expected
    torch.testing.assert_close(output.last_hidden_state, output.step_states[expected - 1])
    assert output.halting_probabilities is None
    assert output.ponder_cost is None
    assert output.remainders is None


def test_the_threshold_may_be_changed_after_training():
    model, means = pondering("Model", halting_bias=0.5), []
    for threshold in (0.3, 0.6, 0.9, 1.0):
        model.config.halting_threshold = threshold
        means.append(model(tokens(6, 1)).ponder_steps.mean().item())
    assert means == sorted(means)
    assert means[0] < means[-1]


def test_a_strong_prior_draws_the_distribution_to_it():
    model = pondering("ForMaskedLM", ponder_loss_weight=20.0, halting_prior=0.5).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        model(tokens(), labels=tokens()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    probabilities = torch.stack(model.model(tokens()).halting_probabilities).mean((1, 2))
    torch.testing.assert_close(probabilities, torch.tensor([8.0, 4.0, 2.0, 1.0]) / 15, rtol=0.25, atol=0.05)


def test_labels_that_are_no_classes_are_refused():
    model = pondering("ForSequenceClassification", problem_type="regression", num_labels=1).train()
    with pytest.raises(ValueError, match="PonderNet's mixture of losses needs labels of classes"):
        model(tokens(), labels=torch.rand(3))


def test_coda_layers_are_refused():
    with pytest.raises(StrictDataclassError, match="it takes no coda layers"):
        pondering("Model", num_coda_layers=1)
