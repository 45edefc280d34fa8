"""What models can do, against what is known of them."""

import pytest
import torch

from eval_harness.errors import HarnessError
from eval_harness.models import build_model, size_model
from eval_harness.models.probing import Probe, attends_ahead, probe_model


pytestmark = pytest.mark.versions


def model(name, head="token", **config):
    needs = {"vocab_size": 11, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3, "max_position_embeddings": 200}
    torch.manual_seed(0)
    return build_model(size_model(name, 20_000, head, needs | {"decoder_start_token_id": 1}, **config).config, head)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba", "rwkv"])
def test_causal_models_are_prefix_stable_and_their_caches_agree(name):
    probe = probe_model(model(name).eval(), {"input_ids": 150}, decodes=True)
    assert (probe.prefix_stable, probe.cached) == (True, True)


def test_a_decoder_is_tried_with_its_source():
    sizes = {"input_ids": 20, "decoder_input_ids": 60}
    probe = probe_model(model("t5", "sequence_to_sequence").eval(), sizes, decodes=True)
    assert (probe.prefix_stable, probe.cached) == (True, True)


def test_what_hashes_or_rescales_with_the_length_is_not_prefix_stable():
    assert not probe_model(model("reformer").eval(), {"input_ids": 150}, decodes=True).prefix_stable
    scaling = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}
    rescaled = model("llama", max_position_embeddings=32, rope_parameters=scaling).eval()
    assert not probe_model(rescaled, {"input_ids": 150}, decodes=True).prefix_stable


def test_a_cache_that_does_not_fit_is_found():
    unfit = model("xlstm").eval()  # its cache wants a width that is a multiple of 128
    assert not probe_model(unfit, {"input_ids": 30}, decodes=True).cached


def test_a_sequence_longer_than_the_table_is_refused():
    with pytest.raises(HarnessError, match=r"^GPT2LMHeadModel cannot process 300 tokens: index out of range in self$"):
        probe_model(model("gpt2").eval(), {"input_ids": 300}, decodes=False)


class OnAccelerator:
    """A model that stands elsewhere than on the CPU, where it must not be tried."""

    def __init__(self, model):
        self.model, self.device = model, torch.device("cuda")

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, **inputs):
        assert self.device.type == "cpu"
        return self.model(**inputs)

    def to(self, device):
        self.device = torch.device(device)


def test_a_model_is_tried_on_the_cpu_and_goes_back_where_it_was():
    tried = OnAccelerator(model("gpt2").eval())
    assert probe_model(tried, {"input_ids": 150}, decodes=True) == Probe(prefix_stable=True, cached=True)
    assert tried.device.type == "cuda"
    with pytest.raises(HarnessError, match=r"cannot process 300 tokens: index out of range in self$"):
        probe_model(tried, {"input_ids": 300}, decodes=False)
    assert tried.device.type == "cuda"


@pytest.mark.parametrize(
    ("name", "ahead"),
    [("gpt2", False), ("mamba", False), ("reformer", False), ("bert", True), ("xlnet", True), ("cpmant", True)],
)
def test_who_reads_the_tokens_behind(name, ahead):
    tried = model(name).eval()
    assert attends_ahead(tried, 50) is ahead
    assert not tried.training
    assert all(parameter.grad is None for parameter in tried.parameters())
