"""What is particular to the biases that head and ids alone say: kernels of the distance, T5's buckets, FIRE."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import flex_attention
from transformers.models.t5.modeling_t5 import T5Attention

from hf_models import PositionTransformerConfig
from hf_models.position_bias_distance import KERPLE, NAPE, DistanceBias, HardALiBi, Sandwich, alibi_slopes
from hf_models.position_bias_learned import FIRE, T5
from hf_models.position_encoding import Pairs, Positions
from hf_models.position_registry import POSITION_ENCODINGS, parse_position_encoding
from tests.hf_models import references
from tests.hf_models.model_cases import ATTENTION, CLOSE, build, tokens
from tests.hf_models.plain_encodings import PLAIN_ENCODINGS


IDS = torch.tensor([[0, 1, 2, 3, 4, 5], [3, 4, 9, 17, 18, 30]])
IDS_LISTS = st.lists(st.integers(0, 3000), min_size=2, max_size=6)
KERNELS = [name for name, encoding in POSITION_ENCODINGS.items() if issubclass(encoding, DistanceBias)]
BIASES = [*KERNELS, "t5", "fire"]
SCALAR = [
    *(name for name in BIASES if POSITION_ENCODINGS[name].scalar),
    {"name": "alibi", "learned_slopes": True},
    {"name": "kerple", "kernel": "power"},
]


def config(**options):
    return PositionTransformerConfig(**{**ATTENTION, **options})


def with_heads(count: int, **options):
    """A configuration with this number of heads."""
    return config(hidden_size=8 * count, num_attention_heads=count, **options)


def refused(text: str, **options):
    """A configuration is refused with this text."""
    with pytest.raises(StrictDataclassError, match=text):
        config(**options)


def bias_of(encoding, ids, heads: int = 2, dtype: torch.dtype = torch.float32):
    """The bias of every pair `[B, H, T, T]`, computed in a type."""
    ids = torch.as_tensor(ids)
    ids = ids if ids.dim() == 2 else ids[None]
    bias = encoding.pair_bias(Positions(ids, ids, num_heads=heads, scaling=1.0, dtype=dtype).pairs())
    return bias.expand(len(ids), heads, -1, -1)


def initialised(encoding):
    """The module as a model begins with it."""
    encoding.initialise()
    return encoding


def noisy(module):
    """The same module with every parameter drawn anew."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


# What all have in common.


@settings(max_examples=25, deadline=None)
@given(
    ids=IDS_LISTS,
    entry=st.sampled_from([*KERNELS, *SCALAR[-2:]]),
    form=st.sampled_from(DistanceBias.forms),
    heads=st.sampled_from([2, 3, 4, 6]),
)
def test_every_form_of_every_kernel_follows_its_formula(ids, entry, form, heads):
    encoding_class, arguments = parse_position_encoding(entry)
    form = form if form in encoding_class.forms else "symmetric"
    torch.manual_seed(0)
    settled = with_heads(heads)
    encoding = noisy(encoding_class(settled, form=form, **arguments)).requires_grad_(False).double()
    name = entry if isinstance(entry, str) else entry["name"]
    plain = PLAIN_ENCODINGS[name](encoding, settled)
    bias = bias_of(encoding, ids, heads, torch.float64)
    for head in range(heads):
        for i, query in enumerate(ids):
            for j, key in enumerate(ids):
                expected = float(plain.bias(head, query, key))
                expected = HardALiBi.unseen if expected == -math.inf else expected
                assert bias[0, head, i, j].item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_by_default_a_kernel_is_causal_or_else_tells_left_from_right_where_it_can(name):
    encoding = POSITION_ENCODINGS[name]
    assert encoding(config()).form == "causal"
    assert encoding(config()).sees_direction
    if name == "hard_alibi":
        refused("a bidirectional model must say form='symmetric'", position_encoding=name, is_causal=False)
    else:
        bidirectional = encoding(config(is_causal=False))
        assert bidirectional.form == "directional"
        assert bidirectional.sees_direction
    assert not encoding(config(), form="symmetric").sees_direction


