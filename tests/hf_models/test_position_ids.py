"""Which integers tokens carry: consecutive, drawn, given."""

from itertools import combinations

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_models.position_encoding import Positions
from hf_models.position_ids import abacus_ids, consecutive_ids, draw_position_ids, resolve_position_ids
from tests.hf_models.model_cases import build, config_of, pad, ragged, tokens


SCHEMES = ("random_offset", "randomized")


def resolve(position_ids=None, mask=None, batch=2, new=3, past=0, training=False, **options):
    """Ids of a forward pass with `new` tokens after `past` cached ones."""
    states = torch.zeros(batch, new, 16)
    config = config_of("transformer-rope", **options)
    ids, distances = resolve_position_ids(config, position_ids, mask, states, past, training)
    assert distances is None
    return ids


def test_consecutive_ids_count_real_tokens_alone():
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 1, 1]])
    assert consecutive_ids(4, mask, None).tolist() == [[0, 1, 2, 3], [0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 1, 2]]
    assert consecutive_ids(4, None, None).tolist() == [[0, 1, 2, 3]]


def test_a_mask_of_pairs_says_nothing_about_padding():
    assert consecutive_ids(4, torch.ones(2, 1, 4, 4), None).tolist() == [[0, 1, 2, 3]]


@settings(max_examples=50, deadline=None)
@given(
    scheme=st.sampled_from([*SCHEMES, "randomized_distances"]),
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


def test_ids_of_all_tokens_leave_those_of_a_learned_prefix_consecutive():
    after_prefix = torch.arange(2, 7)[None]  # of five tokens, two of them cached after a prefix of two
    assert resolve(after_prefix, past=4).tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    with pytest.raises(ValueError, match="position_ids cover 5 tokens; there are 3 new and 4 cached"):
        resolve(after_prefix, past=4, eval_position_ids_scheme="randomized")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ids_of_another_number_of_tokens_are_refused(count):
    with pytest.raises(ValueError, match=f"position_ids cover {count} tokens; there are 3 new and 0 cached"):
        resolve(torch.arange(count)[None])


def test_training_and_evaluation_have_schemes_of_their_own():
    options = {"position_ids_scheme": "randomized", "eval_position_ids_scheme": "consecutive"}
    assert resolve(**options).tolist() == [[0, 1, 2]]
    randomized_distances = resolve(training=True, batch=4, max_position_embeddings=1000, **options)
    assert randomized_distances.max() > 2


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


# Random distances.


DISTANCES: dict = {"position_ids_scheme": "randomized_distances", "eval_position_ids_scheme": "randomized_distances"}


def test_a_drawn_distance_keeps_its_sign_and_zero_stays_zero():
    randomized_distances = torch.tensor([[2, 5, 6, 9], [0, 1, 2, 3]])
    ids = torch.arange(4)[None]
    positions = Positions(ids[:, 2:], ids, num_heads=1, scaling=1.0, randomized_distances=randomized_distances)
    assert positions.distances()[0, 0].tolist() == [[6, 5, 0, -5], [9, 6, 5, 0]]
    assert positions.distances()[1, 0].tolist() == [[2, 1, 0, -1], [3, 2, 1, 0]]


@pytest.mark.parametrize("suffix", ["", "-bidirectional"])
@pytest.mark.parametrize("encoding", ["alibi", "t5"])
def test_drawn_distances_stretch_a_relative_encoding(encoding, suffix):
    model = build(f"transformer-{encoding}{suffix}", "Model", **DISTANCES)
    same = model(tokens(), position_ids=torch.arange(7)[None]).last_hidden_state
    plain = build(f"transformer-{encoding}{suffix}", "Model")
    torch.testing.assert_close(same, plain(tokens()).last_hidden_state)
    # Distances that are drawn as every third number are those of tokens three apart.
    stretched = model(tokens(), position_ids=3 * torch.arange(7)[None]).last_hidden_state
    torch.testing.assert_close(stretched, plain(tokens(), position_ids=3 * torch.arange(7)[None]).last_hidden_state)
    uneven = model(tokens(), position_ids=torch.tensor([[0, 1, 8, 9, 10, 20, 30]])).last_hidden_state
    assert not torch.allclose(uneven, same, atol=1e-3)


def test_distances_are_drawn_in_training_per_row_and_asked_for_in_evaluation():
    model = build("transformer-t5", "Model", **DISTANCES)
    with pytest.raises(ValueError, match="'randomized_distances': pass position_ids for all 7 tokens"):
        model(tokens())
    model.train()
    states = model(tokens()[:1].expand(4, -1)).last_hidden_state
    assert len({tuple(row) for row in states[:, -1].tolist()}) == 4


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_drawn_distances_hold_with_padding_and_a_cache(implementation):
    model = build("transformer-alibi", "Model", **DISTANCES, attn_implementation=implementation)
    sequences = ragged()
    input_ids, mask = pad(sequences, "left")
    randomized_distances = draw_position_ids("randomized_distances", 3, 7, 32)
    whole = model(input_ids, attention_mask=mask, position_ids=randomized_distances).last_hidden_state
    for row, sequence in enumerate(sequences):
        alone = model(
            sequence[None], position_ids=randomized_distances[row : row + 1, : len(sequence)]
        ).last_hidden_state[0]
        torch.testing.assert_close(whole[row, -len(sequence) :], alone, rtol=1e-4, atol=1e-5)
    first = model(input_ids[:, :4], attention_mask=mask[:, :4], position_ids=randomized_distances[:, :4])
    rest = model(
        input_ids[:, 4:], attention_mask=mask, position_ids=randomized_distances, past_key_values=first.past_key_values
    ).last_hidden_state
    kept = mask[:, 4:].bool()
    torch.testing.assert_close(rest[kept], whole[:, 4:][kept], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoding", ["rope", "learned", "sinusoidal", "fire"])
def test_encodings_that_read_ids_refuse_drawn_distances(encoding):
    with pytest.raises(StrictDataclassError, match="reads ids, not distances alone; take the scheme 'randomized'"):
        config_of("transformer-none", position_encoding=encoding, **DISTANCES)


def test_generation_draws_distances_for_the_final_length():
    model = build("transformer-alibi", **DISTANCES)
    randomized_distances = draw_position_ids("randomized_distances", 1, 12, 32)
    cached = model.generate(tokens(1), position_ids=randomized_distances, max_new_tokens=5, do_sample=False)
    recomputed = model.generate(
        tokens(1), position_ids=randomized_distances, max_new_tokens=5, do_sample=False, use_cache=False
    )
    assert torch.equal(cached, recomputed)
    assert model.generate(tokens(1), max_new_tokens=5, do_sample=False).shape == (1, 12)


# Abacus and supplied ids.


DIGITS = [3, 4, 5, 6]
ABACUS: dict = {
    "position_encoding": "learned",
    "position_ids_scheme": "abacus",
    "eval_position_ids_scheme": "abacus",
    "abacus_tokens": DIGITS,
    "abacus_offset": 10,
}


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(3, 9), min_size=8, max_size=8), min_size=1, max_size=3), shift=st.integers(0, 9)
)
def test_abacus_counts_within_runs_of_digits(rows, shift):
    expected = []
    for row in rows:
        count, ids = 0, []
        for token in row:
            count = count + 1 if token in DIGITS else 0
            ids.append(count + shift if count else 0)
        expected.append(ids)
    offsets = torch.full((len(rows), 1), shift)
    assert abacus_ids(torch.tensor(rows), DIGITS, offsets).tolist() == expected


