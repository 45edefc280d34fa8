"""The heads that models are built with."""

import pytest
import torch

from eval_harness.models import build_model, size_model


@pytest.mark.parametrize(
    ("name", "bidirectional", "stem"),
    [
        ("lstm", {"bidirectional": True}, "LSTM"),
        ("rnn", {"bidirectional": True}, "RNN"),
        ("transformer-t5", {"is_causal": False}, "PositionTransformer"),
        ("universal_transformer", {"is_causal": False}, "UniversalTransformer"),
    ],
)
def test_a_bidirectional_model_gets_the_head_without_a_shift(name, bidirectional, stem):
    causal = build_model(size_model(name, 50_000).config)
    both_ways = build_model(size_model(name, 50_000, **bidirectional).config)
    assert type(causal).__name__ == f"{stem}ForCausalLM"
    assert type(both_ways).__name__ == f"{stem}ForMaskedLM"
    labels = torch.randint(5, 20, (2, 6), generator=torch.Generator().manual_seed(0))
    output = both_ways.eval()(labels, labels=labels)
    aligned = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(output.loss, aligned)
