"""LSH attention against transformers' Reformer, and against loops over rounds, chunks, queries and keys."""

import itertools

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import ReformerConfig
from transformers.models.reformer.modeling_reformer import LSHSelfAttention

from hf_models import PositionTransformerConfig
from hf_models.attention_lsh import LSHAttention, SharedQueryKeyAttention
from hf_models.attention_lsh_chunks import ChunkAttention, Sight
from hf_models.attention_lsh_hashing import exponent_for, factors_of, factors_per_row, seeded_axes
from hf_models.position_encoding import PositionEncoding, Positions
from hf_models.position_registry import parse_position_encoding
from tests.hf_models.model_cases import CLOSE, build, checkpoint_activations, config_of, pad, ragged, tokens
from tests.hf_models.plain_lsh import PlainLSH


WIDTH, HEADS, CHUNK = 16, 2, 4
REFORMER = {"deduplicate": False, "wrap_around": True}


def layer_of(encoding="none", causal=True, **arguments):
    """A layer whose output projection is the identity, and its encoding."""
    config = config_of("transformer-none", position_encoding=encoding, is_causal=causal)
    layer = LSHAttention(config, **{"chunk_length": CHUNK, **arguments})
    encoding_class, given = parse_position_encoding(encoding)
    module = encoding_class(config, **given)
    module.initialise()
    with torch.no_grad():
        layer.o_proj.weight.copy_(torch.eye(WIDTH))
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return layer, module


def positions_of(length, mask=None, new=None, causal=True):
    """Where the last `new` of `length` tokens stand."""
    token_mask = None if mask is None else mask.bool()
    ids = torch.arange(length)[None] if mask is None else (mask.cumsum(-1) - 1).clamp(min=0)
    new = new or length
    return Positions(
        ids[:, length - new :],
        ids,
        num_heads=HEADS,
        scaling=8**-0.5,
        first_query=length - new,
        is_causal=causal,
        token_mask=token_mask,
    )


def axes_of(layer, factors, layer_idx=0, heads=HEADS, width=8):
    """What the layer hashes by, of each factor `[columns, H, R, K]`."""
    key = torch.zeros(1, heads, 1, width)
    return [layer.axes(layer_idx, index, factor // 2, key) for index, factor in enumerate(factors) if factor > 1]


def reformer_of(layer, config_arguments):
    """transformers' attention with the projections of ours."""
    config = ReformerConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        attention_head_size=WIDTH // HEADS,
        lsh_attn_chunk_length=CHUNK,
        is_decoder=layer.is_causal,
        lsh_attention_probs_dropout_prob=0.0,
        **config_arguments,
    )
    reformer = LSHSelfAttention(config, layer_idx=0).double()
    shared, value = layer.qkv_proj.weight.detach().chunk(2)
    with torch.no_grad():
        reformer.query_key.weight.copy_(shared)
        reformer.value.weight.copy_(value)
    return reformer


def reformer_forward(reformer, layer, factors, states, mask, monkeypatch):
    """Its output `[B, S, D]`, hashing by our axes."""
    rotations = torch.cat(axes_of(layer, factors)).permute(1, 3, 2, 0).double()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda shape, **kwargs: rotations.reshape(shape))
        return reformer(states, attention_mask=mask).hidden_states


MASKS = {
    "whole": None,
    "left": torch.tensor([[0] * 5 + [1] * 19, [0] * 13 + [1] * 11, [1] * 24]),
    "right": torch.tensor([[1] * 19 + [0] * 5, [1] * 11 + [0] * 13, [1] * 24]),
}


