"""Runs in processes that may be killed at any moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from eval_harness.results.files import read_json, read_table
from eval_harness.results.folders import load_study
from eval_harness.scoring.evaluate import evaluate_run
from eval_harness.studies.launch import run_jobs
from eval_harness.studies.study import plan, run_study
from tests.eval_harness.studies.small_study import long_study
from tests.tiny_runs import train_quietly


HANG = 600  # seconds that nothing takes unless it hangs


def wait_for(condition, what: str):
    end = time.monotonic() + HANG
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {HANG} s for {what}"
        time.sleep(0.02)
    return found


def begin(output: Path, steps: int = 150, **environment: str) -> subprocess.Popen:
    """The study as a program, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.eval_harness.studies.small_study", str(output), str(steps)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **environment},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def steps_saved(output: Path) -> int:
    """The greatest step of a whole checkpoint."""
    whole = output.glob("small/*/checkpoints/checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.split("-")[1]) for path in whole), default=0)


def group_of(program: subprocess.Popen) -> list[psutil.Process]:
    """The living processes of a program's group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == program.pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def run_until_killed(output: Path, step: int, killed: str):
    """Runs the program until one of its workers kills it; all of its processes have ended then."""
    program = begin(output, KILL_AT=str(step), KILLED=killed)
    assert program.wait(timeout=HANG) == -signal.SIGKILL
    wait_for(lambda: not group_of(program), "the workers to end with their parent")


@pytest.fixture
def threads():
    """The number of threads, set back in the end."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.timeout(3 * HANG)
def test_a_study_that_is_killed_twice_ends_like_one_that_is_not(tmp_path, threads):
    killed = tmp_path / "killed"
    run_until_killed(killed, 30, "group")
    assert not list(killed.glob("small/*/run.json"))
    reached = steps_saved(killed)
    assert reached >= 30

    run_until_killed(killed, reached + 20, "program")
    assert steps_saved(killed) > reached
    assert len(plan(long_study(), killed / "small")) == 2

    run_study(long_study(), killed, processes=2)
    results = {result.folder.name: result for result in load_study(killed / "small")}
    assert len(results) == 2
    assert not list(killed.rglob("checkpoint-*"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # as the two workers do
    for run in long_study().runs:
        result, unbroken = results[run.folder_name()], train_quietly(run, tmp_path / run.model)
        for name in ("weights_digest", "final_loss", "run_id"):
            assert result.run[name] == read_json(unbroken / "run.json")[name]
        cell = evaluate_run(unbroken, long_study().evaluation)
        examples = [
            read_table(folder / "examples.parquet")
            for folder in (cell, result.folder / "evaluations" / result.cell["cell_id"])
        ]
        assert examples[0] == examples[1]


@pytest.mark.slow
@pytest.mark.timeout(3 * HANG)
def test_an_interrupt_stops_everything_at_once_and_keeps_the_checkpoints(tmp_path):
    steps = 20_000  # far more than there is time for
    program = begin(tmp_path, steps)
    try:
        wait_for(lambda: steps_saved(tmp_path) >= 10, "step 10")
        workers = psutil.Process(program.pid).children(recursive=True)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
        assert program.wait(timeout=HANG) != 0
    finally:
        program.kill()
    wait_for(lambda: not any(worker.is_running() for worker in workers), "the workers to end")
    assert steps_saved(tmp_path) >= 10
    assert len(plan(long_study(steps), tmp_path / "small")) == 2


def test_no_jobs_start_no_processes(monkeypatch):
    monkeypatch.setattr("eval_harness.studies.launch.ProcessPoolExecutor", None)
    run_jobs([], 2)
