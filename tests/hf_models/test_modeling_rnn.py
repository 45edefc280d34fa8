"""The vanilla recurrent network against a loop over tokens, its beginning, and its state as a cache."""

import pytest
import torch

from hf_models import RNNConfig
from tests.hf_models.model_cases import build, tokens
from tests.hf_models.plain_memory import assert_is_plain


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", ["rnn", "rnn-tanh", "rnn-bidirectional"])
def test_the_model_is_a_loop_over_tokens_forward_and_in_every_gradient(case, side):
    assert_is_plain(build(case, "Model"), side)


def test_the_default_is_the_papers_baseline():
    config = RNNConfig()
    assert (config.hidden_act, config.num_hidden_layers, config.initial_state) == ("relu", 1, "zero")
    assert build("rnn", "Model").layers[0].rnn.nonlinearity == "relu"
    with pytest.raises(Exception, match="hidden_act"):
        RNNConfig(hidden_act="gelu")


def test_recurrent_weights_begin_orthogonal_and_input_weights_xavier_without_biases():
    rnn = build("rnn", "Model", noise=0.0, hidden_size=64).layers[0].rnn
    torch.testing.assert_close(rnn.weight_hh_l0 @ rnn.weight_hh_l0.T, torch.eye(64), rtol=0, atol=1e-5)
    assert rnn.weight_ih_l0.std().item() == pytest.approx((6 / 128) ** 0.5 / 3**0.5, rel=0.05)
    assert rnn.bias_ih_l0.abs().max() == rnn.bias_hh_l0.abs().max() == 0


@pytest.mark.parametrize("case", ["rnn", "stack_rnn", "tape_rnn"])
def test_a_new_model_neither_explodes_nor_dies_over_many_tokens(case):
    with torch.no_grad():
        states = build(case, "Model", noise=0.0, hidden_size=64)(tokens(2, 600)).last_hidden_state
    sizes = states.square().mean(-1).sqrt()  # [B, T]
    assert 0.3 < sizes[:, 20:60].mean() < 3
    assert sizes[:, 560:].mean() == pytest.approx(sizes[:, 20:60].mean().item(), rel=0.25)


def test_the_cache_holds_the_hidden_state_alone():
    model = build("rnn-tanh", "Model")
    output = model(tokens(), use_cache=True)
    assert [tuple(layer.keys.shape) for layer in output.past_key_values.layers] == [(3, 16), (3, 16)]
    assert all(layer.values.numel() == 0 for layer in output.past_key_values.layers)
    torch.testing.assert_close(output.past_key_values.layers[-1].keys, output.last_hidden_state[:, -1])


def test_a_learned_initial_state_is_shared_by_the_directions():
    layer = build("rnn-bidirectional", "Model").layers[0]
    assert layer.initial_state.shape == (1, 16)
    assert layer.rnn.hidden_size == 8


@pytest.mark.parametrize("value", [None, "zeros", True])
def test_an_unknown_initial_state_is_refused(value):
    with pytest.raises(Exception, match="initial_state"):
        RNNConfig(initial_state=value)
