"""What models can do, ours and those of transformers, and the heads that they are built with."""

import pytest
import torch
from transformers import AutoConfig, BertConfig, GPT2Config, T5Config

from eval_harness.errors import HarnessError
from eval_harness.models import ARCHITECTURES, Probe, adapter_of, build_model, head_of, size_model
from eval_harness.models.adapter import LibraryAdapter, LongreachAdapter
from eval_harness.models.architectures import ENCODER_DECODERS
from eval_harness.tokenization.problem import get_problem
from hf_models import LSTMConfig, PositionTransformerConfig


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


def test_every_architecture_of_ours_has_our_adapter_and_library_types_have_the_other():
    for architecture in ARCHITECTURES.values():
        assert type(adapter_of(architecture.config_class())) is LongreachAdapter
    for config_class in ENCODER_DECODERS.values():
        assert type(adapter_of(config_class())) is LongreachAdapter
    for name in ("gpt2", "bert", "t5", "mamba"):
        assert type(adapter_of(AutoConfig.for_model(name))) is LibraryAdapter


def small(name, head):
    return size_model(name, 20_000, head, {"vocab_size": 9, "pad_token_id": 0, "decoder_start_token_id": 1}).config


@pytest.mark.parametrize("name", ["lstm", "transformer-rope", "gpt2", "t5"])
def test_a_built_model_has_the_head_that_was_asked_for(name):
    heads = ("sequence_to_sequence",) if name == "t5" else ("token", "classification")
    for head in heads:
        config = small(name, head)
        model = build_model(config, head)
        assert head_of(model) == head
        assert type(model) is type(adapter_of(config).auto_class(head).from_config(config))


def test_the_direction_is_that_of_the_configuration():
    ours = [LSTMConfig(), LSTMConfig(bidirectional=True), PositionTransformerConfig()]
    assert [adapter_of(config).is_causal for config in ours] == [True, False, True]
    assert not adapter_of(PositionTransformerConfig(is_causal=False)).is_causal
    assert [adapter_of(config()).is_causal for config in (GPT2Config, BertConfig, T5Config)] == [True, False, False]


def test_shift_labels_are_for_our_causal_token_heads_alone():
    ours, theirs = adapter_of(small("lstm", "token")), adapter_of(GPT2Config())
    both_ways = adapter_of(LSTMConfig(bidirectional=True))
    assert ours.takes_shift_labels("token")
    assert not any(each.takes_shift_labels("token") for each in (theirs, both_ways))
    assert not ours.takes_shift_labels("classification")


def test_our_models_declare_how_they_decode_and_others_are_tried():
    sizes = {"input_ids": 20}
    ours, theirs = build_model(small("lstm", "token")), build_model(small("gpt2", "token"))
    found = [adapter_of(each.config).probe(each.eval(), sizes, decodes=True) for each in (ours, theirs)]
    assert found == [Probe(prefix_stable=True, cached=True)] * 2
    with pytest.raises(HarnessError, match="cannot process 5000 tokens"):
        adapter_of(theirs.config).probe(theirs, {"input_ids": 5000}, decodes=False)
    hashes = build_model(size_model("transformer-none", 20_000, attention_types="lsh").config)
    assert adapter_of(hashes.config).probe(hashes, sizes, decodes=True) == Probe(prefix_stable=False, cached=False)


def test_a_library_model_is_tried_before_its_training():
    torch.manual_seed(0)
    model = build_model(small("cpmant", "token"))
    with pytest.raises(HarnessError, match="cpmant reads tokens after the one it answers at"):
        adapter_of(model.config).check_training(model, "cpmant", get_problem("parity"), 40, noise=False)
