"""What names stand for."""

import shutil
import sys

import pytest

from eval_harness.errors import HarnessError
from eval_harness.models import size_model
from eval_harness.models.architectures import get_architecture
from hf_models import UniversalTransformerConfig
from tests.hf_models import own_encoding


def test_a_name_may_compose_encodings(monkeypatch, tmp_path):
    architecture = get_architecture("universal_transformer-rope+fox")
    assert architecture.config_class is UniversalTransformerConfig
    sized = size_model("transformer-learned+fox", 20_000, vocab_size=11, max_position_embeddings=100)
    width, heads = sized.config.hidden_size, sized.config.num_attention_heads
    assert sized.parameters["position_tables"] == 100 * width
    plain = size_model("transformer-none", 20_000, vocab_size=11, **sized.chosen)
    assert sized.parameters["counted"] == plain.parameters["counted"] + (width + 1) * heads
    with pytest.raises(
        HarnessError, match=r"transformer-rope\+foxx: Unknown position encoding 'foxx'. Did you mean 'fox'"
    ):
        get_architecture("transformer-rope+foxx")


def test_a_name_may_be_of_the_users_own_file(monkeypatch, tmp_path):
    shutil.copy(own_encoding.__file__, tmp_path / "recency.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert size_model("transformer-recency.Recency", 20_000).config.position_encoding == "recency.Recency"
    with pytest.raises(HarnessError, match=r"nowhere.Recency' needs nowhere.py: put its folder on the Python path"):
        get_architecture("transformer-nowhere.Recency")
    sys.modules.pop("recency")


def test_names_say_the_encoding():
    assert size_model("transformer-alibi", 20_000).config.position_encoding == "alibi"
    assert size_model("universal_transformer-none", 20_000).config.position_encoding == "none"
    assert size_model("universal_transformer", 20_000).config.position_encoding == "coordinate"
    with pytest.raises(HarnessError):
        get_architecture("universal_transformer-coordinate")
