"""A saved model evaluated: what is written, what is not done twice, and what does not fit together."""

import json

import pytest
import torch

from eval_harness.errors import HarnessError
from eval_harness.models import build_model
from eval_harness.results import folders
from eval_harness.results.files import read_json, read_table
from eval_harness.results.folders import load_run
from eval_harness.results.schemas import EXAMPLES, LENGTHS, POSITIONS
from eval_harness.results.summary import summarise
from eval_harness.scoring import evaluate as evaluation
from eval_harness.scoring.evaluate import choose_lengths, evaluate_run, load_model, problem_of, score, train_length_of
from eval_harness.scoring.protocol import test_lengths as protocol_lengths
from eval_harness.specification import Evaluation
from eval_harness.tasks import get_task
from eval_harness.tokenization.tokenizer import build_tokenizer
from eval_harness.training.setup import size_for
from tests.tiny_runs import files, tiny, train_quietly


pytestmark = pytest.mark.versions
SHORT = Evaluation(examples=100, lengths=(3, 6, 9))


def never(*args, **kwargs):
    raise AssertionError("work was done")


def test_an_evaluation_writes_four_files(tiny_run):
    told = []
    cell_folder = evaluate_run(tiny_run, SHORT, progress=told.append)
    assert cell_folder.parent == tiny_run / "evaluations"
    assert sorted(files(cell_folder)) == ["cell.json", "examples.parquet", "lengths.parquet", "positions.parquet"]
    cell, run = read_json(cell_folder / "cell.json"), read_json(tiny_run / "run.json")
    assert cell["cell_id"] == cell_folder.name
    assert cell["run_id"] == run["run_id"] == tiny().identity()
    assert (cell["task"], cell["format"], cell["bos"]) == ("duplicate", "autoregressive", True)
    assert (cell["examples"], cell["lengths"], cell["factor"]) == (100, [3, 6, 9], 1.5)
    assert cell["decoding"] == "teacher-forced"
    assert cell["seconds"] > 0
    tables = {name: read_table(cell_folder / f"{name}.parquet") for name in ("examples", "positions", "lengths")}
    assert [row["length"] for row in tables["lengths"]] == [3, 6, 9]
    assert [row["split"] for row in tables["lengths"]] == ["within", "within", "reach"]
    assert len(tables["examples"]) == 300
    schemas = {"examples": EXAMPLES, "positions": POSITIONS, "lengths": LENGTHS}
    assert all(set(rows[0]) == set(schemas[name].names) for name, rows in tables.items())
    assert told == [9, 6, 3]


def test_the_protocols_lengths_are_the_default_and_make_a_summary(tiny_run):
    evaluate_run(tiny_run, Evaluation(examples=100, factor=3.0))
    result = load_run(tiny_run)
    lengths = protocol_lengths(get_task("duplicate"), 6, 3.0)
    assert tuple(row["length"] for row in result.lengths) == lengths.all
    assert {row["length"] for row in result.lengths if row["split"] == "beyond"} == set(lengths.beyond)
    summary = summarise(result)
    assert (summary["model"], summary["task"], summary["seed"], summary["factor"]) == ("lstm", "duplicate", 0, 3.0)
    beyond = [row["tokens"] for row in result.lengths if row["split"] == "beyond"]
    assert summary["extrapolation_tokens"] == pytest.approx(sum(beyond) / len(beyond))
    assert summary["parameters"] == result.run["model"]["parameters"]["counted"]


def test_what_is_there_is_not_done_again(tiny_run, monkeypatch):
    first = evaluate_run(tiny_run, SHORT)
    before = files(tiny_run)
    monkeypatch.setattr(evaluation, "load_model", never)
    assert evaluate_run(tiny_run, SHORT) == first
    assert files(tiny_run) == before


def test_an_evaluation_that_was_cut_off_is_done_again(tiny_run, monkeypatch):
    kept = folders.write_table

    def cut_off(path, *args):
        if path.name == "lengths.parquet":
            raise KeyboardInterrupt
        kept(path, *args)

    monkeypatch.setattr(folders, "write_table", cut_off)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(tiny_run, SHORT)
    monkeypatch.undo()
    with pytest.raises(HarnessError, match="no finished evaluation"):
        load_run(tiny_run)
    assert len(read_table(evaluate_run(tiny_run, SHORT) / "lengths.parquet")) == 3


@pytest.mark.parametrize(
    ("other", "options"),
    [
        (Evaluation(examples=100, lengths=(3, 6)), {}),
        (Evaluation(examples=128, lengths=(3, 6, 9)), {}),
        (SHORT, {"format": "parallel"}),
        (SHORT, {"task": "reverse"}),
    ],
)
def test_another_evaluation_is_another_cell_and_leaves_the_first(other, options, tiny_run):
    first = evaluate_run(tiny_run, SHORT)
    before, trained = files(first), (tiny_run / "run.json").stat().st_mtime_ns
    second = evaluate_run(tiny_run, other, **options)
    assert second.name != first.name
    assert files(first) == before
    assert (tiny_run / "run.json").stat().st_mtime_ns == trained
    cell = read_json(second / "cell.json")
    assert {name: cell[name] for name in options} == options
    assert cell["examples"] == other.examples


