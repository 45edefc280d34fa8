"""Each encoding against its formula, and what follows from the formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention

from hf_models import PositionTransformerConfig
from hf_models.position_encodings import (
    FIRE,
    POSITION_ENCODINGS,
    T5,
    ALiBi,
    LayerEncodings,
    Learned,
    PositionEncoding,
    Positions,
    RoPE,
    Sinusoidal,
    alibi_slopes,
    parse_position_encoding,
    sinusoids,
)
from tests.hf_models import references
from tests.hf_models.model_cases import ATTENTION, CLOSE, build, tokens


IDS = torch.tensor([[0, 1, 2, 3, 4, 5], [3, 4, 9, 17, 18, 30]])
IDS_LISTS = st.lists(st.integers(0, 3000), min_size=2, max_size=6)


def config(**options):
    return PositionTransformerConfig(**{**ATTENTION, **options})


def positions(ids) -> Positions:
    ids = torch.as_tensor(ids)
    ids = ids if ids.dim() == 2 else ids[None]
    return Positions(ids, ids)


def noisy(module):
    """The same module with every parameter drawn anew."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


# Formulas.


def test_distances_are_positive_in_the_past():
    at = Positions(torch.tensor([[5, 9]]), torch.tensor([[0, 5, 9]]))
    assert at.distances().tolist() == [[[[5, 0, -4], [9, 4, 0]]]]


@pytest.mark.parametrize("width", [2, 6, 16])
def test_sinusoids_are_the_papers_interleaved_form(width):
    expected = torch.stack([torch.stack([references.sinusoid(int(p), width) for p in row]) for row in IDS])
    torch.testing.assert_close(sinusoids(IDS, width), expected, **CLOSE)
    states = torch.randn(2, 6, 16)
    added = Sinusoidal(config()).embed(states, IDS) - states
    torch.testing.assert_close(added, sinusoids(IDS, 16), **CLOSE)


def test_learned_vectors_are_looked_up_and_receive_their_gradient():
    encoding = noisy(Learned(config()))
    states, upstream = torch.zeros(2, 6, 16), torch.randn(2, 6, 16)
    added = encoding.embed(states, IDS)
    added.backward(upstream)
    expected = torch.zeros_like(encoding.table.weight)
    for row in range(2):
        for column in range(6):
            torch.testing.assert_close(added[row, column], encoding.table.weight[IDS[row, column]])
            expected[IDS[row, column]] += upstream[row, column]
    torch.testing.assert_close(encoding.table.weight.grad, expected)


def test_rope_is_a_product_of_complex_numbers_forward_and_in_its_gradient():
    encoding = RoPE(config())
    query, key = torch.randn(2, 2, 6, 8, requires_grad=True), torch.randn(2, 2, 6, 8, requires_grad=True)
    upstream = torch.randn(2, 2, 2, 6, 8)
    results = []
    for turned in (
        encoding.rotate(query, key, IDS),
        [
            torch.stack(
                [torch.stack([references.rotate(h, r.tolist()) for h in x]) for x, r in zip(s, IDS, strict=True)]
            )
            for s in (query, key)
        ],
    ):
        turned = torch.stack(list(turned))
        results.append((turned.detach(), *torch.autograd.grad(turned, (query, key), upstream)))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, **CLOSE)


SCALINGS = {
    "default": {},
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
}


@pytest.mark.parametrize("rope_type", SCALINGS)
def test_rope_and_its_scalings_are_those_of_transformers_llama(rope_type):
    parameters = {"rope_type": rope_type, "rope_theta": 500.0, **SCALINGS[rope_type]}
    options = {"hidden_size": 32, "num_attention_heads": 2, "max_position_embeddings": 64}
    ours = RoPE(config(**options, rope_parameters=dict(parameters)))
    llama = LlamaConfig(**options, num_hidden_layers=1, intermediate_size=8, rope_parameters=dict(parameters))
    query, key = torch.randn(2, 2, 6, 16), torch.randn(2, 2, 6, 16)
    expected = apply_rotary_pos_emb(query, key, *LlamaRotaryEmbedding(llama)(query, IDS))
    for turned, theirs in zip(ours.rotate(query, key, IDS), expected, strict=True):
        torch.testing.assert_close(turned, theirs, **CLOSE)