@pytest.mark.parametrize("name", KERNELS)
def test_the_symmetric_form_is_symmetric_and_the_directional_one_is_not(name):
    encoding = POSITION_ENCODINGS[name]
    for form in encoding.forms[1:]:
        bias = bias_of(initialised(encoding(with_heads(4), form=form)), IDS, 4)
        assert torch.equal(bias, bias.mT) == (form == "symmetric")


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"form": "casual"}, "has no form 'casual'. Did you mean 'causal'"),
        ({"form": "causal"}, "causal form needs a causal model; take 'symmetric'"),
        ({"forms": "causal"}, "has no argument 'forms'. Did you mean 'form'"),
    ],
)
def test_forms_that_do_not_exist_or_fit_are_refused(name, arguments, text):
    refused(text, position_encoding={"name": name, **arguments}, is_causal=False)


@pytest.mark.parametrize("entry", [*BIASES, *SCALAR[-2:]])
@pytest.mark.parametrize("causal", [True, False])
def test_a_bias_is_the_same_for_any_arrangement_of_pairs(entry, causal):
    encoding_class, arguments = parse_position_encoding(entry)
    encoding = noisy(encoding_class(config(is_causal=causal), **arguments))
    dense = bias_of(encoding, IDS)
    rows, heads, i, j = (torch.randint(end, (2, 3, 1, 4)) for end in (2, 2, 6, 6))
    gathered = encoding.pair_bias(Pairs(rows, heads, IDS[rows, i], IDS[rows, j]))
    torch.testing.assert_close(gathered, dense[rows, heads, i, j], rtol=1e-5, atol=1e-6)
    single = [torch.tensor(index) for index in (1, 0, 4, 2)]
    alone = encoding.pair_bias(Pairs(*single[:2], IDS[1, 4], IDS[1, 2]))
    torch.testing.assert_close(alone, dense[1, 0, 4, 2], rtol=1e-5, atol=1e-6)
    assert alone.shape == ()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="torch compiles it for vector units only"
)
@pytest.mark.parametrize("entry", SCALAR, ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_flex_attention_inlines_a_scalar_bias(entry, causal):
    torch._dynamo.reset()
    encoding_class, arguments = parse_position_encoding(entry)
    encoding = noisy(encoding_class(config(is_causal=causal), **arguments)).requires_grad_(False)
    query, key, value = torch.randn(3, 2, 2, 130, 16).unbind()
    ids = 3 * torch.arange(130) + torch.randint(3, (2, 130))

    scalar_bias = encoding.scalar_bias(query.device)

    def add_bias(score, row, head, i, j):
        return score + scalar_bias(Pairs(row, head, ids[row, i], ids[row, j]))

    output = torch.compile(flex_attention, fullgraph=True)(query, key, value, score_mod=add_bias)
    mask = bias_of(encoding, ids)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(output, expected, **CLOSE)


@pytest.mark.parametrize("name", KERNELS)
def test_drawn_distances_stand_for_the_real_ones(name):
    encoding, randomized_distances = (
        initialised(POSITION_ENCODINGS[name](with_heads(4))),
        torch.tensor([[0, 2, 9, 11, 30, 44]]),
    )
    positions = Positions(
        torch.arange(6)[None], torch.arange(6)[None], 4, 1.0, randomized_distances=randomized_distances
    )
    wide = bias_of(encoding, torch.tensor([[0, 30]]), 4)
    assert torch.equal(encoding.pair_bias(positions.pairs())[0, :, 4, 0], wide[0, :, 1, 0])


# ALiBi and NAPE.


@pytest.mark.parametrize("heads", range(1, 21))
def test_alibi_slopes_follow_the_recursive_rule(heads):
    slopes = alibi_slopes(torch.arange(heads), heads)
    assert slopes.tolist() == pytest.approx(references.alibi_slopes(heads), rel=1e-6)
    assert slopes.unique().numel() == heads


def test_learned_slopes_begin_as_the_fixed_ones_and_are_trained():
    fixed = build("transformer-alibi", "Model", noise=0.0)
    learned = build(
        "transformer-alibi", "Model", noise=0.0, position_encoding={"name": "alibi", "learned_slopes": True}
    )
    torch.testing.assert_close(learned(tokens()).last_hidden_state, fixed(tokens()).last_hidden_state)
    assert not list(fixed.encodings[0].parameters())
    assert learned.encodings[0].slopes.tolist() == [2**-4, 2**-8]
    learned(tokens()).last_hidden_state.square().sum().backward()
    assert learned.encodings[0].slopes.grad.all()


@pytest.mark.parametrize(
    ("heads", "alibi_heads", "slopes"),
    [(4, None, [1, 1 / 2, 0, 0]), (5, None, [1, 1 / 2, 0, 0, 0]), (3, 3, [1, 1 / 2, 1 / 3]), (1, None, [1])],
)
def test_nape_gives_the_first_heads_harmonic_slopes_and_the_others_none(heads, alibi_heads, slopes):
    encoding = NAPE(with_heads(heads), alibi_heads=alibi_heads)
    assert encoding.slope(torch.arange(heads)).tolist() == pytest.approx(slopes)
    assert bias_of(encoding, [0, 4], heads)[0, :, 1, 0].tolist() == pytest.approx([-4 * slope for slope in slopes])


@pytest.mark.parametrize(("name", "argument"), [("nape", "alibi_heads"), ("hard_alibi", "masked_heads")])
@pytest.mark.parametrize("count", [0, 3])
def test_more_heads_than_there_are_are_refused(name, argument, count):
    refused(
        rf"{argument} must lie in 1 … 2 \(num_attention_heads\), not {count}",
        position_encoding={"name": name, argument: count},
    )


def test_slopes_cannot_be_learned_where_they_are_not_alibis():
    refused("NAPE has no argument 'learned_slopes'", position_encoding={"name": "nape", "learned_slopes": True})


# Hard-ALiBi.


@pytest.mark.parametrize(("heads", "windowed"), [(12, 8), (2, 1), (3, 2), (8, 5)])
def test_two_thirds_of_the_heads_have_a_window_by_default(heads, windowed):
    assert HardALiBi(with_heads(heads)).masked_heads == windowed


def test_each_windowed_head_sees_one_token_more_than_the_one_before():
    bias = bias_of(HardALiBi(with_heads(4), masked_heads=3), torch.arange(8), 4)[0]
    seen = (bias == 0).tril()
    assert seen[:, 7].sum(-1).tolist() == [1, 2, 3, 8]
    assert seen[2, 7].nonzero().flatten().tolist() == [5, 6, 7]
    symmetric = bias_of(HardALiBi(with_heads(4, is_causal=False), masked_heads=3), torch.arange(8), 4)[0] == 0
    assert symmetric[2, 4].nonzero().flatten().tolist() == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_a_head_does_not_see_weighs_nothing_and_a_token_always_sees_itself(dtype):
    ids = torch.tensor([[0, 400, 90_000, 100_000]])
    bias = bias_of(HardALiBi(with_heads(4)), ids, 4).to(dtype)
    assert (2 * bias).isfinite().all()
    weights = (bias + 100 * torch.randn(4, 4, 4).to(dtype)).float().softmax(-1)
    assert torch.equal(weights[0, :2], torch.eye(4).expand(2, 4, 4))


def test_hard_alibi_needs_a_head_beside_the_one_that_sees_itself():
    refused("HardALiBi needs at least two heads", position_encoding="hard_alibi", num_attention_heads=1)


# KERPLE.


@pytest.mark.parametrize("kernel", KERPLE.kernels)
def test_kerple_begins_with_the_papers_distribution(kernel):
    encoding = initialised(KERPLE(with_heads(2000), kernel=kernel))
    a = torch.nn.functional.softplus(encoding.raw_a)
    p = 2 * torch.sigmoid(encoding.raw_p) if kernel == "power" else torch.nn.functional.softplus(encoding.raw_p)
    for values, end in ((a, 1), (p, 2)):
        assert 0.0099 < values.min() < 0.03
        assert end - 0.03 < values.max() <= end
        assert values.mean().item() == pytest.approx(end / 2, abs=0.04)


@pytest.mark.parametrize("kernel", KERPLE.kernels)
def test_kerple_never_rewards_distance_whatever_is_learned(kernel):
    encoding = KERPLE(with_heads(4), kernel=kernel)
    for parameter in encoding.parameters():
        torch.nn.init.uniform_(parameter, -20, 3)
    bias = bias_of(encoding, [0, 1, 10, 1000, 100_000], 4)[0, :, -1].flip(-1)
    assert bias.isfinite().all()
    assert (bias.diff(dim=-1) <= 0).all()


@pytest.mark.parametrize("kernel", KERPLE.kernels)
def test_kerple_gradients_are_finite_at_no_distance_and_in_the_masked_future(kernel):
    encoding = initialised(KERPLE(with_heads(4), kernel=kernel))
    bias_of(encoding, IDS, 4).sum().backward()
    assert encoding.raw_a.grad.isfinite().all()
    assert encoding.raw_p.grad.isfinite().all()


def test_kerple_has_two_kernels():
    refused("KERPLE has no kernel 'logs'. Did you mean 'log'", position_encoding={"name": "kerple", "kernel": "logs"})


# Sandwich.


def test_sandwich_is_the_product_of_two_sinusoidal_embeddings():
    bias = bias_of(Sandwich(with_heads(4)), IDS, 4)
    for row, ids in enumerate(IDS.tolist()):
        waves = torch.stack([references.sinusoid(position, 128) for position in ids])
        for head in range(4):
            torch.testing.assert_close(bias[row, head], waves @ waves.T / (8 * (head + 1) / 4), rtol=1e-4, atol=1e-3)


def test_sandwich_takes_its_width_and_refuses_an_odd_one():
    narrow = Sandwich(config(), width=2)
    assert bias_of(narrow, [0, 3])[0, 0, 1, 0].item() == pytest.approx(math.cos(3) / 4, abs=1e-6)
    refused("Sandwich needs an even width of at least 2, not 7", position_encoding={"name": "sandwich", "width": 7})


# T5.


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
    bias, upstream = bias_of(encoding, IDS), torch.randn(2, 2, 6, 6)
    bias.backward(upstream)
    expected = torch.zeros_like(encoding.table.weight)
    for row in range(2):
        for i in range(6):
            for j in range(6):
                bucket = references.t5_bucket(IDS[row, i].item(), IDS[row, j].item(), is_causal)
                torch.testing.assert_close(bias[row, :, i, j], encoding.table.weight[bucket])
                expected[bucket] += upstream[row, :, i, j]
    torch.testing.assert_close(encoding.table.weight.grad, expected, **CLOSE)


@pytest.mark.parametrize(("buckets", "max_distance"), [(2, 128), (32, 8)])
def test_t5_refuses_buckets_that_cannot_be_laid(buckets, max_distance):
    refused(
        f"T5 cannot lay {buckets} buckets over distances up to {max_distance}",
        position_encoding={"name": "t5", "buckets": buckets, "max_distance": max_distance},
        is_causal=False,
    )


# FIRE.


@pytest.mark.parametrize("threshold", [4, 512])
@pytest.mark.parametrize("is_causal", [True, False])
def test_fire_follows_its_formula_forward_and_in_every_gradient(is_causal, threshold):
    encoding = noisy(FIRE(config(is_causal=is_causal), width=5, threshold=threshold))
    upstream = torch.randn(2, 2, 6, 6)
    length = encoding.threshold_factor * threshold
    plain = torch.stack(
        [
            torch.stack([references.fire(encoding.network, encoding.scale, length, i, j) for i in row for j in row])
            for row in IDS.tolist()
        ]
    )  # [B, T * T, H]
    plain = plain.mT.reshape(2, 2, 6, 6)
    bias = bias_of(encoding, IDS)
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
    assert encoding.network[0].out_features == 32
    assert (encoding.network[0].bias == 0).all()
