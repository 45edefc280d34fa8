"""Training from a checkpoint: which weights stay, and what the run says of it."""

import shutil

import pytest
import torch

from eval_harness.errors import HarnessError
from eval_harness.models.checkpoints import is_checkpoint, on_the_hub, revision_of
from eval_harness.results.files import read_json
from eval_harness.scoring.evaluate import evaluate_run
from eval_harness.specification import Evaluation
from eval_harness.training.setup import size_for
from tests.tiny_runs import tiny, train_quietly, weights


pytestmark = pytest.mark.versions


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return train_quietly(tiny("gpt2", steps=3), tmp_path_factory.mktemp("gpt2"))


def start(checkpoint, **changes):
    return tiny(str(checkpoint), **{"steps": 1, "learning_rate": 1e-9, **changes})


def test_a_slash_makes_a_checkpoint():
    assert is_checkpoint("./gpt2")
    assert is_checkpoint("user/gpt2")
    assert not is_checkpoint("gpt2")
    assert not is_checkpoint("transformer-recency.Recency")


def test_every_weight_stays_where_the_vocabulary_is_the_same(checkpoint, tmp_path):
    folder = train_quietly(start(checkpoint, task="reverse"), tmp_path)
    for name, weight in weights(checkpoint).items():
        torch.testing.assert_close(weights(folder)[name], weight)
    described = read_json(folder / "run.json")
    assert described["model"]["kept_vocabulary"]
    assert described["model"]["checkpoint"] == described["training"]["revision"] == revision_of(str(checkpoint))


@pytest.mark.parametrize("task", ["parity", "majority:letters=2"])
def test_another_vocabulary_has_a_new_embedding_whatever_its_size(checkpoint, task, tmp_path):
    folder = train_quietly(start(checkpoint, task=task, format="autoregressive"), tmp_path)
    before, after = weights(checkpoint), weights(folder)
    assert not read_json(folder / "run.json")["model"]["kept_vocabulary"]
    for name, weight in before.items():
        if name == "transformer.wte.weight":
            assert weight.shape != after[name].shape or (weight - after[name]).abs().max() > 1e-3
        else:
            torch.testing.assert_close(after[name], weight)
    assert evaluate_run(folder, Evaluation(examples=100, lengths=(4, 6))).exists()


def test_the_budget_is_the_checkpoints_own(checkpoint):
    first, second = (size_for(start(checkpoint, budget=budget)) for budget in (10, 1_000_000))
    assert first.parameters == second.parameters == size_for(tiny("gpt2")).parameters


def test_the_state_of_a_checkpoint_is_part_of_a_run(checkpoint, tmp_path):
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    run = start(copy)
    assert start(copy).identity() == run.identity()
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes() + b" ")
    assert start(copy).identity() != run.identity()
    with pytest.raises(HarnessError, match=r"copy has changed: it is sha256:\w+, not sha256:\w+\.$"):
        size_for(run)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "sequence_to_sequence"}, "is no encoder-decoder"),
        ({"config": {"n_heads": 4}}, "Unknown configuration key of gpt2: 'n_heads'. Did you mean 'n_head'"),
        ({"config": {"n_inner": 7}}, r"has no weights of this shape: .*mlp.* \("),
        ({"config": {"n_layer": 3}}, r"has no weights of this shape: transformer.h.2"),
        ({"train_length": 40}, r"GPT2LMHeadModel cannot process 123 tokens"),
    ],
)
def test_what_a_checkpoint_cannot_do_is_refused(checkpoint, changes, words, tmp_path):
    with pytest.raises(HarnessError, match=words):
        train_quietly(start(checkpoint, **changes), tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"holds no model: there is no config.json"):
        tiny(str(tmp_path))
    with pytest.raises(HarnessError, match=r"There is no folder \./nowhere\."):
        tiny("./nowhere")


def test_one_of_ours_is_a_checkpoint_too(tmp_path):
    first = train_quietly(tiny("transformer-learned", steps=3), tmp_path / "first")
    second = train_quietly(start(first, task="reverse"), tmp_path / "second")
    for name, weight in weights(first).items():
        torch.testing.assert_close(weights(second)[name], weight)


def test_a_commit_of_the_hub_is_loaded_as_such():
    assert on_the_hub("sha256:12") is None
    assert on_the_hub("0a1b2c") == "0a1b2c"