def test_a_bidirectional_run_is_evaluated(tmp_path):
    run = tiny("transformer-rope", task="flip_flop", config={"is_causal": False}, steps=5, bos=False)
    cell = evaluate_run(train_quietly(run, tmp_path / "run"), Evaluation(examples=100, lengths=(6, 8)))
    assert read_json(cell / "cell.json")["decoding"] == "parallel"
    assert read_json(cell / "cell.json")["bos"] is False
    assert [row["token_length"] for row in read_table(cell / "lengths.parquet")] == [6, 8]


def save(folder, task="parity", **changes):
    """A model with its tokenizer that no run left behind."""
    run = tiny(task=task, **changes)
    torch.manual_seed(0)
    build_model(size_for(run).config).save_pretrained(folder)
    build_tokenizer(run.problem).save_pretrained(folder)
    return folder


def test_any_other_model_is_evaluated_on_a_named_task(tmp_path):
    folder = save(tmp_path / "model", "majority:letters=5")
    problem = problem_of(folder, "majority:letters=5", "parallel")
    assert (problem.format.name, problem.bos, train_length_of(folder)) == ("parallel", True, None)
    scored = score(*load_model(folder), problem, SHORT)
    assert [row["split"] for row in scored.outcomes.lengths] == ["reach"] * 3
    assert scored.decoding == "parallel"
    assert len(scored.outcomes.examples) == 300


def test_the_format_of_a_run_is_kept_for_a_task_that_has_it(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"schema": 1, "training": {"task": "parity", "format": "parallel", "bos": False}})
    )
    assert problem_of(tmp_path).format.name == "parallel"
    assert problem_of(tmp_path, task="duplicate").format.name == "parallel"
    assert problem_of(tmp_path, task="flip_flop").format.name == "in_place"
    assert problem_of(tmp_path, format="autoregressive").format.name == "autoregressive"
    assert problem_of(tmp_path).bos is False


def test_named_lengths_are_sorted_into_those_up_to_the_training_length_and_beyond():
    parity = get_task("parity")
    lengths = choose_lengths(parity, Evaluation(lengths=(40, 7, 20, 21, 7)), 20)
    assert (lengths.within, lengths.beyond, lengths.reach_only) == ((7, 20), (), (21, 40))
    assert (lengths.train_length, lengths.factor) == (20, 2.0)
    assert choose_lengths(parity, Evaluation(factor=3.0), 20) == protocol_lengths(parity, 20, 3.0)


REFUSALS = {
    "another vocabulary": (
        lambda folder: evaluate_run(folder, SHORT, task="flip_flop"),
        "another vocabulary than task 'flip_flop': token 'w'",
    ),
    "more tokens than the task has": (
        lambda folder: score(
            *load_model(save(folder / "m", "binary_addition")), problem_of(folder, "duplicate"), SHORT
        ),
        "another vocabulary than task 'duplicate': 8 tokens, not 7",
    ),
    "not a run, and no task": (lambda folder: problem_of(save(folder / "m")), "no finished run; name the task"),
    "training length not known": (
        lambda folder: choose_lengths(get_task("parity"), Evaluation()),
        "training length of this model is not known; name the lengths",
    ),
    "no model in the folder": (
        lambda folder: (folder / "config.json").unlink() or evaluate_run(folder, SHORT),
        "holds no model: there is no config.json",
    ),
    "no such folder": (lambda folder: load_model(folder / "no" / "such" / "folder"), "Cannot load a model from"),
    "weights cut in half": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x10\0\0\0") and evaluate_run(folder, SHORT),
        "Cannot load a model from",
    ),
    "run.json cut in half": (
        lambda folder: (folder / "run.json").write_text('{"run_id": "ab') and evaluate_run(folder, SHORT),
        "run.json is not a complete JSON file",
    ),
    "unknown task": (lambda folder: evaluate_run(folder, SHORT, task="paritty"), "Did you mean 'parity'"),
    "unknown format": (lambda folder: evaluate_run(folder, SHORT, format="paralel"), "Did you mean 'parallel'"),
    "a format that the task has not": (
        lambda folder: evaluate_run(folder, SHORT, format="in_place"),
        "no in_place format",
    ),
    "a length that the task has not": (
        lambda folder: evaluate_run(folder, Evaluation(lengths=(0, 5))),
        "has no length 0; its shortest is 1",
    ),
    "a factor that goes nowhere": (lambda folder: evaluate_run(folder, Evaluation(factor=1)), "must be above 1"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_does_not_fit_is_refused_in_one_sentence_and_nothing_is_written(case, tiny_run, monkeypatch):
    act, words = REFUSALS[case]
    monkeypatch.setattr(evaluation.Scorer, "_teacher_force", never)
    with pytest.raises(HarnessError, match=words) as refusal:
        act(tiny_run)
    assert "\n" not in str(refusal.value)
    assert not (tiny_run / "evaluations").exists()
