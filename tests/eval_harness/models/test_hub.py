"""Checkpoints by their Hub id: what is loaded is what was pushed, as it was at that commit."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi

from eval_harness.cli import main as cli
from eval_harness.models import checkpoints, describe_model
from eval_harness.training.setup import first_model, size_for
from tests import hub_fixtures
from tests.tiny_runs import tiny, weights


hub = hub_fixtures.hub
# huggingface_hub uploads LFS objects through an argument that its HTTP client has deprecated.
pytestmark = [pytest.mark.versions, pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")]


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url)


@pytest.fixture
def hub_id(api, trained_once, tmp_path):
    """A trained model on the Hub, of another id in each test: a process remembers which commit an id was."""
    repo_id = f"tester/{tmp_path.name}"
    api.create_repo(repo_id)
    api.upload_folder(repo_id=repo_id, folder_path=trained_once)
    return repo_id


def test_training_begins_with_the_weights_of_the_commit(api, hub_id, trained_once):
    run = tiny(hub_id, task="reverse")
    assert run.revision == api.model_info(hub_id).sha
    api.upload_file(repo_id=hub_id, path_in_repo="model.safetensors", path_or_fileobj=b"other weights")
    checkpoints._commit.cache_clear()  # as in another process
    assert tiny(hub_id, task="reverse").revision != run.revision
    model, same_vocabulary = first_model(run, size_for(run))
    assert same_vocabulary
    assert weights(trained_once).keys() == model.state_dict().keys()
    for name, weight in weights(trained_once).items():
        assert torch.equal(model.state_dict()[name], weight), name


def test_it_is_shown_and_scored_as_its_folder(hub_id, tiny_run, capsys):
    assert describe_model(hub_id, 1) == describe_model(str(tiny_run), 1) | {"model": hub_id}
    asked = ["--task", "duplicate", "--lengths", "3,6", "--examples", "100", "--json"]
    scores = []
    for source in (hub_id, str(tiny_run)):
        assert cli.main(["evaluate", source, *asked]) == 0
        scores.append([(row["exact"], row["tokens"], row["loss"]) for row in json.loads(capsys.readouterr().out)])
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    "argv", [["models", "tester/nothing"], ["evaluate", "tester/nothing", "--task", "parity", "--lengths", "5"]]
)
def test_an_id_that_is_not_there_is_one_line(argv, hub, capsys):
    assert cli.main(argv) == 2
    assert_one_line(capsys)


def test_training_from_an_id_that_is_not_there_is_refused_too(hub, tmp_path, capsys):
    train = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "train.py"))["main"]
    folder = tmp_path / "run"
    assert train(["--task", "parity", "--model", "tester/nothing", "--output_dir", str(folder), "--use_cpu"]) == 2
    assert_one_line(capsys)
    assert not folder.exists()


def assert_one_line(capsys):
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "'tester/nothing'" in printed.err
    assert "404" not in printed.err
