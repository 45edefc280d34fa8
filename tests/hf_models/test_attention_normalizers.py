"""What is particular to each of the functions that turn scores into weights."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_models.attention_normalizers import NORMALIZERS, entmax15, parse_normalizer, sparsemax
from hf_models.position_encoding import Positions
from tests.hf_models import model_cases
from tests.hf_models.model_cases import CLOSE, config_of, pad, ragged, tokens
from tests.hf_models.plain_normalizers import Bisected


HEADS = 2


def normalizer_of(entry, noise=0.0, **options):
    """A normalizer by itself, with its first weights."""
    config = config_of("transformer-none", attention_normalizer=entry, **options)
    torch.manual_seed(0)
    model = model_cases.class_of(config, "Model")(config)
    normalizer = model.layers[0].attention.normalizer
    with torch.no_grad():
        for parameter in normalizer.parameters():
            parameter += noise * torch.randn_like(parameter)
    return normalizer


def looking(visible_mask):
    """Positions with these keys visible `[B, 1, Tq, Tk]`."""
    ids = torch.arange(visible_mask.shape[-1])[None]
    return Positions(ids, ids, HEADS, 1.0, visible_mask=visible_mask)


def causal(length):
    return torch.ones(1, 1, length, length, dtype=torch.bool).tril()


def build(entry, **options):
    return model_cases.build("transformer-none", "Model", attention_normalizer=entry, **options)


def states_of(model, input_ids, **options):
    return model(input_ids, **options).last_hidden_state


@pytest.mark.parametrize("name", NORMALIZERS)
def test_weights_are_none_of_what_is_hidden_and_sum_to_one_at_most(name):
    normalizer = normalizer_of(name)
    scores = 3 * torch.randn(2, HEADS, 6, 6)
    visible_mask = causal(6) & torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]).bool()[:, None, None]
    weights = normalizer.weights(scores, visible_mask)
    needs_visible_mask = visible_mask.any(-1).expand(-1, HEADS, -1)
    assert weights.isfinite().all()
    assert not weights[~visible_mask.expand_as(weights) & needs_visible_mask[..., None]].any()
    assert (weights >= 0).all()
    total = weights.sum(-1)[needs_visible_mask]
    assert (total <= 1 + 1e-5).all() if name == "stick_breaking" else torch.allclose(total, torch.ones_like(total))


@pytest.mark.parametrize("name", ["log_n", "ssmax", "as_entmax"])
def test_temperatures_count_what_is_visible_alone(name):
    normalizer = normalizer_of(name, noise=0.3)
    states = torch.randn(1, 8, 16)
    whole = normalizer.temperature(states, looking(causal(8)))
    padded = causal(8) & (torch.arange(8) >= 3)
    shifted = normalizer.temperature(states, looking(padded))
    assert shifted.isfinite().all()  # queries on padding see nothing
    alone = normalizer.temperature(states[:, 3:], looking(causal(5)))
    torch.testing.assert_close(shifted[..., 3:, :], alone)
    assert not torch.allclose(whole[..., 4:, :], shifted[..., 4:, :])


@pytest.mark.parametrize("name", ["log_n", "ssmax", "as_entmax"])
def test_temperatures_count_the_keys_of_a_window(name):
    options = {"attention_types": "sliding", "sliding_window": 3}
    model = build(name, **options, attn_implementation="eager")
    layer, seen = model.layers[0].attention, []
    temperature = layer.normalizer.temperature
    layer.normalizer.temperature = lambda states, positions: (
        seen.append(positions.visible_mask.sum(-1)) or temperature(states, positions)
    )
    states_of(model, tokens(1, 6))
    assert seen[0].flatten().tolist() == [1, 2, 3, 3, 3, 3]


def test_log_n_is_one_at_its_length():
    temperature = normalizer_of({"name": "log_n", "length": 7}).temperature(None, looking(causal(7)))
    torch.testing.assert_close(temperature.flatten()[-1], torch.tensor(1.0))
    assert temperature.flatten()[0] == 0
    assert (temperature.diff(dim=-2) > 0).all()


def test_log_n_at_its_length_is_softmax_in_a_bidirectional_model():
    ours = build({"name": "log_n", "length": 7}, is_causal=False)
    plain = build("softmax", is_causal=False)
    torch.testing.assert_close(states_of(ours, tokens()), states_of(plain, tokens()))
    longer = tokens(2, 12)
    assert not torch.allclose(states_of(ours, longer), states_of(plain, longer), **CLOSE)


def test_ssmax_begins_with_the_same_scale_in_every_head():
    assert normalizer_of("ssmax").scale.tolist() == pytest.approx([0.43] * HEADS)
    temperature = normalizer_of("ssmax").temperature(None, looking(causal(5)))
    torch.testing.assert_close(temperature[0, 1, 4, 0], torch.tensor(0.43 * math.log(5)))


def test_ssmax_keeps_the_best_key_at_any_length():
    # The figure of the paper: one score of 3 among scores of -2, s = 0.43.
    for length in (10, 1000, 100_000):
        scores = torch.full((1, 1, 1, length), -2.0)
        scores[..., -1] = 3.0
        positions = looking(torch.ones(1, 1, 1, length, dtype=torch.bool))
        normalizer = normalizer_of("ssmax")
        temperature = normalizer.temperature(None, positions)[:, :1]
        assert normalizer.weights(scores * temperature, positions.visible_mask)[..., -1] > 0.92
    assert scores.softmax(-1)[..., -1] < 0.01


def test_the_temperature_leaves_the_encodings_bias_alone():
    # Without products of query and key nothing but the bias is left.
    ours, plain = (build(name, position_encoding="alibi") for name in ("ssmax", "softmax"))
    ours.load_state_dict(plain.state_dict(), strict=False)
    for model in (ours, plain):
        for layer in model.layers:
            torch.nn.init.zeros_(layer.attention.qkv_proj.weight[:16])
    torch.testing.assert_close(states_of(ours, tokens()), states_of(plain, tokens()))


# Stick-breaking.


def test_stick_breaking_by_hand():
    scores = torch.tensor([[9.0, 9, 9], [0, 9, 9], [0, math.log(3), 9]]).expand(1, 1, 3, 3)
    weights = normalizer_of("stick_breaking").weights(scores, causal(3))
    expected = torch.tensor([[0, 0, 0], [0.5, 0, 0], [0.125, 0.75, 0]])
    torch.testing.assert_close(weights[0, 0], expected)


def test_stick_breaking_gives_the_first_token_nothing():
    model = build("stick_breaking")
    layer = model.layers[0].attention
    captured = []
    layer.o_proj.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
    input_ids, mask = pad(ragged(), "left")
    assert states_of(model, input_ids, attention_mask=mask).isfinite().all()
    first = mask.argmax(dim=-1)
    assert not captured[0][torch.arange(3), first].any()
    assert captured[0][0, -1].any()


def test_stick_breaking_depends_on_the_order_without_an_encoding():
    model = build("stick_breaking", num_hidden_layers=1)
    input_ids = tokens(1, 7)
    swapped = input_ids[:, [1, 0, 2, 3, 4, 5, 6]]
    assert not torch.allclose(states_of(model, input_ids)[:, -1], states_of(model, swapped)[:, -1], **CLOSE)


def test_stick_breaking_does_not_lose_small_shares_behind_large_ones():
    # A near key takes nothing of a stick of which a far one takes all: exact zeros and ones.
    scores = torch.tensor([1e4, -1e4, 1e4, 0.0])
    weights = normalizer_of("stick_breaking").weights(scores.expand(1, 1, 4, 4), causal(4))[0, 0, 3]
    assert weights.tolist() == [0, 0, 1, 0]
    scores = torch.tensor([0.0, 1e4, -3.0, 0.0])
    weights = normalizer_of("stick_breaking").weights(scores.expand(1, 1, 4, 4), causal(4))[0, 0, 3]
    torch.testing.assert_close(weights[1], torch.sigmoid(torch.tensor(3.0)), rtol=1e-6, atol=0)


def test_stick_breaking_has_finite_gradients_for_any_score():
    scores = torch.tensor([[-1e4, 1e4, 0.0, 1e30, -1e30, 5.0]]).repeat(6, 1)[None, None].requires_grad_()
    normalizer_of("stick_breaking").weights(scores, causal(6)).square().sum().backward()
    assert scores.grad.isfinite().all()


# Entmax.


@pytest.mark.parametrize("function", [entmax15, sparsemax])
@pytest.mark.parametrize("scale", [0.5, 2.0, 8.0])
def test_entmax_has_the_right_gradient(function, scale):
    torch.manual_seed(0)
    scores = (scale * torch.randn(3, 6, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(function, (scores,))
    assert torch.autograd.gradgradcheck(function, (scores,))


@pytest.mark.parametrize(("function", "alpha"), [(entmax15, 1.5), (sparsemax, 2)])
@pytest.mark.parametrize("length", [1, 2, 50, 3000])
def test_entmax_agrees_with_bisection(function, alpha, length):
    torch.manual_seed(0)
    for scale in (0.0, 0.01, 1.0, 10.0):
        scores = (scale * torch.randn(length)).requires_grad_()
        bisected, upstream = Bisected.apply(scores, alpha), torch.randn(length)
        (expected,) = torch.autograd.grad(bisected, scores, upstream)
        ours = function(scores)
        (gradient,) = torch.autograd.grad(ours, scores, upstream)
        torch.testing.assert_close(ours, bisected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


def test_entmax_is_exact_over_a_hundred_thousand_keys():
    torch.manual_seed(0)
    for scale in (0.0, 0.1, 3.0):
        scores = scale * torch.randn(100_000)
        torch.testing.assert_close(entmax15(scores), entmax15(scores.double()).float(), rtol=1e-3, atol=1e-6)


def test_entmax_is_sparse_and_ties_share():
    weights = entmax15(torch.tensor([4.0, 4.0, 0.0, -1.0]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.5, 0, 0]))
    assert torch.equal(sparsemax(torch.tensor([1.0, 0.0, -5.0])), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(sparsemax(torch.tensor([0.5, 0.0, -5.0])), torch.tensor([0.75, 0.25, 0.0]))


def test_entmax_of_one_visible_key_has_no_gradient_and_of_none_is_finite():
    normalizer = normalizer_of("entmax")
    scores = torch.randn(1, HEADS, 3, 3, requires_grad=True)
    visible_mask = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 1, 1]]).bool()[None, None]
    weights = normalizer.weights(scores, visible_mask)
    assert weights.isfinite().all()
    weights.square().sum().backward()
    assert not scores.grad[..., :2, :].any()
    assert scores.grad[..., 2, :].isfinite().all()


def test_sparsemax_is_a_choice_of_entmax():
    scores = torch.randn(1, HEADS, 4, 4)
    chosen = normalizer_of({"name": "entmax", "alpha": 2}).weights(scores, causal(4))
    torch.testing.assert_close(chosen[..., 3, :], sparsemax(scores[..., 3, :]))


@pytest.mark.parametrize("heads", [1, 2])
def test_as_entmax_scales_the_last_heads_alone(heads):
    normalizer = normalizer_of({"name": "as_entmax", "scaled_heads": heads, "gamma_range": 1.0})
    states = torch.randn(2, 5, 16)
    temperature = normalizer.temperature(states, looking(causal(5).expand(2, -1, -1, -1)))
    assert temperature.shape == (2, HEADS, 5, 1)
    assert torch.equal(temperature[:, : HEADS - heads], torch.ones(2, HEADS - heads, 5, 1))
    beta = torch.nn.functional.softplus(states[1, 3] @ normalizer.beta.weight[-1])
    gamma = torch.tanh(states[1, 3] @ normalizer.gamma.weight[-1])
    torch.testing.assert_close(temperature[1, -1, 3, 0], 1 + beta * math.log(5) ** gamma)
    assert (temperature[:, -heads:] > 1).all()


# Refusals.


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("soft_max", "Unknown attention normalizer 'soft_max'. Did you mean 'softmax'?"),
        ({"name": "log_n", "length": 1}, "LogN needs a length of at least 2, not 1."),
        ({"name": "log_n", "lenght": 9}, "LogN has no argument 'lenght'. Did you mean 'length'?"),
        ({"name": "entmax", "alpha": 1.2}, "Entmax has no alpha 1.2."),
        ({"name": "entmax", "alpha": 1.2}, "Allowed: 1.5, 2."),
        ({"name": "as_entmax", "alpha": 3}, "ASEntmax has no alpha 3."),
        (
            {"name": "as_entmax", "scaled_heads": 3},
            "scaled_heads must lie between 1 and num_attention_heads (2), not 3.",
        ),
        (
            {"name": "as_entmax", "scaled_heads": 0},
            "scaled_heads must lie between 1 and num_attention_heads (2), not 0.",
        ),
        ({"name": "as_entmax", "gamma_range": 0}, "ASEntmax needs a gamma_range above 0, not 0."),
    ],
)
def test_what_makes_no_sense_is_refused(entry, text):
    with pytest.raises(StrictDataclassError) as caught:
        config_of("transformer-none", attention_normalizer=entry)
    assert text in str(caught.value)


def test_every_name_is_in_the_registry():
    assert set(NORMALIZERS) == {"softmax", "log_n", "ssmax", "stick_breaking", "entmax", "as_entmax"}
    assert parse_normalizer("ssmax") == (NORMALIZERS["ssmax"], {})
