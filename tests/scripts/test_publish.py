"""The door `scripts/publish.py`."""

import runpy
from pathlib import Path

import pytest

from tests import hub_fixtures
from tests.eval_harness.publishing.test_model_repository import finished_run


hub = hub_fixtures.hub
# huggingface_hub uploads LFS objects through an argument that its HTTP client has deprecated.
pytestmark = [pytest.mark.versions, pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")]


@pytest.fixture
def main():
    return runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "publish.py"))["main"]


@pytest.fixture
def run(tmp_path):
    return finished_run(tmp_path / "runs" / "first")


def test_without_push_it_only_lists(main, hub, run, capsys):
    assert main([str(run), "--to", "tester"]) == 0
    printed = capsys.readouterr().out
    assert "tester/first-majority-lstm-1" in printed
    assert "model.safetensors" in printed
    assert "nothing was uploaded" in printed
    assert hub.requests == []


def test_with_push_it_uploads(main, hub, run, capsys, tmp_path):
    output = tmp_path / "out"
    assert main([str(run), "--to", "lab/name", "--push", "--private", "--output", str(output)]) == 0
    assert f"{hub.url}/lab/name" in capsys.readouterr().out
    assert hub.repositories["models", "lab/name"].private
    assert (output / "README.md").is_file()


def test_bad_input_is_one_sentence_and_exit_code_2(main, run, capsys):
    assert main([str(run), "--to", "two--hyphens/name"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("longreach: 'two--hyphens/name' cannot be a repository on the Hub.")
    assert captured.err.count("\n") == 1
