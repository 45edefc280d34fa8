"""Models that were saved before: their weights have the names that the code has, and they answer as they did.

`tests/saved_models` holds configurations, weights, inputs and the logits of the day they were saved.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hf_models
from tests.hf_models.model_cases import main_output


FOLDERS = sorted((Path(__file__).parents[1] / "saved_models").iterdir())


def architecture(folder: Path) -> str:
    return json.loads((folder / "config.json").read_text())["architectures"][0]


def test_there_is_a_model_of_every_type():
    saved = {getattr(hf_models, architecture(folder)).config_class for folder in FOLDERS}
    assert saved == set(hf_models.MODEL_CLASSES)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_model_that_was_saved_before_loads_and_gives_the_same_logits(folder):
    model, loading = getattr(hf_models, architecture(folder)).from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values()), loading
    expected = load_file(folder / "expected.safetensors")
    logits = expected.pop("logits")
    with torch.no_grad():
        found = main_output(model.eval()(**expected, use_cache=False))
    torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-4)
