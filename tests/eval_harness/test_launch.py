"""Runs in processes that may be killed at any moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from eval_harness.launch import run_jobs
from eval_harness.results import load_study, read_table, run_folders
from eval_harness.study import plan, run_study
from tests.eval_harness.small_study import long_study


def wait_for(condition, seconds: float, what: str):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return found


def begin(output: Path) -> subprocess.Popen:
    """The study as a program, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.eval_harness.small_study", str(output)],
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


@pytest.mark.slow
def test_a_study_that_is_killed_twice_ends_like_one_that_is_not(tmp_path):
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    kill(begin(killed), killed, step=30, group=True)
    assert not list(killed.glob("small/*/run.json"))
    reached = steps_saved(killed)

    workers = kill(begin(killed), killed, step=reached + 20, group=False)
    assert len(workers) >= 2
    wait_for(lambda: not any(worker.is_running() for worker in workers), 20, "the workers to end with their parent")
    assert len(plan(long_study(), killed / "small")) == 2

    for output in (killed, unbroken):
        run_study(long_study(), output, processes=2)
    pairs = list(zip(load_study(killed / "small"), load_study(unbroken / "small"), strict=True))
    assert len(pairs) == 2
    for after_kills, without in pairs:
        assert after_kills.run["weights_digest"] == without.run["weights_digest"]
        assert after_kills.run["final_loss"] == without.run["final_loss"]
        tables = [
            read_table(result.folder / "evaluations" / result.cell["cell_id"] / "examples.parquet")
            for result in (after_kills, without)
        ]
        assert tables[0] == tables[1]
    assert not list(killed.rglob("checkpoint-*"))
    assert [path.name for path in run_folders(killed / "small")] == [
        path.name for path in run_folders(unbroken / "small")
    ]


def test_no_jobs_start_no_processes(monkeypatch):
    monkeypatch.setattr("eval_harness.launch.ProcessPoolExecutor", None)
    run_jobs([], 2)
