"""The attention layer against loops over heads, queries and keys."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hf_models.attention import Attention
from hf_models.position_encoding import PositionEncoding, Positions
from tests.hf_models import references
from tests.hf_models.model_cases import CLOSE, build, config_of, pad, ragged, tokens
from tests.hf_models.plain_encoding import PlainEncoding, PlainNormalizer, plain_attention


pytestmark = pytest.mark.versions
REAL = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])  # the second row is padded on the left


def visible_pairs(causal: bool, padded: bool):
    """What may be seen `[B, 1, T, T]`."""
    visible_mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    if causal:
        visible_mask = visible_mask.tril()
    return visible_mask & REAL[:, None, None, :].bool() if padded else visible_mask


def randomized_distances():
    return [torch.randn(2, 2, 5, 8, requires_grad=True) for _ in range(3)], torch.randn(2, 2, 5, 5, requires_grad=True)


def layer_of(**options):
    config = config_of("transformer-none", **options)
    return Attention(config).eval(), PositionEncoding(config)


def positions_of(visible_mask=None, length=5):
    ids = torch.arange(length)[None]
    return Positions(ids, ids, num_heads=2, scaling=8**-0.5, visible_mask=visible_mask)


def loop(query, key, value, bias, causal, place):
    """The plain attention of one row and head, from its first real token."""
    row, head, first = place
    return references.attention(
        query[row, head, first:],
        key[row, head, first:],
        value[row, head, first:],
        lambda i, j: 0.0 if bias is None else bias[row, head, i + first, j + first],
        causal,
    )


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_eager_attention_is_the_loop_forward_and_in_every_gradient(causal, biased, padded):
    (query, key, value), bias = randomized_distances()
    layer, encoding = layer_of(attn_implementation="eager")
    positions = positions_of(visible_pairs(causal, padded))
    output, weights = layer.attend_eagerly(query, key, value, bias if biased else None, positions, encoding)
    outputs, all_weights = [], []
    for row in range(2):
        first = 2 if padded and row == 1 else 0  # the loop runs over the real tokens alone
        for head in range(2):
            plain = loop(query, key, value, bias if biased else None, causal, (row, head, first))
            outputs.append(torch.nn.functional.pad(plain[0], (0, 0, first, 0)))
            all_weights.append(torch.nn.functional.pad(plain[1], (first, 0, first, 0)))
    outputs = torch.stack(outputs).view(2, 2, 5, 8).transpose(1, 2)
    kept = REAL.bool() if padded else torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(output[kept], outputs[kept], **CLOSE)
    plain_weights = torch.stack(all_weights).view(2, 2, 5, 5).transpose(1, 2)
    torch.testing.assert_close(weights.transpose(1, 2)[kept], plain_weights[kept], **CLOSE)
    upstream = torch.randn_like(output[kept])
    inputs = [query, key, value, *([bias] if biased else [])]
    ours = torch.autograd.grad(output[kept], inputs, upstream)
    for first, second in zip(ours, torch.autograd.grad(outputs[kept], inputs, upstream), strict=True):
        torch.testing.assert_close(first, second, **CLOSE)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_sdpa_equals_eager_forward_and_in_every_gradient(causal, biased, padded):
    (query, key, value), bias = randomized_distances()
    layer, encoding = layer_of(attn_implementation="eager")
    visible_mask = visible_pairs(causal, padded)
    position_bias = bias if biased else None
    eager, _ = layer.attend_eagerly(query, key, value, position_bias, positions_of(visible_mask), encoding)
    sdpa, weights = ALL_ATTENTION_FUNCTIONS["sdpa"](
        layer, query, key, value, visible_mask, scaling=layer.scaling, is_causal=causal, position_bias=position_bias
    )
    assert weights is None
    kept = REAL.bool() if padded else torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(eager[kept], sdpa[kept], **CLOSE)
    upstream = torch.randn_like(eager[kept])
    inputs = [query, key, value, *([bias] if biased else [])]
    for first, second in zip(
        torch.autograd.grad(eager[kept], inputs, upstream),
        torch.autograd.grad(sdpa[kept], inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(first, second, **CLOSE)


def test_attention_dropout_drops_weights_in_training_alone():
    (query, key, value), _ = randomized_distances()
    layer, encoding = layer_of(attn_implementation="eager", attention_dropout=0.5)
    positions = positions_of(visible_pairs(False, False))
    _, kept = layer.attend_eagerly(query, key, value, None, positions, encoding)
    assert (kept > 0).all()
    _, dropped = layer.train().attend_eagerly(query, key, value, None, positions, encoding)
    assert (dropped == 0).any()
    torch.testing.assert_close(dropped[dropped > 0], 2 * kept[dropped > 0])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_layer_takes_a_bias_of_batch_size_one_for_a_larger_batch(implementation):
    layer, encoding = layer_of(attn_implementation=implementation, is_causal=False)
    states, bias = torch.randn(3, 5, 16), torch.randn(1, 2, 5, 5)
    positions = positions_of(torch.ones(1, 1, 5, 5, dtype=torch.bool))
    shared, _ = layer(states, None, bias, positions, encoding)
    own, _ = layer(states, None, bias.repeat(3, 1, 1, 1), positions, encoding)
    torch.testing.assert_close(shared, own)
    without, _ = layer(states, None, None, positions, encoding)
    assert not torch.allclose(shared, without, atol=1e-3)


# Sliding windows.


SLIDING = {"attention_types": ["sliding", "full"], "sliding_window": 3}


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "flex_attention"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.filterwarnings("ignore")  # uncompiled FlexAttention says that it is slow
def test_a_sliding_layer_sees_its_window_alone(implementation, causal):
    config = config_of("transformer-none", **SLIDING, is_causal=causal)
    model = build("transformer-none", "Model", **SLIDING, is_causal=causal, attn_implementation=implementation)
    model.requires_grad_(False)
    seen = []
    model.layers[0].attention.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output[0])))
    torch.compiler.set_stance("force_eager")
    try:
        model(tokens(2, 9))
    finally:
        torch.compiler.set_stance("default")
    states, output = seen[0]
    for row in range(2):
        plain = plain_attention(
            states[row],
            model.layers[0].attention,
            PlainEncoding(None, config),
            PlainNormalizer(None, config),
            list(range(9)),
            window=3,
        )
        torch.testing.assert_close(output[row], plain, **CLOSE)


def test_a_sliding_layer_forgets_what_leaves_its_window():
    model = build("transformer-none", "Model", attention_types="sliding", sliding_window=3)
    first, second = tokens(1, 9), tokens(1, 9)
    second[0, 0] = 3 + (second[0, 0] - 2) % 14
    one, other = model(first).last_hidden_state, model(second).last_hidden_state
    changed = (one - other).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [True] * 5 + [False] * 4  # two layers reach two windows back


@pytest.mark.parametrize("encoding", ["none", "rope", "alibi", "t5"])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_sliding_cache_gives_what_is_computed_without_one(implementation, encoding):
    model = build(
        "transformer-none", "Model", **SLIDING, position_encoding=encoding, attn_implementation=implementation
    )
    input_ids, mask = pad(ragged((11, 9, 6)), "left")
    whole = model(input_ids, attention_mask=mask).last_hidden_state
    outputs = model(input_ids[:, :4], attention_mask=mask[:, :4], use_cache=True)
    pieces = [outputs.last_hidden_state]
    for start, end in ((4, 5), (5, 7), (7, 8), (8, 11)):
        outputs = model(input_ids[:, start:end], attention_mask=mask[:, :end], past_key_values=outputs.past_key_values)
        pieces.append(outputs.last_hidden_state)
    torch.testing.assert_close(torch.cat(pieces, 1)[mask.bool()], whole[mask.bool()], **CLOSE)
    held = [layer.keys.shape[2] for layer in outputs.past_key_values.layers]
    assert held == [2, 11]


@pytest.mark.parametrize("window", [None, 1])
def test_a_sliding_layer_without_a_window_is_refused(window):
    with pytest.raises(StrictDataclassError, match=f"needs a sliding_window of at least 2, not {window}"):
        config_of("transformer-none", attention_types="sliding", sliding_window=window)