def test_abacus_ids_are_shifted_in_training_alone():
    model = build("transformer-learned", "Model", **ABACUS)
    input_ids = torch.tensor([[3, 5, 9, 4, 4, 4, 10]])
    expected = model(input_ids, position_ids=torch.tensor([[1, 2, 0, 1, 2, 3, 0]])).last_hidden_state
    torch.testing.assert_close(model(input_ids).last_hidden_state, expected)
    states = model.train()(input_ids.expand(20, -1)).last_hidden_state
    assert 3 <= len({tuple(row) for row in states[:, 0].tolist()}) <= 10


def test_abacus_ids_are_those_of_the_whole_input_in_generation():
    model = build("transformer-learned", **ABACUS)
    prompts = torch.tensor([[9, 3, 5, 9, 4, 4, 4], [3, 3, 3, 3, 3, 3, 3]])
    cached = model.generate(prompts, max_new_tokens=6, do_sample=False)
    recomputed = model.generate(prompts, max_new_tokens=6, do_sample=False, use_cache=False)
    assert torch.equal(cached, recomputed)
    first = model(prompts[:, :4])
    with pytest.raises(ValueError, match="'abacus': pass position_ids for all 7 tokens, cached ones included"):
        model(prompts[:, 4:], past_key_values=first.past_key_values)


def test_abacus_without_its_tokens_is_refused():
    with pytest.raises(StrictDataclassError, match="needs abacus_tokens: the ids of the digits"):
        config_of("transformer-learned", position_ids_scheme="abacus")


def test_supplied_ids_are_never_guessed():
    model = build("transformer-learned", "Model", eval_position_ids_scheme="supplied")
    with pytest.raises(ValueError, match="'supplied': pass position_ids for all 7 tokens"):
        model(tokens())
    coupled = torch.tensor([[0, 2, 3, 5, 6, 7, 9]])
    expected = build("transformer-learned", "Model")(tokens(), position_ids=coupled).last_hidden_state
    torch.testing.assert_close(model(tokens(), position_ids=coupled).last_hidden_state, expected)


def test_supplied_ids_reach_every_step_of_generation():
    model = build("transformer-learned", eval_position_ids_scheme="supplied")
    with pytest.raises(ValueError, match="'supplied': pass position_ids for all tokens, those to come included"):
        model.generate(tokens(1), max_new_tokens=5)
    coupled = torch.tensor([[3, 2, 1, 0, 3, 2, 1, 0, 5, 4, 5, 6]])
    cached = model.generate(tokens(1), position_ids=coupled, max_new_tokens=5, do_sample=False)
    sequence = tokens(1)
    for end in range(7, 12):
        logits = model(sequence, position_ids=coupled[:, :end]).logits[:, -1]
        sequence = torch.cat([sequence, logits.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(cached, sequence[:, : cached.shape[1]])
