"""A position encoding of the user's own file: found, used, saved, and loaded where nothing is installed."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_models import PositionTransformerForCausalLM, PositionTransformerModel
from tests import warm_process
from tests.hf_models import fresh_process, own_encoding
from tests.hf_models.model_cases import build, config_of, tokens


@pytest.fixture
def recency(tmp_path, monkeypatch):
    """The file of the manual, in a folder on the Python path."""
    folder = tmp_path / "own"
    folder.mkdir()
    shutil.copy(own_encoding.__file__, folder / "recency.py")
    monkeypatch.syspath_prepend(folder)
    yield "recency.Recency"
    sys.modules.pop("recency", None)


def test_it_is_named_by_file_and_class(recency):
    model = build("transformer-none", "Model", noise=0.0, position_encoding={"name": recency, "start": 0.25})
    assert type(model.encodings[0]).__name__ == "Recency"
    assert model.encodings[0].power.tolist() == [0.25, 0.25]
    assert "encodings.distinct.recency_Recency.power" in dict(model.named_parameters())
    model(tokens()).last_hidden_state.sum().backward()
    assert model.encodings[0].power.grad.abs().min() > 0
    build("universal", "Model", position_encoding=f"rope+{recency}")(tokens())


@pytest.mark.slow
def test_its_file_is_saved_with_the_model_and_needs_nothing_installed(recency, tmp_path):
    models = {
        "alone": build("transformer-none", position_encoding={"name": recency, "start": 0.25}),
        "composed": build("transformer-none", position_encoding=["rope", f"rope + {recency}"]),
    }
    jobs = []
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        assert "from .position_encoding import PositionEncoding" in (tmp_path / name / "recency.py").read_text()
        jobs.append(
            {"name": name, "saved": name, "auto_class": "AutoModelForCausalLM", "input_ids": tokens().tolist()}
        )
    found = fresh_process.run(tmp_path, jobs)
    for name, model in models.items():
        assert found[name]["digest"] == fresh_process.digest(model)
        torch.testing.assert_close(found[name]["output"], model(tokens()).logits)
        # What was loaded from there has saved its files again.
        assert (tmp_path / "again" / name / "recency.py").read_text() == (tmp_path / name / "recency.py").read_text()
        registry = (tmp_path / "again" / name / "position_custom.py").read_text()
        assert registry == (tmp_path / name / "position_custom.py").read_text()


def test_a_saved_model_loads_where_its_file_is_on_the_path(recency, tmp_path):
    model = build("transformer-none", "Model", position_encoding=recency)
    model.save_pretrained(tmp_path / "saved")
    again = PositionTransformerModel.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(again(tokens()).last_hidden_state, model(tokens()).last_hidden_state)


def test_a_missing_file_or_class_is_named(recency, tmp_path):
    for name, text in (
        ("nowhere.Recency", "Position encoding 'nowhere.Recency' needs nowhere.py: put its folder on the Python path"),
        ("recency.Recent", "recency.py has no class 'Recent' derived from PositionEncoding"),
        ("recency.nn", "recency.py has no class 'nn' derived from PositionEncoding"),
    ):
        with pytest.raises(StrictDataclassError) as caught:
            config_of("transformer-none", position_encoding=name)
        assert text in str(caught.value)
    with pytest.raises(StrictDataclassError, match=r"Recency has no argument 'begin'. Allowed: start"):
        config_of("transformer-none", position_encoding={"name": recency, "begin": 1})


def test_a_file_that_would_replace_one_of_ours_is_refused(tmp_path, monkeypatch):
    shutil.copy(own_encoding.__file__, tmp_path / "layer_feed_forward.py")
    monkeypatch.syspath_prepend(tmp_path)
    model = build("transformer-none", position_encoding="layer_feed_forward.Recency")
    with pytest.raises(ValueError, match=r"cannot be saved: Longreach has a file layer_feed_forward.py too"):
        model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    sys.modules.pop("layer_feed_forward")


def test_pushing_while_saving_is_refused_since_it_would_leave_the_file_out(recency, tmp_path):
    model = build("transformer-none", position_encoding=recency)
    with pytest.raises(ValueError, match="Save first, then push"):
        model.save_pretrained(tmp_path / "saved", push_to_hub=True)


@pytest.mark.slow
def test_a_class_of_the_main_script_is_refused_at_saving(tmp_path):
    script = tmp_path / "script.py"
    source = Path(own_encoding.__file__).read_text()
    script.write_text(
        source + "\n\nfrom hf_models import PositionTransformerConfig as C, PositionTransformerModel as M\n"
        "M(C(position_encoding='__main__.Recency')).save_pretrained('saved')\n"
    )
    done = warm_process.run(script, cwd=tmp_path)
    assert "'__main__.Recency' cannot be saved: put its class in a file of its own" in done.stderr
    assert not (tmp_path / "saved").exists()


def test_models_without_own_files_save_an_empty_registry(tmp_path):
    build("transformer-none").save_pretrained(tmp_path)
    assert PositionTransformerForCausalLM.from_pretrained(tmp_path)
    assert "CUSTOM_ENCODINGS: dict[str, type] = {}" in (tmp_path / "position_custom.py").read_text()