@pytest.mark.parametrize("padding", list(MASKS))
@pytest.mark.parametrize("reach", [(1, 0), (1, 1), (0, 0), (2, 1)])
@pytest.mark.parametrize(("rounds", "buckets"), [(1, 8), (1, [2, 4]), (3, [4, 6])])
@pytest.mark.parametrize("causal", [True, False])
def test_it_is_the_reformers_where_its_options_are(causal, rounds, buckets, reach, padding, monkeypatch):
    before, after = reach
    layer, encoding = layer_of(
        causal=causal,
        num_rounds=rounds,
        num_buckets=buckets,
        chunks_before=before,
        chunks_after=after,
        **REFORMER,
    )
    config = {"num_hashes": rounds, "num_buckets": buckets, "lsh_num_chunks_before": before}
    layer = layer.double()  # in float32 its score of oneself, -1e5, leaves two digits
    reformer = reformer_of(layer, {**config, "lsh_num_chunks_after": after})
    mask = MASKS[padding]
    kept = torch.ones(3, 24, dtype=torch.bool) if mask is None else mask.bool()
    states = torch.randn(3, 24, WIDTH, dtype=torch.float64, requires_grad=True)
    theirs = reformer_forward(
        reformer, layer, [buckets] if isinstance(buckets, int) else buckets, states, mask, monkeypatch
    )
    ours, weights = layer(states, None, None, positions_of(24, mask, causal=causal).with_rotation(encoding), encoding)
    assert weights is None
    torch.testing.assert_close(ours[kept], theirs[kept])
    upstream = torch.randn_like(ours[kept])
    own = torch.autograd.grad(ours[kept], [states, layer.qkv_proj.weight], upstream)
    inputs = [states, reformer.query_key.weight, reformer.value.weight]
    grad, *weights = torch.autograd.grad(theirs[kept], inputs, upstream)
    torch.testing.assert_close(own[0], grad)
    torch.testing.assert_close(own[1], torch.cat(weights))


@pytest.mark.parametrize("causal", [True, False])
def test_a_short_sequence_is_the_reformers(causal, monkeypatch):
    layer, encoding = layer_of(causal=causal, num_buckets=8)
    layer = layer.double()
    reformer = reformer_of(layer, {"num_buckets": 8})
    states = torch.randn(2, CHUNK, WIDTH, dtype=torch.float64)
    theirs = reformer_forward(reformer, layer, [8], states, None, monkeypatch)
    ours, _ = layer(states, None, None, positions_of(CHUNK, causal=causal), encoding)
    torch.testing.assert_close(ours, theirs)


# The loops.


def plain_forward(layer, encoding, states, layer_idx=0):
    """Outputs `[S, D]` of one sequence, without padding."""
    length = len(states)
    factors = layer.num_buckets or factors_of(exponent_for(length, layer.chunk_length), layer.chunk_length)
    factors = [factor for factor in factors if factor > 1]
    axes = axes_of(layer, factors, layer_idx)
    query, key, value = layer.project(states[None])
    query, key = encoding.rotate(query, key, encoding.rotation(torch.arange(length)[None]))
    dense = encoding.pair_bias(positions_of(length).pairs())
    outputs = []
    for head in range(HEADS):
        plain = PlainLSH(
            [own[:, head].permute(1, 2, 0) for own in axes],
            factors,
            layer.chunk_length,
            layer.before,
            layer.after,
            layer.is_causal,
            layer.across_buckets,
            layer.deduplicate,
            layer.wrap_around,
            lambda i, j, head=head: 0.0 if dense is None else dense[0, head, i, j],
        )
        outputs.append(plain.attend(query[0, head], key[0, head], value[0, head]))
    return torch.cat(outputs, dim=-1)


def assert_same_with_gradients(ours, plain, inputs):
    torch.testing.assert_close(ours, plain, **CLOSE)
    upstream = torch.randn_like(ours)
    first = torch.autograd.grad(ours, inputs, upstream, allow_unused=True)
    second = torch.autograd.grad(plain, inputs, upstream, allow_unused=True)
    for own, other in zip(first, second, strict=True):
        torch.testing.assert_close(own, other, **CLOSE)


OPTIONS = list(itertools.product([True, False], [True, False], [True, False], [True, False]))


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize(("causal", "across", "deduplicate", "circular"), OPTIONS)
def test_it_is_the_loop_in_every_combination_of_options(causal, across, deduplicate, circular, rounds):
    layer, encoding = layer_of(
        causal=causal,
        num_rounds=rounds,
        num_buckets=4,
        across_buckets=across,
        deduplicate=deduplicate,
        wrap_around=circular,
    )
    for length in (4, 5, 13):
        states = torch.randn(1, length, WIDTH, requires_grad=True)
        ours, _ = layer(states, None, None, positions_of(length, causal=causal), encoding)
        plain = plain_forward(layer, encoding, states[0])
        assert_same_with_gradients(ours[0], plain, [states, layer.qkv_proj.weight])