def test_linear_scaling_divides_the_ids():
    query, key = torch.randn(1, 2, 4, 8), torch.randn(1, 2, 4, 8)
    scaled = RoPE(config(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}))
    far, near = torch.tensor([[0, 4, 8, 40]]), torch.tensor([[0, 1, 2, 10]])
    torch.testing.assert_close(scaled.rotate(query, key, far), RoPE(config()).rotate(query, key, near), **CLOSE)


@pytest.mark.parametrize("shift", [1, 17, 1000])
def test_rope_scores_depend_on_the_distance_alone(shift):
    encoding = RoPE(config())
    query, key = torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 8)
    scores = [
        torch.einsum("bhqk,bhsk->bhqs", *encoding.rotate(query, key, ids)) for ids in (IDS, IDS + shift, IDS.flip(-1))
    ]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(scores[0], scores[2], atol=0.1)


@pytest.mark.parametrize("heads", range(1, 21))
def test_alibi_slopes_follow_the_recursive_rule(heads):
    assert alibi_slopes(heads) == pytest.approx(references.alibi_slopes(heads), rel=1e-12)
    assert len(set(alibi_slopes(heads))) == heads


@settings(max_examples=25, deadline=None)
@given(ids=IDS_LISTS, form=st.sampled_from(ALiBi.forms), heads=st.sampled_from([1, 2, 3, 4, 6]))
def test_alibi_forms_follow_their_formulas(ids, form, heads):
    bias = ALiBi(config(hidden_size=24, num_attention_heads=heads), form=form).bias(positions(ids))
    assert bias.shape == (1, heads, len(ids), len(ids))
    slopes = references.alibi_slopes(heads)
    for head in range(heads):
        for i, query in enumerate(ids):
            for j, key in enumerate(ids):
                expected = references.alibi(slopes[head], query, key, form)
                assert bias[0, head, i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("is_causal", "form"), [(True, "causal"), (False, "directional")])
def test_alibis_default_form_is_never_blind_to_direction(is_causal, form):
    assert ALiBi(config(is_causal=is_causal)).form == form


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20), (16, 500), (6, 7)])
@pytest.mark.parametrize("is_causal", [True, False])
def test_t5_buckets_follow_a_loop_in_whole_numbers(is_causal, buckets, max_distance):
    encoding = T5(config(is_causal=is_causal), buckets, max_distance)
    distances = torch.arange(-600, 601)
    expected = [references.t5_bucket(d, 0, is_causal, buckets, max_distance) for d in distances.tolist()]
    assert encoding.bucket(distances).tolist() == expected
    assert max(expected) < buckets


@pytest.mark.parametrize("is_causal", [True, False])
def test_t5_buckets_are_those_of_transformers(is_causal):
    distances = torch.arange(-600, 601)
    theirs = T5Attention._relative_position_bucket(-distances, bidirectional=not is_causal)
    assert torch.equal(T5(config(is_causal=is_causal)).bucket(distances), theirs)


@pytest.mark.parametrize("is_causal", [True, False])
def test_t5_bias_is_looked_up_and_each_bucket_receives_the_sum_of_its_gradients(is_causal):
    encoding = noisy(T5(config(is_causal=is_causal)))
    bias, upstream = encoding.bias(positions(IDS)), torch.randn(2, 2, 6, 6)
    bias.backward(upstream)
    expected = torch.zeros_like(encoding.table.weight)
    for row in range(2):
        for i in range(6):
            for j in range(6):
                bucket = references.t5_bucket(IDS[row, i].item(), IDS[row, j].item(), is_causal)
                torch.testing.assert_close(bias[row, :, i, j], encoding.table.weight[bucket])
                expected[bucket] += upstream[row, :, i, j]
    torch.testing.assert_close(encoding.table.weight.grad, expected, **CLOSE)


@pytest.mark.parametrize("threshold", [4, 512])
@pytest.mark.parametrize("is_causal", [True, False])
def test_fire_follows_its_formula_forward_and_in_every_gradient(is_causal, threshold):
    encoding = noisy(FIRE(config(is_causal=is_causal), width=5, threshold=threshold))
    upstream = torch.randn(2, 2, 6, 6)
    length = encoding.threshold_factor * threshold
    plain = torch.stack(
        [
            torch.stack(
                [
                    torch.stack([references.fire(encoding.network, encoding.scale, length, i, j) for j in row], dim=-1)
                    for i in row
                ],
                dim=1,
            )
            for row in IDS.tolist()
        ]
    )
    bias = encoding.bias(positions(IDS))
    torch.testing.assert_close(bias, plain, **CLOSE)
    ours = torch.autograd.grad(bias, list(encoding.parameters()), upstream)
    theirs = torch.autograd.grad(plain, list(encoding.parameters()), upstream)
    for first, second in zip(ours, theirs, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)


