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

from eval_harness.evaluation import evaluate_run
from eval_harness.launch import run_jobs
from eval_harness.results import load_study, read_json, read_table
from eval_harness.study import plan, run_study
from tests.eval_harness.small_study import long_study
from tests.tiny_runs import train_quietly


def wait_for(condition, seconds: float, what: str):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return found


def begin(output: Path, steps: int = 150) -> subprocess.Popen:
    """The study as a program, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.eval_harness.small_study", str(output), str(steps)],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def steps_saved(output: Path) -> int:
    """The greatest step of a whole checkpoint."""
    whole = output.glob("small/*/checkpoints/checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.split("-")[1]) for path in whole), default=0)


def kill(program: subprocess.Popen, output: Path, step: int, group: bool):
    """Kills the program, or all of its group, when the step is saved; returns the processes it had."""
    wait_for(lambda: steps_saved(output) >= step or program.poll() is not None, 120, f"step {step}")
    assert program.poll() is None, "the study was done before it could be killed"
    children = psutil.Process(program.pid).children(recursive=True)
    (os.killpg if group else os.kill)(program.pid, signal.SIGKILL)
    program.wait()
    return children


@pytest.fixture
def threads():
    """The number of threads, set back in the end."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_study_that_is_killed_twice_ends_like_one_that_is_not(tmp_path, threads):
    killed = tmp_path / "killed"
    kill(begin(killed), killed, step=30, group=True)
    assert not list(killed.glob("small/*/run.json"))
    reached = steps_saved(killed)

    workers = kill(begin(killed), killed, step=reached + 20, group=False)
    assert len(workers) >= 2
    wait_for(lambda: not any(worker.is_running() for worker in workers), 20, "the workers to end with their parent")
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
def test_an_interrupt_stops_everything_at_once_and_keeps_the_checkpoints(tmp_path):
    steps = 20_000  # far more than there is time for
    program = begin(tmp_path, steps)
    try:
        wait_for(lambda: steps_saved(tmp_path) >= 10, 120, "step 10")
        workers = psutil.Process(program.pid).children(recursive=True)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
        assert program.wait(timeout=30) != 0
    finally:
        program.kill()
    wait_for(lambda: not any(worker.is_running() for worker in workers), 10, "the workers to end")
    assert steps_saved(tmp_path) >= 10
    assert len(plan(long_study(steps), tmp_path / "small")) == 2


def test_no_jobs_start_no_processes(monkeypatch):
    monkeypatch.setattr("eval_harness.launch.ProcessPoolExecutor", None)
    run_jobs([], 2)