@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 0), (0, 1), (2, 2)])
@pytest.mark.parametrize("buckets", ["length", [2, 6], 6])
@pytest.mark.parametrize("causal", [True, False])
def test_it_is_the_loop_with_any_reach_and_buckets(causal, buckets, before, after, circular):
    layer, encoding = layer_of(
        causal=causal,
        num_rounds=2,
        num_buckets=buckets,
        chunks_before=before,
        chunks_after=after,
        wrap_around=circular,
    )
    for length in (9, 35):  # "length" makes 4 buckets of the first, and two factors, 4 and 4, of the second
        states = torch.randn(1, length, WIDTH, requires_grad=True)
        ours, _ = layer(states, None, None, positions_of(length, causal=causal), encoding)
        plain = plain_forward(layer, encoding, states[0])
        assert_same_with_gradients(ours[0], plain, [states, layer.qkv_proj.weight])


@pytest.mark.parametrize("encoding", ["rope", "alibi", "t5", "fire", "rope+alibi"])
@pytest.mark.parametrize("causal", [True, False])
def test_it_is_the_loop_with_encodings_that_act_on_pairs(causal, encoding):
    for circular in (False, True):
        layer, module = layer_of(encoding, causal, num_rounds=2, num_buckets=4, wrap_around=circular)
        states = torch.randn(1, 14, WIDTH, requires_grad=True)
        ours, _ = layer(states, None, None, positions_of(14, causal=causal).with_rotation(module), module)
        plain = plain_forward(layer, module, states[0])
        assert_same_with_gradients(ours[0], plain, [states, layer.qkv_proj.weight, *module.parameters()])


