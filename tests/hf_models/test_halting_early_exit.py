"""Exits at inference, switched on for a trained model."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from tests.hf_models.model_cases import CLOSE, build, pad, ragged, tokens


pytestmark = pytest.mark.versions


def exiting(head="ForCausalLM", **options):
    model = build("universal", head, num_steps=6)
    for name, value in {"exit_criterion": "latent_difference", "exit_threshold": 0.4, **options}.items():
        setattr(model.config, name, value)
    return model


def test_a_trained_model_exits_once_it_is_told_to(tmp_path):
    model = build("universal", num_steps=6)
    whole = model(tokens())
    assert whole.ponder_steps is None
    model.save_pretrained(tmp_path)
    told = type(model).from_pretrained(tmp_path, exit_criterion="latent_difference", exit_threshold=0.4)
    output = told(tokens())
    torch.testing.assert_close(output.logits, exiting()(tokens()).logits)
    assert 1 <= output.ponder_steps.min() < output.ponder_steps.max() <= 6
    assert output.remainders is None
    assert output.ponder_loss is None
    model.config.exit_criterion = "latent_difference"
    model.config.exit_threshold = 0.0
    torch.testing.assert_close(model(tokens()).logits, whole.logits, **CLOSE)


def test_training_takes_all_steps():
    model = exiting().train()
    assert model(tokens()).ponder_steps is None
    torch.testing.assert_close(model(tokens()).logits, build("universal", num_steps=6)(tokens()).logits, **CLOSE)


@pytest.mark.parametrize("same", [1, 2])
def test_a_prediction_that_stays_the_same_is_final(same):
    model = exiting(exit_criterion="stable_argmax", exit_threshold=same)
    input_ids = tokens(6, 1)  # one position each: nobody else's frozen state changes it
    free = build("universal", num_steps=6)(input_ids, output_steps=True)
    predicted = torch.stack(free.step_logits).argmax(-1)[:, :, 0]  # [N, B]
    output = model(input_ids)
    for row, steps in enumerate(output.ponder_steps[:, 0].long().tolist()):
        runs = [len(set(predicted[n - same : n + 1, row].tolist())) == 1 for n in range(same, 6)]
        expected = same + 1 + runs.index(True) if any(runs) else 6
        assert steps == expected
        torch.testing.assert_close(output.logits[row, 0], free.step_logits[steps - 1][row, 0], **CLOSE)


def test_a_backbone_has_no_predictions_to_look_at():
    model = exiting("Model", exit_criterion="stable_argmax", exit_threshold=1)
    with pytest.raises(ValueError, match="'stable_argmax' looks at predictions: call a model with a head"):
        model(tokens())


@pytest.mark.parametrize("criterion", [("latent_difference", 0.6), ("stable_argmax", 1)])
def test_a_sequence_leaves_as_a_whole(criterion):
    model = exiting(exit_criterion=criterion[0], exit_threshold=criterion[1], exit_scope="sequence")
    input_ids, mask = pad(ragged((4, 7, 2)), "left")
    steps = model(input_ids, attention_mask=mask, use_cache=False).ponder_steps
    for row in range(3):
        assert len(steps[row][mask[row].bool()].unique()) == 1
    assert steps[mask == 0].abs().max() == 0
    alone = [model(sequence[None], use_cache=False).ponder_steps[0, 0] for sequence in ragged((4, 7, 2))]
    assert steps[:, -1].tolist() == [float(number) for number in alone]
    assert len(set(steps[:, -1].tolist())) > 1
    recorded = model(input_ids, attention_mask=mask, use_cache=False, output_steps=True).ponder_steps
    assert torch.equal(recorded, steps)  # with all positions computed too


def test_only_a_sequence_that_leaves_as_a_whole_looks_ahead():
    assert exiting().prefix_stable
    assert exiting(exit_criterion="stable_argmax").prefix_stable
    model = exiting(exit_scope="sequence", exit_threshold=0.5)
    assert not model.prefix_stable
    whole, part = (model(tokens(3, length), use_cache=False).logits[:, :3] for length in (7, 3))
    assert not torch.allclose(whole, part, atol=1e-3) or not torch.equal(tokens(3, 7)[:, :3], tokens(3, 3))


@pytest.mark.parametrize("halting", ["act", "ponder_net"])
def test_a_model_that_halts_by_itself_takes_no_criterion(halting):
    with pytest.raises(StrictDataclassError, match="decides by itself where to leave"):
        build("universal-act", halting=halting, exit_criterion="latent_difference")
