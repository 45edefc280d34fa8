"""The command line: fast where nothing is computed, JSON where there are lists, one line where the input is wrong."""

import json
import subprocess
import sys

import pytest

from eval_harness.cli import main as cli
from eval_harness.errors import HarnessError
from eval_harness.models import ARCHITECTURES
from eval_harness.results.files import read_table
from eval_harness.studies import study
from eval_harness.tasks import SKILLS, get_task, list_tasks
from tests.eval_harness.fake_study import MODELS, TASKS, write_study
from tests.tiny_runs import files


EVALUATE = ["--lengths", "3,6,9", "--examples", "100"]


def run(capsys, *argv) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in argv])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def run_json(capsys, *argv):
    code, out, _ = run(capsys, *argv, "--json")
    assert code == 0
    return json.loads(out)


@pytest.mark.versions
def test_help_and_tasks_load_nothing_heavy():
    program = """
import json, sys
from eval_harness.cli import main as cli
codes = [cli.main(["--help"]), cli.main(["evaluate", "--help"]), cli.main(["tasks"]), cli.main(["tasks", "parity"])]
heavy = {"torch", "transformers", "datasets", "pyarrow", "scipy", "matplotlib", "hf_models"} & set(sys.modules)
print(json.dumps([codes, sorted(heavy)]), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr.splitlines()[-1]) == [[0, 0, 0, 0], []]
    assert all(command in done.stdout for command in ("tasks", "models", "run", "evaluate", "report", "publish"))


def test_the_console_script_ends_with_the_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["longreach", "tasks", "paritty"])
    with pytest.raises(SystemExit) as stop:
        cli.script()
    assert stop.value.code == 2


def test_tasks_lists_every_task(capsys):
    code, out, err = run(capsys, "tasks")
    assert (code, err) == (0, "")
    assert all(name in out for name in list_tasks())
    rows = run_json(capsys, "tasks")
    assert sorted(row["task"] for row in rows) == list_tasks()
    skills = [row["skill"] for row in rows]
    assert skills == sorted(skills, key=SKILLS.index)
    for row in rows:
        task = get_task(row["task"])
        assert row["formats"] == list(task.formats)
        assert row["question"]
        assert row["examples"] == [list(pair) for pair in task.examples]


def test_a_task_is_shown_with_examples_that_are_right(capsys):
    shown = run_json(capsys, "tasks", "majority:letters=3", "--length", 6)
    assert shown["task"] == "majority:letters=3"
    assert shown["options"] == {"letters": 3}
    assert len(shown["drawn"]) == 4
    for asked, answer in shown["drawn"]:
        symbols = asked.split()
        assert len(symbols) == 6
        assert symbols.count(answer.split()[0]) == max(map(symbols.count, symbols))
    code, out, _ = run(capsys, "tasks", "majority:letters=3", "--length", 6)
    assert code == 0
    assert " → ".join(shown["drawn"][0]) in out
    assert run(capsys, "tasks", "show", "majority:letters=3", "--length", 6) == (0, out, "")


def test_tasks_of_a_file_are_checked(capsys, own_folder, own_task):
    path = own_folder / "own_task.py"
    path.write_text(own_task, encoding="utf-8")
    code, out, err = run(capsys, "tasks", "check", path)
    assert (code, err) == (0, "")
    assert "own_task.last" in out
    assert "a perfect answerer" in out
    findings = run_json(capsys, "tasks", "check", path)
    assert {found["verdict"] for found in findings} == {"passed"}


def test_a_failed_check_is_exit_code_1(capsys, own_folder, own_task):
    path = own_folder / "own_task.py"
    path.write_text(own_task.replace('"2"),)', '"1"),)'), encoding="utf-8")
    code, out, _ = run(capsys, "tasks", "check", path, "--json")
    assert code == 1
    assert [found["check"] for found in json.loads(out) if found["verdict"] == "failed"] == ["its examples are true"]


@pytest.mark.versions
def test_a_task_is_exported(capsys, tmp_path):
    folder = tmp_path / "rows"
    code, out, err = run(capsys, "tasks", "export", "parity", "--lengths", "5,9", "--examples", 20, "--output", folder)
    assert (code, out, err) == (0, f"Data set: {folder}\n", "")
    assert len(read_table(folder / "data" / "length_9" / "test.parquet")) == 20


@pytest.mark.slow
def test_models_lists_every_model_at_the_budget(capsys):
    code, out, _ = run(capsys, "models", "--budget", "20k")
    assert code == 0
    assert all(name in out for name in ARCHITECTURES)
    rows = run_json(capsys, "models", "--budget", "20k")
    assert [row["model"] for row in rows] == list(ARCHITECTURES)
    assert all(abs(row["parameters"]["counted"] - 20_000) <= 600 for row in rows)


@pytest.mark.parametrize(("text", "number"), [("100000", 100_000), ("100k", 100_000), ("1.5M", 1_500_000), (" 7 ", 7)])
def test_quantities_are_read(text, number):
    assert cli.parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "0", "0.1", "-5", "1e5", "100 k", "1,000", "many"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(HarnessError, match="write 100000, 100k"):
        cli.parse_quantity(text)


@pytest.mark.versions
def test_evaluate_prints_what_it_keeps_in_the_run(capsys, tiny_run):
    rows = run_json(capsys, "evaluate", tiny_run, *EVALUATE)
    [cell] = (tiny_run / "evaluations").iterdir()
    assert rows == read_table(cell / "lengths.parquet")
    assert [row["length"] for row in rows] == [3, 6, 9]
    before = files(tiny_run)
    code, out, err = run(capsys, "evaluate", tiny_run, *EVALUATE)
    assert (code, err) == (0, "")
    assert f"{rows[2]['exact_low']:.3f} to {rows[2]['exact_high']:.3f}" in out
    assert files(tiny_run) == before


@pytest.mark.versions
def test_evaluate_takes_a_folder_that_is_no_run(capsys, tiny_run):
    expected = run_json(capsys, "evaluate", tiny_run, *EVALUATE)
    for name in ("run.json", "specification.json"):
        (tiny_run / name).unlink()
    before = files(tiny_run)
    rows = run_json(capsys, "evaluate", tiny_run, "--task", "duplicate", *EVALUATE)
    assert [row["exact"] for row in rows] == [row["exact"] for row in expected]
    assert [row["split"] for row in rows] == ["reach"] * 3
    assert files(tiny_run) == before


REFUSALS = {
    "unknown task": (["tasks", "paritty"], "Did you mean 'parity'"),
    "no such file to check": (["tasks", "check", "none.py"], "There is no file none.py"),
    "length to export": (["tasks", "export", "parity", "--lengths", "0", "--output", "x"], "has no length 0"),
    "split to export": (
        ["tasks", "export", "parity", "--lengths", "5", "--output", "x", "--splits", "tests"],
        "Did you mean 'test'",
    ),
    "no examples": (
        ["tasks", "export", "parity", "--lengths", "5", "--output", "x", "--examples", "0"],
        "at least one length, one split and one example",
    ),
    "folder that exists": (["tasks", "export", "parity", "--lengths", "5", "--output", "run"], "exists already"),
    "no generating": (
        ["tasks", "export", "flip_flop", "--lengths", "6", "--output", "x", "--lm-eval"],
        "has no autoregressive format",
    ),
    "unknown option": (["tasks", "majority:leters=3"], "Did you mean 'letters'"),
    "length 0": (["tasks", "parity", "--length", "0"], "has no length 0"),
    "odd length": (["tasks", "flip_flop", "--length", "7"], "the nearest valid ones are 6, 8"),
    "budget in words": (["models", "--budget", "lots"], "Cannot read 'lots'"),
    "budget that cannot be met": (["models", "--budget", "3"], "budget of 3"),
    "unknown study": (["run", "quikstart"], "Did you mean 'quickstart'"),
    "another task": (["evaluate", "RUN", "--task", "flip_flop"], "another vocabulary than task 'flip_flop'"),
    "unknown task to evaluate": (["evaluate", "RUN", "--task", "paritty"], "Did you mean 'parity'"),
    "unknown format": (["evaluate", "RUN", "--format", "paralel"], "Did you mean 'parallel'"),
    "lengths in words": (["evaluate", "RUN", "--lengths", "3,six"], "write whole numbers with commas"),
    "length 0 to evaluate": (["evaluate", "RUN", "--lengths", "0,6"], "has no length 0"),
    "factor 1": (["evaluate", "RUN", "--factor", "1"], "must be above 1"),
    "too few examples": (["evaluate", "RUN", "--examples", "20"], "at least 100"),
    "no such folder": (["evaluate", "NOWHERE", "--task", "parity", "--lengths", "3"], "Cannot load a model"),
    "nothing says which task": (["evaluate", "NOWHERE"], "name the task"),
    "report on a missing folder": (["report", "NOWHERE"], "no study folder"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_wrong_input_is_one_line_and_writes_nothing(case, capsys, tiny_run, tmp_path, monkeypatch):
    argv, words = REFUSALS[case]
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    code, out, err = run(
        capsys, *(word.replace("RUN", "run").replace("NOWHERE", str(tmp_path / "no")) for word in argv)
    )
    assert (code, out) == (2, "")
    assert err.startswith("longreach: ")
    assert err.count("\n") == 1
    assert words in err
    assert files(tmp_path) == before


@pytest.mark.versions
@pytest.mark.parametrize(
    "argv", [["frobnicate"], ["evaluate"], ["run", "quickstart", "--processes", "0"], ["run", "--x"]]
)
def test_wrong_usage_has_the_same_code_and_no_traceback(argv, capsys):
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert "Usage" in err
    assert "Traceback" not in err


def test_a_cut_table_is_named_with_the_way_out(capsys, tiny_run):
    run_json(capsys, "evaluate", tiny_run, *EVALUATE)
    [table] = tiny_run.glob("evaluations/*/lengths.parquet")
    table.write_bytes(table.read_bytes()[:200])
    code, _, err = run(capsys, "evaluate", tiny_run, *EVALUATE)
    assert code == 2
    assert err == f"longreach: {table} is not a complete Parquet file; delete it and run the same command again.\n"
    table.unlink()
    assert len(run_json(capsys, "evaluate", tiny_run, *EVALUATE)) == 3


@pytest.mark.versions
def test_run_reports_what_it_ran_and_report_does_so_again(capsys, tmp_path, monkeypatch):
    asked = []

    def run_study(chosen, output, processes, announce):
        asked.append((chosen, output, processes))
        announce("2 of 2 runs to do")
        return write_study(output / "quickstart", MODELS[:2], TASKS[:1], seeds=(1,))

    monkeypatch.setattr(study, "run_study", run_study)
    code, out, _ = run(capsys, "run", "quickstart", "--output", tmp_path, "--processes", 2)
    assert code == 0
    assert asked == [(study.get_study("quickstart"), tmp_path, 2)]
    page = tmp_path / "quickstart" / "report" / "report.html"
    assert out.startswith("2 of 2 runs to do\n")
    assert out.endswith(f"Report: {page}\n")
    assert MODELS[0].name in out
    assert all(model.name in page.read_text() for model in MODELS[:2])
    code, out, _ = run(capsys, "report", tmp_path / "quickstart", "--output", tmp_path / "elsewhere")
    assert code == 0
    assert MODELS[0].name in out
    assert (tmp_path / "elsewhere" / "report.html").exists()
