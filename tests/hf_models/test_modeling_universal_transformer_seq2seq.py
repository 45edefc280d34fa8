"""The encoder-decoder Universal Transformer: halting on both sides against loops over positions, and its outputs.

What it shares with the other encoder-decoders is in test_modeling_seq2seq.
"""

import pytest
import torch
from torch import nn

from hf_models.layer_decoder import CrossAttention
from tests.hf_models.model_cases import CLOSE, assert_same, gradients, pad, ragged, tokens
from tests.hf_models.plain_recurrence import ACT
from tests.hf_models.test_layer_looped import plain_model
from tests.hf_models.test_modeling_seq2seq import CASES, NEW, build, targets


HALTING = [case for case in CASES if "act" in case or "around" in case]
PONDER_NET = "universal-ponder_net"


# Against the loop.


def plain_cost(account, prior):
    """What pondering costs a position: steps and remainder, or the divergence from the prior."""
    if isinstance(account, ACT):
        return account.steps + account.remainder
    weights = [prior * (1 - prior) ** step for step in range(len(account.probabilities))]
    chances = zip(account.probabilities, weights, strict=True)
    return sum(chance * (chance / (weight / sum(weights))).log() for chance, weight in chances)


def plain_loss(model, sources, written):
    """The loss of sources and targets, one pair and one position at a time; logits and steps of the targets."""
    config, backbone = model.config, model.model
    embedding = model.get_input_embeddings()
    task, ponder, logits, steps = torch.tensor(0.0), torch.tensor(0.0), [], []
    for source, target in zip(sources, written, strict=True):
        states, encoding, _ = plain_model(backbone.encoder, source)
        read = [config.decoder_start_token_id, *target.tolist()][:-1]
        outputs, accounts, each = plain_model(backbone.decoder, read, embedding, states)
        for position, (label, account) in enumerate(zip(target, accounts, strict=True)):
            taken = [(outputs, 1.0)]
            if config.halting == "ponder_net" and model.training:
                taken = list(zip(each, account.probabilities, strict=True))
            for after, share in taken:
                task = task - share * model.lm_head(after[position]).log_softmax(-1)[label]
        for side in (encoding, accounts):
            paid = [plain_cost(account, config.halting_prior) for account in side]
            ponder = ponder + len(target) * sum(paid) / len(paid)
        logits.append(model.lm_head(outputs))
        steps.append([account.steps for account in accounts])
    count = sum(map(len, written))
    return task / count, ponder / count, logits, steps


@pytest.mark.parametrize("case", ["universal-act", "universal-act-rope-post", PONDER_NET])
def test_training_is_the_loop_over_positions_of_both_sides_forward_and_in_every_gradient(case):
    model = build(case, ponder_loss_weight=0.5).train()
    sources, written = ragged((5, 3)), ragged((2, 4), seed=5)
    (source, mask), (labels, _) = pad(sources, "left"), pad(written, "right", value=-100)
    output = model(source, attention_mask=mask, labels=labels)
    task, ponder, logits, steps = plain_loss(model, sources, written)
    for row, (expected, taken) in enumerate(zip(logits, steps, strict=True)):
        torch.testing.assert_close(output.logits[row, : len(taken)], expected, rtol=1e-3, atol=1e-4)
        assert output.ponder_steps[row].tolist() == taken + [0] * (labels.shape[1] - len(taken))
    torch.testing.assert_close(output.ponder_loss, ponder, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.loss, task + 0.5 * ponder, rtol=1e-4, atol=1e-5)
    output.loss.backward()
    found = gradients(model)
    model.zero_grad()
    (task + 0.5 * ponder).backward()
    for name, gradient in gradients(model).items():
        assert (found[name] - gradient).abs().max() <= 1e-3 * gradient.abs().max() + 1e-5, name


@pytest.mark.parametrize("case", ["universal-act", PONDER_NET])
def test_the_gradient_of_the_ponder_loss_is_that_of_finite_differences(case):
    model = build(case, noise=0.05).double().train()
    units = [side.stack.halting.unit.bias for side in (model.model.encoder, model.model.decoder)]
    weights = [side.stack.layers[0].feed_forward.up_proj.weight for side in (model.model.encoder, model.model.decoder)]
    parameters = units + weights
    found = torch.autograd.grad(model(tokens(), labels=targets()).ponder_loss, parameters)
    for parameter, gradient in zip(parameters, found, strict=True):
        direction, values = gradient / gradient.norm(), []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-5 * direction
                values.append(model(tokens(), labels=targets()))
                parameter -= sign * 1e-5 * direction
        for name in ("ponder_steps", "encoder_ponder_steps"):
            assert torch.equal(values[0][name], values[1][name])  # no jump in between
        slope = (values[0].ponder_loss - values[1].ponder_loss) / 2e-5
        assert slope.item() == pytest.approx(gradient.norm().item(), rel=1e-6)
        assert slope.item() > 1e-3


# Halting.


