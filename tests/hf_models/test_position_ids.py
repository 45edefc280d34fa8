"""Which integers tokens carry: consecutive, drawn, given."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_models.position_ids import consecutive_ids, draw_position_ids, resolve_position_ids
from tests.hf_models.model_cases import build, config_of, pad, ragged, tokens


SCHEMES = ("random_offset", "randomized")


def resolve(position_ids=None, mask=None, batch=2, new=3, past=0, training=False, **options):
    """Ids of a forward pass with `new` tokens after `past` cached ones."""
    states = torch.zeros(batch, new, 16)
    return resolve_position_ids(config_of("transformer-rope", **options), position_ids, mask, states, past, training)


def test_consecutive_ids_count_real_tokens_alone():
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 1, 1]])
    assert consecutive_ids(4, mask, None).tolist() == [[0, 1, 2, 3], [0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 1, 2]]
    assert consecutive_ids(4, None, None).tolist() == [[0, 1, 2, 3]]


def test_a_mask_of_pairs_says_nothing_about_padding():
    assert consecutive_ids(4, torch.ones(2, 1, 4, 4), None).tolist() == [[0, 1, 2, 3]]


@settings(max_examples=50, deadline=None)
@given(
    scheme=st.sampled_from(SCHEMES),
    batch=st.integers(1, 4),
    size=st.integers(1, 40),
    data=st.data(),
    seed=st.integers(0, 2**31),
)
def test_drawn_ids_are_sorted_distinct_and_in_range(scheme, batch, size, data, seed):
    length = data.draw(st.integers(1, size))
    torch.manual_seed(seed)
    ids = draw_position_ids(scheme, batch, length, size)
    assert ids.shape == (batch, length)
    assert ids.dtype == torch.int64
    assert ids.min() >= 0
    assert ids.max() < size
    steps = ids.diff(dim=-1)
    assert (steps > 0).all()
    if scheme == "random_offset":
        assert (steps == 1).all()
    if length == size:
        assert torch.equal(ids, torch.arange(size).expand(batch, -1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_row_has_its_own_draw(scheme):
    ids = draw_position_ids(scheme, 8, 5, 1000)
    assert len({tuple(row) for row in ids.tolist()}) == 8


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_seed_fixes_the_draw(scheme):
    torch.manual_seed(7)
    first = draw_position_ids(scheme, 2, 5, 100)
    torch.manual_seed(7)
    assert torch.equal(first, draw_position_ids(scheme, 2, 5, 100))
    assert not torch.equal(first, draw_position_ids(scheme, 2, 5, 100))


def test_every_subset_is_equally_likely():
    ids = draw_position_ids("randomized", 6000, 3, 6)
    counts = [(ids == torch.tensor(subset)).all(-1).sum().item() for subset in combinations(range(6), 3)]
    assert sum(counts) == 6000
    assert min(counts) > 300 - 5 * 17  # mean 300, standard deviation 17
    assert max(counts) < 300 + 5 * 17


def test_every_offset_is_equally_likely():
    starts = draw_position_ids("random_offset", 6000, 3, 8)[:, 0].bincount()
    assert len(starts) == 6
    assert (starts - 1000).abs().max() < 5 * 29  # standard deviation 29


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_sequence_longer_than_the_range_is_refused(scheme):
    with pytest.raises(ValueError, match="9 tokens need as many position ids; max_position_embeddings allows 8"):
        draw_position_ids(scheme, 2, 9, 8)


# What a forward pass takes.


@pytest.mark.parametrize("training", [True, False])
def test_missing_consecutive_ids_are_derived(training):
    assert resolve(training=training).tolist() == [[0, 1, 2]]
    assert resolve(past=2).tolist() == [[0, 1, 2, 3, 4]]
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    assert resolve(mask=mask, past=2).tolist() == [[0, 1, 2, 3, 4], [0, 0, 1, 2, 3]]


def test_given_ids_are_taken():
    everything = torch.tensor([[4, 6, 9, 10, 11]])
    assert resolve(everything, past=2) is everything
    assert resolve(everything[:, 2:], past=2).tolist() == [[0, 1, 9, 10, 11]]
    padded = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    assert resolve(everything[:, 2:], padded, past=3).tolist() == [[0, 0, 0, 9, 10, 11], [0, 1, 2, 9, 10, 11]]
    assert resolve(everything[:, :3], eval_position_ids_scheme="randomized").tolist() == [[4, 6, 9]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ids_are_drawn_in_training_for_each_row(scheme):
    ids = resolve(batch=6, training=True, position_ids_scheme=scheme, max_position_embeddings=500)
    assert ids.shape == (6, 3)
    assert len({tuple(row) for row in ids.tolist()}) == 6


@pytest.mark.parametrize("scheme", SCHEMES)
def test_missing_random_ids_are_an_error_in_evaluation_and_with_a_cache(scheme):
    with pytest.raises(ValueError, match=f"position ids are '{scheme}': pass position_ids for all 3 tokens"):
        resolve(eval_position_ids_scheme=scheme)
    with pytest.raises(ValueError, match="pass position_ids for all 5 tokens, cached ones included"):
        resolve(past=2, training=True, position_ids_scheme=scheme)
    with pytest.raises(ValueError, match="for all 5 tokens"):
        resolve(torch.tensor([[7, 8, 9]]), past=2, eval_position_ids_scheme=scheme)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ids_of_another_number_of_tokens_are_refused(count):
    with pytest.raises(ValueError, match=f"position_ids cover {count} tokens; there are 3 new and 0 cached"):
        resolve(torch.arange(count)[None])


def test_training_and_evaluation_have_schemes_of_their_own():
    options = {"position_ids_scheme": "randomized", "eval_position_ids_scheme": "consecutive"}
    assert resolve(**options).tolist() == [[0, 1, 2]]
    drawn = resolve(training=True, batch=4, max_position_embeddings=1000, **options)
    assert drawn.max() > 2


# In a model.


@pytest.mark.parametrize("case", ["transformer-rope", "transformer-learned", "universal-act"])
def test_a_model_draws_ids_in_training_and_asks_for_them_in_evaluation(case):
    model = build(case, "Model", position_ids_scheme="randomized", eval_position_ids_scheme="randomized")
    with pytest.raises(ValueError, match="pass position_ids for all 7 tokens"):
        model(tokens())
    ids = torch.tensor([[0, 2, 5, 9, 11, 12, 30]])
    given = model(tokens(), position_ids=ids).last_hidden_state
    torch.testing.assert_close(given, model(tokens(), position_ids=ids.expand(3, -1)).last_hidden_state)
    model.train()
    first, second = (model(tokens()).last_hidden_state for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("case", ["transformer-learned", "transformer-fire", "universal"])
def test_ids_of_each_row_are_the_rows_own(case):
    model = build(case, "Model")
    ids = torch.stack([torch.randperm(32)[:7].sort().values for _ in range(3)])
    together = model(tokens(), position_ids=ids).last_hidden_state
    for row in range(3):
        alone = model(tokens()[row : row + 1], position_ids=ids[row : row + 1]).last_hidden_state[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


def test_ids_beyond_a_learned_table_are_refused_and_padding_does_not_count():
    model = build("transformer-learned", "Model", max_position_embeddings=7)
    model(tokens())
    with pytest.raises(ValueError, match="Position 7 is beyond the table: max_position_embeddings is 7"):
        model(tokens(length=8))
    with pytest.raises(ValueError, match="Position 9 is beyond the table"):
        model(tokens(), position_ids=torch.arange(3, 10)[None])
    input_ids, mask = pad(ragged((7, 2)), "left")
    wider = torch.nn.functional.pad(input_ids, (4, 0)), torch.nn.functional.pad(mask, (4, 0))
    expected = model(input_ids, attention_mask=mask).last_hidden_state
    states = model(wider[0], attention_mask=wider[1]).last_hidden_state[:, 4:]
    torch.testing.assert_close(states[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoding", ["none", "sinusoidal", "rope", "alibi", "t5", "fire"])
def test_encodings_without_a_table_take_any_length(encoding):
    model = build(f"transformer-{encoding}", "Model", max_position_embeddings=4)
    assert model(tokens(length=12)).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("case", ["transformer-rope", "transformer-fire", "universal-act"])
def test_a_cached_call_with_all_ids_equals_the_recomputed_one(case):
    model = build(case, eval_position_ids_scheme="randomized")
    input_ids, mask = pad(ragged(), "left")
    ids = draw_position_ids("randomized", 3, 7, 32)
    expected = model(input_ids, attention_mask=mask, position_ids=ids).logits[:, 4:]
    first = model(input_ids[:, :4], attention_mask=mask[:, :4], position_ids=ids[:, :4])
    rest = model(input_ids[:, 4:], attention_mask=mask, position_ids=ids, past_key_values=first.past_key_values).logits
    torch.testing.assert_close(rest[mask[:, 4:].bool()], expected[mask[:, 4:].bool()], rtol=1e-4, atol=1e-5)
