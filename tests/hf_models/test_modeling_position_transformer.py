"""The position transformer as a whole against plain layers, for every encoding."""

import pytest
import torch

from tests.hf_models import references
from tests.hf_models.model_cases import CASES, build, gradients, pad, ragged


TRANSFORMERS = [case for case in CASES if case.startswith("transformer")]


def plain_model(model, row, ids):
    """States of one sequence of tokens."""
    states = model.embed_tokens.weight[row] * 4.0  # the square root of the width
    seen = []
    for index, layer in enumerate(model.layers):
        hooks = references.Hooks(model.encodings[index], model.config.is_causal, 2)
        if model.encodings[index] not in seen:
            states = hooks.embed(states, ids)
            seen.append(model.encodings[index])
        states = references.layer(states, layer, hooks, ids, model.config.is_causal)
    return references.layer_norm(states, model.norm) if model.config.norm_position == "pre" else states


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_the_model_is_its_formula_forward_and_in_every_gradient(case):
    model = build(case, "Model")
    sequences = ragged((5, 3))
    input_ids, mask = pad(sequences, "left")
    ids = torch.tensor([[0, 1, 4, 9, 17], [0, 0, 2, 3, 30]])
    states = model(input_ids, attention_mask=mask, position_ids=ids).last_hidden_state[mask.bool()]
    plain = [
        plain_model(model, sequence, row[keep.bool()].tolist())
        for sequence, row, keep in zip(sequences, ids, mask, strict=True)
    ]
    expected = torch.cat(plain)
    torch.testing.assert_close(states, expected, rtol=1e-3, atol=1e-4)
    (states**3).sum().backward()
    found = gradients(model)
    model.zero_grad()
    (expected**3).sum().backward()
    for name, gradient in gradients(model).items():
        assert (found[name] - gradient).abs().max() <= 1e-3 * gradient.abs().max() + 1e-4, name


@pytest.mark.parametrize("case", ["transformer-none", "transformer-none-post"])
def test_only_the_pre_norm_form_ends_with_a_norm(case):
    model = build(case, "Model")
    assert isinstance(model.norm, torch.nn.LayerNorm) == ("post" not in case)


@pytest.mark.parametrize("width", [32, 256])
def test_a_new_model_begins_at_unit_scale_at_every_width(width):
    model = build("transformer-rope", noise=0.0, hidden_size=width, vocab_size=512, tie_word_embeddings=True)
    input_ids = torch.randint(3, 512, (4, 8))
    embedded = model.get_input_embeddings()(input_ids)
    assert embedded.std().item() == pytest.approx(1.0, rel=0.1)
    assert model(input_ids).logits.std().item() == pytest.approx(1.0, rel=0.35)
    assert model.model.embed_tokens.weight[model.config.pad_token_id].abs().max() == 0