def test_fire_begins_with_the_papers_values():
    encoding = build("transformer-fire", "Model", noise=0.0).encodings[0]
    assert encoding.scale.item() == pytest.approx(0.1)
    assert encoding.threshold_factor.item() == 1.0
    assert encoding.threshold == 512


def test_the_base_class_does_nothing():
    encoding, states = PositionEncoding(config()), torch.randn(2, 2, 6, 8)
    assert encoding.embed(states, IDS) is states
    assert encoding.rotate(states, states, IDS) == (states, states)
    assert encoding.bias(positions(IDS)) is None
    assert not list(encoding.parameters())


def test_coordinates_add_position_and_step_before_every_step():
    encoding = POSITION_ENCODINGS["coordinate"](config())
    states = torch.randn(2, 6, 16)
    for step in range(3):
        plain = [[references.coordinate(p, step + 1, 16) for p in row] for row in IDS.tolist()]
        expected = torch.stack([torch.stack(row) for row in plain])
        torch.testing.assert_close(encoding.embed(states, IDS, step) - states, expected, **CLOSE)


@pytest.mark.parametrize("name", ["learned", "sinusoidal"])
def test_absolute_vectors_enter_a_recurrent_model_once(name):
    encoding, states = noisy(POSITION_ENCODINGS[name](config())), torch.randn(2, 6, 16)
    assert not torch.equal(encoding.embed(states, IDS, 0), states)
    assert encoding.embed(states, IDS, 1) is states


# Which layer uses what.


def test_equal_entries_share_one_instance_and_different_arguments_do_not():
    entries = ["t5", {"name": "t5", "buckets": 8}, "t5", "rope", {"name": "t5", "buckets": 8}]
    encodings = LayerEncodings(config(num_hidden_layers=5, position_encoding=entries))
    assert len(encodings.distinct) == 3
    assert encodings[0] is encodings[2]
    assert encodings[1] is encodings[4]
    assert encodings[1].table.num_embeddings == 8
    assert encodings[0].table.num_embeddings == 32
    assert [encodings.enters(layer) for layer in range(5)] == [True, True, False, True, False]


@pytest.mark.parametrize("case", ["transformer-t5", "universal-group"])
def test_a_shared_bias_is_computed_once_per_forward_pass(case, monkeypatch):
    calls = []
    original = T5.bias
    monkeypatch.setattr(T5, "bias", lambda self, at: calls.append(self) or original(self, at))
    build(case, "Model")(tokens())
    assert len(calls) == 1


def test_a_list_gives_each_layer_its_own_encoding():
    same = build("transformer-alibi", "Model")
    listed = build("transformer-alibi", "Model", position_encoding=["alibi", "alibi"])
    mixed = build("transformer-alibi", "Model", position_encoding=["alibi", "none"])
    states = [model(tokens()).last_hidden_state for model in (same, listed, mixed)]
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)
    assert not torch.allclose(states[2], states[0], atol=1e-3)


def test_arguments_reach_the_encoding():
    encoding, arguments = parse_position_encoding({"name": "fire", "width": 7, "threshold": 9})
    module = encoding(config(), **arguments)
    assert module.network[0].out_features == 7
    assert module.threshold == 9
    assert math.isclose(alibi_slopes(8)[0], 0.5)


@pytest.mark.parametrize("name", ["learned", "sinusoidal"])
def test_an_absolute_encoding_of_a_later_layer_enters_there(name):
    model = build("transformer-none", "Model", position_encoding=["none", name], norm_position="post")
    hidden = model(tokens(), output_hidden_states=True).hidden_states
    shifted = model(tokens(), position_ids=torch.arange(5, 12)[None], output_hidden_states=True).hidden_states
    torch.testing.assert_close(hidden[1], shifted[1])
    assert not torch.allclose(hidden[2], shifted[2], atol=1e-2)
