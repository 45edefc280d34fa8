"""The attention layer against a loop over heads, queries and keys."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hf_models.attention import Attention, eager_attention_forward
from hf_models.position_encodings import PositionEncoding
from tests.hf_models import references
from tests.hf_models.model_cases import CLOSE, config_of


REAL = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])  # the second row is padded on the left


def masks(causal: bool, padded: bool):
    """What may be seen `[B, 1, T, T]`: as booleans, and as something to add."""
    visible = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    if causal:
        visible = visible.tril()
    if padded:
        visible = visible & REAL[:, None, None, :].bool()
    return visible, torch.zeros(2, 1, 5, 5).masked_fill(~visible, torch.finfo(torch.float32).min)


def drawn():
    return [torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3)], torch.randn(2, 3, 5, 5, requires_grad=True)


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


def module():
    return Attention(config_of("transformer-none")).eval()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_eager_attention_is_the_loop_forward_and_in_every_gradient(causal, biased, padded):
    (query, key, value), bias = drawn()
    _, additive = masks(causal, padded)
    output, weights = eager_attention_forward(
        module(), query, key, value, additive, scaling=0.5, position_bias=bias if biased else None
    )
    outputs, all_weights = [], []
    for row in range(2):
        first = 2 if padded and row == 1 else 0  # the loop runs over the real tokens alone
        for head in range(3):
            plain = loop(query, key, value, bias if biased else None, causal, (row, head, first))
            outputs.append(torch.nn.functional.pad(plain[0], (0, 0, first, 0)))
            all_weights.append(torch.nn.functional.pad(plain[1], (first, 0, first, 0)))
    outputs = torch.stack(outputs).view(2, 3, 5, 4).transpose(1, 2)
    kept = REAL.bool() if padded else torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(output[kept], outputs[kept], **CLOSE)
    plain_weights = torch.stack(all_weights).view(2, 3, 5, 5).transpose(1, 2)
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
    (query, key, value), bias = drawn()
    visible, additive = masks(causal, padded)
    position_bias = bias if biased else None
    eager, _ = eager_attention_forward(module(), query, key, value, additive, scaling=0.5, position_bias=position_bias)
    sdpa, weights = ALL_ATTENTION_FUNCTIONS["sdpa"](
        module(), query, key, value, visible, scaling=0.5, is_causal=causal, position_bias=position_bias
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
    (query, key, value), _ = drawn()
    layer = module()
    _, kept = eager_attention_forward(layer, query, key, value, None, scaling=0.5, dropout=0.5)
    assert (kept > 0).all()
    _, dropped = eager_attention_forward(layer.train(), query, key, value, None, scaling=0.5, dropout=0.5)
    assert (dropped == 0).any()
    torch.testing.assert_close(dropped[dropped > 0], 2 * kept[dropped > 0])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_layer_takes_a_bias_of_batch_size_one_for_a_larger_batch(implementation):
    config = config_of("transformer-none", attn_implementation=implementation, is_causal=False)
    layer = Attention(config).eval()
    states, bias, ids = torch.randn(3, 5, 16), torch.randn(1, 2, 5, 5), torch.arange(5)[None]
    shared, _ = layer(states, None, bias, ids, PositionEncoding(config))
    own, _ = layer(states, None, bias.repeat(3, 1, 1, 1), ids, PositionEncoding(config))
    torch.testing.assert_close(shared, own)
    without, _ = layer(states, None, None, ids, PositionEncoding(config))
    assert not torch.allclose(shared, without, atol=1e-3)