@pytest.mark.parametrize("case", HALTING)
def test_both_sides_halt_and_pay_for_it(case):
    model = build(case, ponder_loss_weight=0.5)
    source, mask = pad(ragged(), "left")
    labels = targets()
    output = model(source, attention_mask=mask, labels=labels)
    for steps, token_mask in ((output.encoder_ponder_steps, mask.bool()), (output.ponder_steps, labels != -100)):
        assert steps.shape == token_mask.shape
        assert (steps[~token_mask] == 0).all()
        assert ((steps[token_mask] >= 1) & (steps[token_mask] <= 4)).all()
        assert len(steps[token_mask].unique()) > 1
    counts, cost = (labels != -100).sum(-1), 0
    for steps, rest, token_mask in (
        (output.encoder_ponder_steps, output.encoder_remainders, mask),
        (output.ponder_steps, output.remainders, (labels != -100).long()),
    ):
        means = ((steps + rest) * token_mask).sum(-1) / token_mask.sum(-1).clamp(min=1)
        cost = cost + (means * counts).sum() / counts.sum()
    torch.testing.assert_close(output.ponder_loss, cost)
    task = nn.functional.cross_entropy(output.logits[labels != -100], labels[labels != -100])
    torch.testing.assert_close(output.loss, task + 0.5 * cost)


@pytest.mark.parametrize("case", [*HALTING, "universal-exits"])
def test_packed_steps_are_those_with_all_positions_forward_and_backward(case, monkeypatch):
    source, mask = pad(ragged(), "right")
    looked, forward = [], CrossAttention.forward
    monkeypatch.setattr(CrossAttention, "forward", lambda s, x, *a: looked.append(x.shape[1]) or forward(s, x, *a))
    found = []
    for packs in (True, False):
        looked.clear()
        model = build(case).train("exits" not in case)
        if not packs:
            for side in (model.model.encoder, model.model.decoder):
                monkeypatch.setattr(side.stack, "packs", lambda: False)
        output = model(source, attention_mask=mask, labels=targets())
        output.loss.backward()
        assert (min(looked) < NEW) == packs
        found.append({"logits": output.logits[targets() != -100].detach(), **gradients(model)})
    assert_same(*found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("encoder_halting", ["none", "act", "published", None])
def test_the_encoder_may_halt_in_another_way(encoder_halting):
    model = build("universal-act", encoder_halting=encoder_halting)
    encoder, decoder = model.model.encoder, model.model.decoder
    assert encoder.config.halting == (encoder_halting or "act")
    assert decoder.config.halting == "act"
    output = model(tokens(), labels=targets())
    assert (output.encoder_ponder_steps is None) == (encoder_halting == "none")
    assert output.ponder_steps is not None
    decoder_cost = model(encoder_outputs=(encoder(tokens()).last_hidden_state,), labels=targets()).ponder_loss
    assert (output.ponder_loss > decoder_cost).item() == (encoder_halting != "none")


def test_an_exit_is_the_decoders_where_the_encoder_halts_by_itself():
    options = {"encoder_halting": "act", "exit_criterion": "latent_difference", "exit_threshold": 0.6, "num_steps": 6}
    model = build("universal", **options)
    output = model(tokens(), labels=targets())
    assert output.remainders is None
    assert output.encoder_remainders is not None
    assert output.ponder_steps.max() < 6  # the exit is the decoder's


def test_ponder_net_takes_every_step_in_training_and_stops_at_its_threshold_in_evaluation():
    model, labels = build(PONDER_NET), targets()
    output = model.train()(tokens(), labels=labels)
    token_mask = labels != -100
    assert set(output.ponder_steps[token_mask].tolist()) == {4.0}
    chances = torch.stack(model.model(tokens(), decoder_input_ids=tokens(3, NEW)).halting_probabilities)
    torch.testing.assert_close(chances.sum(0), torch.ones(3, NEW))
    steps = model.eval()(tokens(), labels=labels).ponder_steps
    assert (steps[~token_mask] == 0).all()
    assert len(steps[token_mask].unique()) > 1
    model.model.decoder.config.halting_threshold = 1e-9
    assert set(model(tokens(), labels=labels).ponder_steps[token_mask].tolist()) == {1.0}


def test_what_may_change_after_training_is_told_at_loading_or_to_each_side(tmp_path):
    model = build("universal-act", num_steps=2)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, num_steps=5, halting_threshold=0.95)
    for side in (model.model.encoder, model.model.decoder):
        side.config.num_steps, side.config.halting_threshold = 5, 0.95
    found = loaded(tokens(), decoder_input_ids=tokens(3, 4))
    assert found.encoder_ponder_steps.max() > 2
    expected = model(tokens(), decoder_input_ids=tokens(3, 4))
    torch.testing.assert_close(found.logits, expected.logits, **CLOSE)


# Outputs.


@pytest.mark.parametrize("case", ["universal", "universal-act", PONDER_NET])
def test_states_and_logits_of_every_step_are_given_on_request(case):
    model = build(case)
    steps = model.config.num_steps
    output = model(tokens(), labels=targets(), output_steps=True)
    assert [states.shape for states in output.step_states] == [(3, NEW, 16)] * steps
    assert [states.shape for states in output.encoder_step_states] == [(3, 7, 16)] * steps
    for states, logits in zip(output.step_states, output.step_logits, strict=True):
        torch.testing.assert_close(logits, model.lm_head(states))
    if case == "universal":
        torch.testing.assert_close(output.step_logits[-1], output.logits)
        torch.testing.assert_close(output.encoder_step_states[-1], output.encoder_last_hidden_state)
    if case == PONDER_NET:  # its output is the state where it halts
        halted = torch.stack(output.step_logits).gather(
            0, (output.ponder_steps.long() - 1).clamp(min=0)[None, :, :, None].expand(1, -1, -1, 17)
        )[0]
        token_mask = targets() != -100
        torch.testing.assert_close(output.logits[token_mask], halted[token_mask])
    plain = model(tokens(), labels=targets())
    torch.testing.assert_close(plain.logits[targets() != -100], output.logits[targets() != -100], **CLOSE)
    assert not {"step_states", "step_logits", "encoder_step_states"} & plain.keys()
