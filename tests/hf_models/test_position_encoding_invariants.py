"""What follows from the encodings' formulas, and that every implementation of attention agrees on them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_models import PositionTransformerConfig
from hf_models.position_encodings import POSITION_ENCODINGS, Positions
from tests.hf_models.model_cases import ATTENTION, CLOSE, ENCODINGS, build, pad, ragged, tokens


IDS_LISTS = st.lists(st.integers(0, 3000), min_size=2, max_size=6)


# Implementations of attention, over ids of every kind.


def ids_of(kind: str, mask):
    if kind == "consecutive":
        return None
    rows = torch.stack([torch.randperm(32)[: mask.shape[1]].sort().values for _ in mask])
    return rows if kind == "random" else rows[:1].expand(len(mask), -1)


@pytest.mark.parametrize("kind", ["random", "shared"])
@pytest.mark.parametrize("suffix", ["", "-bidirectional"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_eager_and_sdpa_agree_over_ids_of_every_row_forward_and_backward(encoding, suffix, kind):
    results = []
    input_ids, mask = pad(ragged(), "right")
    ids = ids_of(kind, mask)
    for implementation in ("eager", "sdpa"):
        model = build(f"transformer-{encoding}{suffix}", "Model", attn_implementation=implementation)
        states = model(input_ids, attention_mask=mask, position_ids=ids).last_hidden_state[mask.bool()]
        states.square().sum().backward()
        parameters = [parameter.grad for parameter in model.encodings.parameters()]
        results.append([states.detach(), model.embed_tokens.weight.grad, *parameters])
    for eager, sdpa in zip(*results, strict=True):
        torch.testing.assert_close(eager, sdpa, rtol=1e-3, atol=1e-3)
    if encoding in ("t5", "fire"):
        assert all(gradient.abs().max() > 0 for gradient in results[1][2:])


@pytest.mark.filterwarnings("ignore")  # uncompiled FlexAttention says that it is slow
@pytest.mark.parametrize("suffix", ["", "-bidirectional"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_flex_attention_agrees_with_eager(encoding, suffix):
    torch.compiler.set_stance("force_eager")
    try:
        results = []
        for implementation in ("eager", "flex_attention"):
            model = build(f"transformer-{encoding}{suffix}", "Model", attn_implementation=implementation)
            model.requires_grad_(False)  # FlexAttention has no backward on a CPU
            for batch, mask in ((tokens(), None), pad(ragged(), "left")):
                kept = torch.ones_like(batch, dtype=torch.bool) if mask is None else mask.bool()
                for ids in (None, IDS_OF_ROWS):
                    states = model(batch, attention_mask=mask, position_ids=ids).last_hidden_state
                    results.append(states[kept])
    finally:
        torch.compiler.set_stance("default")
    for eager, flex in zip(results[:4], results[4:], strict=True):
        torch.testing.assert_close(eager, flex, **CLOSE)


IDS_OF_ROWS = torch.tensor([[0, 2, 5, 9, 11, 12, 30], [1, 2, 3, 4, 5, 6, 7], [0, 8, 16, 17, 18, 19, 31]])


# Invariants.


def states_of(model, input_ids, ids=None):
    return model(input_ids, position_ids=ids).last_hidden_state


@pytest.mark.parametrize("suffix", ["", "-bidirectional"])
@pytest.mark.parametrize(
    ("encoding", "relative"),
    [
        ("none", True),
        ("rope", True),
        ("alibi", True),
        ("t5", True),
        ("learned", False),
        ("sinusoidal", False),
        ({"name": "fire", "threshold": 4}, False),
    ],
    ids=str,
)
def test_relative_encodings_alone_are_the_same_anywhere(encoding, relative, suffix):
    model = build(f"transformer-none{suffix}", "Model", position_encoding=encoding)
    here, there = states_of(model, tokens()), states_of(model, tokens(), torch.arange(20, 27)[None])
    assert torch.allclose(here, there, rtol=1e-3, atol=1e-4) == relative


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bidirectional_model_without_positions_alone_is_blind_to_order(encoding):
    model = build(f"transformer-{encoding}-bidirectional", "Model")
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    straight, shuffled = states_of(model, tokens())[:, order], states_of(model, tokens()[:, order])
    assert torch.allclose(straight, shuffled, rtol=1e-3, atol=1e-4) == (encoding == "none")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_causal_model_sees_the_order(encoding):
    model = build(f"transformer-{encoding}", "Model")
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    straight, shuffled = states_of(model, tokens())[:, order], states_of(model, tokens()[:, order])
    assert not torch.allclose(straight, shuffled, atol=1e-2)


@pytest.mark.parametrize(
    ("encoding", "blind"),
    [
        ("none", True),
        ({"name": "alibi", "form": "symmetric"}, True),
        ("alibi", False),
        ({"name": "alibi", "form": "directional"}, False),
        ("rope", False),
        ("t5", False),
        ("fire", False),
        ("learned", False),
        ("sinusoidal", False),
    ],
    ids=str,
)
def test_only_symmetric_alibi_and_no_encoding_cannot_tell_left_from_right(encoding, blind):
    model = build("transformer-none-bidirectional", "Model", position_encoding=encoding)
    straight, backwards = states_of(model, tokens()), states_of(model, tokens().flip(-1)).flip(1)
    assert torch.allclose(straight, backwards, rtol=1e-3, atol=1e-4) == blind


@pytest.mark.parametrize("suffix", ["", "-bidirectional"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_bfloat16_models_stay_finite_and_relative_at_position_100_000(encoding, suffix):
    # A learned table of this size is what a user would have to ask for.
    options = {"max_position_embeddings": 100_007} if encoding == "learned" else {}
    model = build(f"transformer-{encoding}{suffix}", "Model", noise=0.02, **options).to(torch.bfloat16)
    far = states_of(model, tokens(), torch.arange(100_000, 100_007)[None])
    assert far.dtype == torch.bfloat16
    assert far.isfinite().all()
    spread = states_of(model, tokens(), torch.tensor([[0, 1, 50_000, 99_998, 99_999, 100_000, 100_006]]))
    assert spread.isfinite().all()
    if encoding in ("none", "rope", "alibi", "t5"):
        torch.testing.assert_close(far, states_of(model, tokens()), rtol=0.1, atol=0.15)


@settings(max_examples=25, deadline=None)
@given(ids=IDS_LISTS, name=st.sampled_from(["alibi", "t5", "fire"]), is_causal=st.booleans())
def test_biases_take_any_ids_and_depend_on_the_pair_alone(ids, name, is_causal):
    encoding = POSITION_ENCODINGS[name](PositionTransformerConfig(**{**ATTENTION, "is_causal": is_causal}))
    encoding.initialise()
    given_ids, turned_ids = torch.tensor([ids]), torch.tensor([ids[::-1]])
    bias = encoding.bias(Positions(given_ids, given_ids))
    assert bias.isfinite().all()
    turned = encoding.bias(Positions(turned_ids, turned_ids))
    torch.testing.assert_close(turned, bias.flip(2, 3), **CLOSE)
