"""The LSTM against a loop over cells, its beginning, and its state as a cache."""

import pytest
import torch
from transformers import DynamicCache

from hf_models.modeling_recurrent import RecurrentStateLayer
from tests.hf_models.model_cases import CLOSE, build, tokens
from tests.hf_models.plain_memory import assert_is_plain


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "case", ["lstm", "lstm-2", "lstm-learned", "lstm-bidirectional", "lstm-learned-bidirectional"]
)
def test_the_model_is_a_loop_over_cells_forward_and_in_every_gradient(case, side):
    learned = {"initial_state": "learned"} if "learned" in case else {}
    assert_is_plain(build(case.replace("learned-", ""), "Model", **learned), side)


def test_padding_in_the_middle_is_skipped():
    model = build("lstm-2", "Model")
    input_ids = tokens(1, 6)
    mask = torch.tensor([[1, 1, 0, 0, 1, 1]])
    states = model(input_ids, attention_mask=mask).last_hidden_state
    expected = model(input_ids[:, [0, 1, 4, 5]]).last_hidden_state
    torch.testing.assert_close(states[:, [0, 1, 4, 5]], expected, **CLOSE)


def test_weights_begin_orthogonal_or_xavier_with_a_forget_bias_of_one():
    lstm = build("lstm", "Model", noise=0.0, hidden_size=64).layers[0].lstm
    for gate in lstm.weight_hh_l0.view(4, 64, 64):
        torch.testing.assert_close(gate @ gate.T, torch.eye(64), rtol=0, atol=1e-5)
    for gate in lstm.weight_ih_l0.view(4, 64, 64):
        assert gate.abs().max() <= (6 / 128) ** 0.5
        assert gate.std().item() == pytest.approx((6 / 128) ** 0.5 / 3**0.5, rel=0.05)
    total = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert total.tolist() == [0.0] * 64 + [1.0] * 64 + [0.0] * 128


def test_a_learned_initial_state_begins_at_zero_and_is_where_every_row_begins():
    zero, learned = build("lstm-2", "Model", noise=0.0), build("lstm-learned", "Model", noise=0.0)
    torch.testing.assert_close(learned(tokens()).last_hidden_state, zero(tokens()).last_hidden_state)
    for layer in learned.layers:
        assert layer.initial_state.shape == (2, 16)
        layer.initial_state.data.normal_()
    input_ids, mask = tokens(2, 3), torch.tensor([[0, 0, 0], [1, 1, 1]])
    cache = learned(input_ids, attention_mask=mask, use_cache=True).past_key_values
    for layer, state in zip(learned.layers, cache.layers, strict=True):
        torch.testing.assert_close(torch.stack([state.keys[0], state.values[0]]), layer.initial_state)
    assert not any(".initial_state" in name for name, _ in zero.named_parameters())


def test_directions_share_the_width():
    model = build("lstm-bidirectional", "Model")
    assert model.layers[0].lstm.hidden_size == 8
    assert model(tokens()).last_hidden_state.shape == (3, 7, 16)
    states = model(tokens()).last_hidden_state
    longer = model(torch.cat([tokens(), tokens(seed=9)], dim=1)).last_hidden_state[:, :7]
    assert not torch.allclose(states, longer, atol=1e-3)


def test_layers_hand_on_with_dropout_in_between_but_not_after_the_last():
    model = build("lstm", "Model", dropout=0.9)
    model.train()
    torch.testing.assert_close(model(tokens()).last_hidden_state, model.eval()(tokens()).last_hidden_state)


# The state as a cache.


def test_the_cache_holds_the_last_state_of_each_layer():
    model = build("lstm-2", "Model")
    output = model(tokens(), use_cache=True)
    cache = output.past_key_values
    assert all(isinstance(layer, RecurrentStateLayer) for layer in cache.layers)
    assert [tuple(layer.keys.shape) for layer in cache.layers] == [(3, 16), (3, 16)]
    torch.testing.assert_close(cache.layers[-1].keys, output.last_hidden_state[:, -1])
    assert cache.get_seq_length() == 7


def test_the_state_is_as_small_after_many_tokens():
    model, cache = build("lstm", "Model"), None
    for token in tokens(1, 12)[0]:
        cache = model(token.view(1, 1), past_key_values=cache, use_cache=True).past_key_values
    assert cache.layers[0].keys.shape == (1, 16)
    assert cache.get_seq_length() == 12


def test_a_row_of_padding_leaves_its_state_as_it_is():
    model = build("lstm-2", "Model")
    first = model(tokens(2, 4), use_cache=True).past_key_values
    before = [layer.keys.clone() for layer in first.layers]
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    after = model(tokens(2, 2, 3), attention_mask=mask, past_key_values=first).past_key_values
    for layer, old in zip(after.layers, before, strict=True):
        assert torch.equal(layer.keys[0], old[0])
        assert not torch.allclose(layer.keys[1], old[1], atol=1e-3)


def test_rows_of_the_cache_can_be_reordered_selected_and_repeated():
    model = build("lstm-2", "Model")

    def cache():
        return model(tokens(), use_cache=True).past_key_values

    kept = [layer.keys.clone() for layer in cache().layers]
    order = torch.tensor([2, 0, 0])
    reordered = cache()
    reordered.reorder_cache(order)
    repeated, selected = cache(), cache()
    repeated.batch_repeat_interleave(2)
    selected.batch_select_indices(torch.tensor([1]))
    for index, keys in enumerate(kept):
        assert torch.equal(reordered.layers[index].keys, keys[order])
        assert torch.equal(repeated.layers[index].keys, keys.repeat_interleave(2, 0))
        assert torch.equal(selected.layers[index].keys, keys[[1]])


def test_the_cache_cannot_go_back_or_be_extended():
    model = build("lstm", "Model")
    cache = model(tokens(), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="cannot be cropped"):
        cache.layers[0].crop(1)
    cache.layers[0].crop(0)
    with pytest.raises(NotImplementedError, match="stored with `store`"):
        cache.layers[0].update(torch.zeros(1), torch.zeros(1))


def test_an_empty_cache_of_the_configuration_may_be_given():
    model = build("lstm-2", "Model")
    cache = DynamicCache(config=model.config)
    assert cache.get_seq_length() == 0
    output = model(tokens(), past_key_values=cache)
    assert output.past_key_values is cache
    torch.testing.assert_close(output.last_hidden_state, model(tokens()).last_hidden_state)