def test_a_gradient_is_right_where_weights_are_dropped():
    query, key, value = (torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    bias = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    places = torch.arange(3).expand(2, -1)
    sight = Sight(places, places, nowhere=3, is_causal=False)

    def attend(*inputs):
        torch.manual_seed(0)
        return ChunkAttention.apply(*inputs, sight, 0.5)

    whole, _ = ChunkAttention.apply(query, key, value, bias, sight, 0.0)
    assert not torch.allclose(attend(query, key, value, bias)[0], whole)
    assert gradcheck(attend, (query, key, value, bias))


def test_dropout_acts_in_training_alone():
    layer, encoding = layer_of()
    layer.config.attention_dropout = 0.5
    states = torch.randn(1, 13, WIDTH)
    one, other = (layer.train()(states, None, None, positions_of(13), encoding)[0] for _ in range(2))
    assert not torch.allclose(one, other)
    one, other = (layer.eval()(states, None, None, positions_of(13), encoding)[0] for _ in range(2))
    torch.testing.assert_close(one, other)


# The control.


@pytest.mark.parametrize("causal", [True, False])
def test_it_is_the_control_where_a_chunk_holds_all(causal):
    layer, encoding = layer_of(causal=causal, chunk_length=16)
    control = SharedQueryKeyAttention(layer.config)
    control.load_state_dict(layer.state_dict())
    mask = torch.tensor([[0] * 5 + [1] * 8, [1] * 13])
    states = torch.randn(2, 13, WIDTH, requires_grad=True)
    visible_mask = mask[:, None, None].bool() & (torch.ones(13, 13).tril().bool() if causal else True)
    positions = positions_of(13, mask, causal=causal)
    positions.visible_mask = visible_mask
    kept = mask.bool()
    layer.config._attn_implementation = "eager"
    dense, weights = control(states, None, None, positions, encoding)
    ours, _ = layer(states, None, None, positions, encoding)
    assert_same_with_gradients(ours[kept], dense[kept], [states])
    own = weights.diagonal(dim1=-2, dim2=-1)[1]  # of the row without padding
    alone = [1.0] + [0.0] * 12 if causal else [0.0] * 13
    torch.testing.assert_close(own, torch.tensor(alone).expand(HEADS, -1))


def test_more_rounds_come_closer_to_the_control():
    errors = []
    for rounds in (1, 4, 16):
        layer, encoding = layer_of(num_rounds=rounds, num_buckets=8)
        torch.manual_seed(0)
        torch.nn.init.normal_(layer.qkv_proj.weight)
        states = torch.randn(2, 64, WIDTH)
        ours, _ = layer(states, None, None, positions_of(64), encoding)
        layer.chunk_length = 64
        whole, _ = layer(states, None, None, positions_of(64), encoding)
        errors.append(((ours - whole).norm() / whole.norm()).item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1


# Padding.


PADDED = {"rope": {}, "alibi": {"num_rounds": 3}, "fire": {"across_buckets": False, "num_rounds": 2}}


@pytest.mark.parametrize("buckets", ["length", 4, [2, 4]])
@pytest.mark.parametrize("encoding", list(PADDED))
@pytest.mark.parametrize("causal", [True, False])
def test_a_row_depends_neither_on_its_padding_nor_on_the_side_of_it(causal, encoding, buckets):
    layer, module = layer_of(encoding, causal, num_buckets=buckets, **PADDED[encoding])
    lengths = (3, 9, 17, 40)  # one is no longer than a chunk, one has buckets of two factors
    rows = [torch.randn(length, WIDTH) for length in lengths]
    places = [positions_of(len(row), causal=causal).with_rotation(module) for row in rows]
    alone = [
        layer(row[None], None, None, positions, module)[0][0] for row, positions in zip(rows, places, strict=True)
    ]
    for longest in (40, 43):
        for side in ("left", "right"):
            states, mask = torch.randn(4, longest, WIDTH), torch.zeros(4, longest, dtype=torch.long)
            for index, row in enumerate(rows):
                columns = slice(longest - len(row), None) if side == "left" else slice(0, len(row))
                states[index, columns], mask[index, columns] = row, 1
            outputs, _ = layer(
                states, None, None, positions_of(longest, mask, causal=causal).with_rotation(module), module
            )
            assert outputs.isfinite().all()
            for index, own in enumerate(alone):
                torch.testing.assert_close(outputs[index][mask[index].bool()], own, **CLOSE)


def test_the_number_of_buckets_follows_the_length_of_each_row():
    numbers = [2 ** exponent_for(length, 64) for length in (128, 191, 192, 256, 1024, 4096, 8192, 16384)]
    assert numbers == [4, 4, 4, 8, 32, 128, 256, 512]
    assert [factors_of(exponent, 64) for exponent in (5, 7, 8, 9)] == [(32, 1), (128, 1), (16, 16), (16, 32)]
    assert [factors_of(exponent, 3) for exponent in (2, 3)] == [(4, 1), (2, 4)]
    lengths = torch.tensor([3, 4, 5, 9, 17, 40])
    assert factors_per_row(lengths, 40, 4, None).tolist() == [[1, 1], [1, 1], [2, 1], [4, 1], [8, 1], [4, 4]]
    assert factors_per_row(lengths, 40, 4, (6, 2)).tolist() == [[1, 1]] * 2 + [[6, 2]] * 4


@pytest.mark.parametrize("length", [128, 200, 1024, 4096, 8192, 16384])
def test_that_number_is_what_the_reformer_begins_with(length):
    reformer = LSHSelfAttention(ReformerConfig(lsh_attn_chunk_length=64, num_buckets=None), layer_idx=0)
    reformer._set_num_buckets(length)
    ours = [factor for factor in factors_of(exponent_for(length, 64), 64) if factor > 1]
    assert ours == (reformer.num_buckets if isinstance(reformer.num_buckets, list) else [reformer.num_buckets])


def test_the_factors_are_hashed_by_axes_of_their_own():
    layer, _ = layer_of(num_buckets=[4, 4])
    first, second = axes_of(layer, [4, 4])
    assert not torch.equal(first, second)


def test_more_axes_begin_with_the_same_ones():
    axes = [seeded_axes(3, columns, heads=2, rounds=3, width=5) for columns in (1, 2, 5, 16)]
    for own in axes:
        torch.testing.assert_close(own, axes[-1][: len(own)], rtol=0, atol=0)
    assert len(axes[-1].unique()) == axes[-1].numel()
    # The same in every process, on every machine.
    randomized_distances = seeded_axes(7, columns=2, heads=1, rounds=1, width=2).flatten()
    torch.testing.assert_close(
        randomized_distances, torch.tensor([-0.146795, 0.786141, 0.946822, -1.114344]), rtol=0, atol=1e-6
    )


def test_hashing_is_seeded_and_leaves_the_global_generator_alone():
    states, weights = torch.randn(1, 40, WIDTH), torch.randn(2 * WIDTH, WIDTH)

    def output(seed, layer_idx=0):
        layer, encoding = layer_of(seed=seed)
        layer.qkv_proj.weight.data.copy_(weights)
        before = torch.get_rng_state()
        found, _ = layer(states, None, None, positions_of(40), encoding, layer_idx=layer_idx)
        if seed is not None:
            assert torch.equal(before, torch.get_rng_state())
        return found

    torch.testing.assert_close(output(0), output(0), rtol=0, atol=0)
    assert not torch.allclose(output(0), output(1))
    assert not torch.allclose(output(0), output(0, layer_idx=1))
    assert not torch.allclose(output(None), output(None))
    torch.manual_seed(1)
    randomized_distances = output(None)
    torch.manual_seed(1)
    torch.testing.assert_close(output(None), randomized_distances, rtol=0, atol=0)


# In the models.


LSH = {"name": "lsh", "chunk_length": 4, "num_rounds": 2}
CASES = {
    "transformer-rope": {"attention_types": [LSH, "full"]},
    "transformer-fire": {"attention_types": LSH},
    "universal": {"attention_types": LSH, "num_steps": 2},
    "universal-act": {"attention_types": LSH},
}


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_models_train_and_generate(case, implementation):
    model = build(case, **CASES[case], attn_implementation=implementation)
    assert not model.prefix_stable
    input_ids, mask = pad(ragged((11, 9, 2)), "left")
    output = model(input_ids, attention_mask=mask, labels=input_ids.masked_fill(mask == 0, -100))
    output.loss.backward()
    hashing = next(module for module in model.modules() if isinstance(module, LSHAttention))
    assert hashing.qkv_proj.weight.grad.abs().sum() > 0
    found = model.generate(input_ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
    assert found.shape == (3, 17)


def test_no_pair_bias_or_mask_of_all_pairs_is_made(monkeypatch):
    model = build("transformer-alibi", "Model", attention_types=[LSH, LSH], attn_implementation="eager")
    seen = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda module, given: seen.append(given))
    model(tokens(2, 24), attention_mask=torch.ones(2, 24, dtype=torch.long))
    assert len(seen) == 2
    for _, mask, bias, positions, _ in seen:
        assert mask is None
        assert bias is None
        assert positions.visible_mask is None


class Largest(TorchDispatchMode):
    """Keeps the size of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (list, tuple)) else [made]:
            self.size = max(self.size, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
        return made


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_nothing_is_as_large_as_all_pairs(implementation):
    options = {"attention_types": LSH, "attn_implementation": implementation, "hidden_size": 4, "vocab_size": 8}
    model = build("transformer-alibi", "Model", **options, intermediate_size=4, pad_token_id=None)
    input_ids = torch.zeros(1, 2000, dtype=torch.long)
    with Largest() as largest:
        model(input_ids, attention_mask=input_ids + 1).last_hidden_state.sum().backward()
    assert largest.size < 2000**2 / 10


def test_no_weights_are_recorded():
    model = build("transformer-rope", "Model", attention_types=[LSH, "full"], attn_implementation="eager")
    (full,) = model(tokens(2, 9), output_attentions=True).attentions
    assert full.shape == (2, 2, 9, 9)


@pytest.mark.parametrize("case", ["transformer-rope", "universal"])
def test_checkpointing_changes_no_gradient(case):
    model = build(case, attention_types={**LSH, "seed": None}).train()
    input_ids, gradients = tokens(2, 13), []
    for checkpointing in (False, True):
        if checkpointing:
            checkpoint_activations(model)
        model.zero_grad()
        torch.manual_seed(0)
        model(input_ids, labels=input_ids).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


COMPILED = [
    ("causal", {}, None),
    ("bidirectional", {"wrap_around": True, "across_buckets": False}, torch.ones(2, 13).triu(-10).long()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("direction", "options", "mask"), COMPILED)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # Dynamo's own, of every autograd.Function
def test_it_compiles_without_a_graph_break(direction, options, mask):
    options = {"attention_types": {**LSH, **options}, "num_hidden_layers": 1, "is_causal": direction == "causal"}
    model = build("transformer-alibi", "ForMaskedLM", **options, use_cache=False)
    torch.compiler.reset()
    input_ids, gradients = tokens(2, 13), []
    for form in (torch.compile(model, backend="eager", fullgraph=True), model):
        model.zero_grad()
        form(input_ids, labels=input_ids, attention_mask=mask).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, **CLOSE)


@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_it_computes_in_bfloat16(how):
    model = build("transformer-alibi", attention_types={**LSH, "chunk_length": 16}, attention_dropout=0.1).train()
    input_ids = tokens(2, 40)
    if how == "bfloat16":
        model = model.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        output = model(input_ids, labels=input_ids)
    output.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_saved_model_hashes_the_same(tmp_path):
    model = build("universal", attention_types=[{**LSH, "num_buckets": [2, 4], "seed": 5}])
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(again(tokens()).logits, model(tokens()).logits, rtol=0, atol=0)


# Refusals.


REFUSED = {
    "num_rounds of at least 1, not 0": {"num_rounds": 0},
    "chunk_length of at least 1, not 0": {"chunk_length": 0},
    "chunks_before of at least 0, not -1": {"chunks_before": -1},
    "chunks_after of at least 0, not 1.5": {"chunks_after": 1.5},
    "has no num_buckets 7. Allowed: an even number": {"num_buckets": 7},
    r"has no num_buckets \[4, 3\]": {"num_buckets": [4, 3]},
    r"has no num_buckets \[4, 4, 4\]": {"num_buckets": [4, 4, 4]},
    "has no num_buckets 'lenght'": {"num_buckets": "lenght"},
    "has no argument 'num_hashes'": {"num_hashes": 2},
}


@pytest.mark.parametrize("message", list(REFUSED))
def test_what_cannot_be_is_refused(message):
    with pytest.raises(StrictDataclassError, match=message):
        config_of("transformer-none", attention_types={"name": "lsh", **REFUSED[message]})


class Gated(PositionEncoding):
    """Has key features."""

    def key_features(self, states):
        return states


class Rowwise(PositionEncoding):
    """Makes the scores."""

    def scores(self, query, key, bias, positions):
        return super().scores(query, key, bias, positions)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("gated", "cannot work with Gated, whose 'key_features'"),
        ("rowwise", "cannot work with Rowwise, whose 'scores'"),
        ("rope+gated", "cannot work with Gated, whose 'key_features'"),
    ],
)
def test_encodings_that_read_all_pairs_are_refused(encoding, message, monkeypatch):
    from hf_models.position_registry import POSITION_ENCODINGS

    monkeypatch.setitem(POSITION_ENCODINGS, "gated", Gated)
    monkeypatch.setitem(POSITION_ENCODINGS, "rowwise", Rowwise)
    with pytest.raises(StrictDataclassError, match=message):
        config_of("transformer-none", attention_types=["full", "lsh"], position_encoding=encoding)
    config_of("transformer-none", position_encoding=encoding, attn_implementation="eager")


def test_normalizers_with_weights_of_their_own_are_refused(monkeypatch):
    from hf_models.attention_normalizers import NORMALIZERS, Softmax

    class Own(Softmax):
        def weights(self, scores, visible_mask):
            return super().weights(scores, visible_mask)

    class Warm(Softmax):
        def temperature(self, states, positions):
            return torch.full((1, 1, states.shape[1], 1), 2.0)

    monkeypatch.setitem(NORMALIZERS, "own", Own)
    monkeypatch.setitem(NORMALIZERS, "warm", Warm)
    with pytest.raises(StrictDataclassError, match="cannot work with Own"):
        config_of("transformer-none", attention_types="lsh", attention_normalizer="own")
    model = build("transformer-none", "Model", attention_types=LSH, attention_normalizer="warm")
    plain = build("transformer-none", "Model", attention_types=LSH)
    assert not torch.allclose(model(tokens(2, 9)).last_hidden_state, plain(tokens(2, 9)).last_hidden_state)


def test_a_normalizer_that_leaves_out_oneself_too_is_refused():
    with pytest.raises(StrictDataclassError, match="SharedQueryKeyAttention cannot work with StickBreaking"):
        PositionTransformerConfig(attention_types="shared_query_key", attention_normalizer="stick_breaking")


def test_masks_of_pairs_are_refused():
    model = build("transformer-none", "Model", attention_types=LSH)
    with pytest.raises(ValueError, match="LSHAttention takes masks of tokens"):
        model(tokens(2, 9), attention_mask=torch.ones(2, 1, 9, 9, dtype=torch.bool))
