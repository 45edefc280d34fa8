"""The door `scripts/train.py`: flags, recipes, and several processes."""

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from eval_harness.results.files import read_json
from eval_harness.specification import TrainingRun
from tests.tiny_runs import files, tiny, weights


SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
SIZES = {"budget": 8_000, "train_length": 6, "table_factor": 4.0, "batch_size": 8, "max_steps": 30}
QUIET = ["--disable_tqdm", "true", "--use_cpu"]


def flags(**changes) -> list[str]:
    chosen = {"task": "duplicate", "model": "lstm", **SIZES, **changes}
    return [text for name, value in chosen.items() for text in (f"--{name}", str(value))] + QUIET


@pytest.fixture
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def main(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return script["main"]


def specification(folder) -> dict:
    return read_json(folder / "specification.json")["training"]


@pytest.mark.versions
def test_flags_train_the_run_that_they_say(main, tmp_path, trained_once):
    assert main([*flags(), "--output_dir", "here"]) == 0
    assert specification(tmp_path / "here") == vars(tiny())
    for name, tensor in weights(trained_once).items():
        assert torch.equal(weights(tmp_path / "here")[name], tensor)


def test_without_a_folder_the_run_names_its_own(main, tmp_path, capsys):
    assert main(flags(max_steps=2)) == 0
    run = tiny(steps=2)
    assert (tmp_path / "runs" / run.folder_name() / "run.json").exists()
    assert capsys.readouterr().out.splitlines()[-1] == f"Trained lstm on duplicate: runs/{run.folder_name()}"


def test_flags_override_a_recipe(main, tmp_path):
    recipe = {
        **SIZES,
        "task": "majority:letters=3",
        "model": "universal_transformer",
        "bos": False,
        "format": "parallel",
        "max_steps": 3,
        "learning_rate": "3e-4",
        "weight_decay": 0.1,
        "config_overrides": ["num_steps=2", "halting=act", "ponder_loss_weight=1e-3"],
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["recipe.yaml", "--seed", "5", "--max_steps", "2", "--output_dir", "out", *QUIET]) == 0
    expected = tiny(
        "universal_transformer",
        task="majority:letters=3",
        bos=False,
        format="parallel",
        steps=2,
        learning_rate=3e-4,
        trainer={"weight_decay": 0.1},
        config={"num_steps": 2, "halting": "act", "ponder_loss_weight": 1e-3},
        seed=5,
    )
    assert specification(tmp_path / "out") == vars(expected)
    config = read_json(tmp_path / "out" / "config.json")
    assert (config["num_steps"], config["halting"], config["ponder_loss_weight"]) == (2, "act", 1e-3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("num_steps=2", 2),
        ("dropout=0.1", 0.1),
        ("ponder_loss_weight=1e-3", 1e-3),
        ("is_causal=false", False),
        ("position_encoding=alibi", "alibi"),
        ("position_encoding={name: alibi, form: directional}", {"name": "alibi", "form": "directional"}),
        ("position_encoding=[rope, none]", ["rope", "none"]),
    ],
)
def test_overrides_are_read_as_yaml(script, text, value):
    assert script["read_override"](text) == (text.partition("=")[0], value)


def test_the_defaults_are_those_of_the_specification(script, tmp_path):
    chosen, arguments = script["parse"](["--task", "parity", "--model", "lstm", "--output_dir", str(tmp_path)])
    assert script["specify"](chosen, arguments) == TrainingRun(task="parity", model="lstm")


REFUSALS = {
    "unknown key": ({"taks": "parity"}, [], "'taks'. Did you mean 'task'"),
    "unknown key of the trainer": ({"learning_rates": 1}, [], "Did you mean 'learning_rate'"),
    "a list": (["task"], [], "holds no keys"),
    "no model": ({"task": "parity"}, [], "--model; `longreach models`"),
    "no task": ({"model": "lstm"}, [], "--task; `longreach tasks`"),
    "unknown task": ({"task": "paritty", "model": "lstm"}, [], "Did you mean 'parity'"),
    "unknown model": ({"task": "parity"}, ["--model", "lstmm"], "Did you mean 'lstm'"),
    "unknown encoding": (
        {"task": "parity", "model": "transformer-rope"},
        ["--config_overrides", "position_encoding=alibbi"],
        "Did you mean 'alibi'",
    ),
    "no override": ({"task": "parity", "model": "lstm"}, ["--config_overrides", "dropout"], "write key=value"),
    "unknown override": (
        {"task": "parity", "model": "lstm"},
        ["--config_overrides", "num_layer=2"],
        "Did you mean 'num_hidden_layers'",
    ),
    "unknown flag": ({"task": "parity", "model": "lstm"}, ["--steps", "5"], "Did you mean '--max_steps'"),
    "a value of the trainer": ({"task": "parity", "model": "lstm"}, ["--warmup_steps", "-3"], "warmup_steps"),
    "no steps": ({"task": "parity", "model": "lstm"}, ["--max_steps", "0"], "steps must be at least 1"),
    "length 0": ({"task": "parity", "model": "lstm"}, ["--train_length", "0"], "has no length 0"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_wrong_input_is_one_line_and_writes_nothing(case, main, tmp_path, capsys):
    recipe, more, words = REFUSALS[case]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    before = files(tmp_path)
    assert main(["recipe.yaml", *more, *QUIET]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "words"), [(None, "There is no recipe"), ("a: [1", "is no YAML or JSON"), ("", "holds no keys")]
)
def test_a_recipe_that_cannot_be_read_is_named(text, words, main, tmp_path, capsys):
    if text is not None:
        (tmp_path / "recipe.yaml").write_text(text)
    assert main(["recipe.yaml"]) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


@pytest.mark.versions
@pytest.mark.slow
def test_two_processes_train_to_the_weights_of_one(tmp_path, trained_once):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", str(port), "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", str(SCRIPT)]
    subprocess.run(
        [*launch, *flags(), "--output_dir", "two"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=800,
    )
    one, two = (read_json(folder / "run.json") for folder in (trained_once, tmp_path / "two"))
    assert (one["trainer"]["world_size"], two["trainer"]["world_size"]) == (1, 2)
    assert two["run_id"] == one["run_id"]
    assert two["final_loss"] == pytest.approx(one["final_loss"], rel=1e-4)
    assert two["compute"]["training_flops"] == one["compute"]["training_flops"]
    for name, tensor in weights(trained_once).items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=1e-4, atol=1e-5)
