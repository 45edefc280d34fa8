"""Where runs run: in local processes with their share of the cores each.

A job runs in a process that may be killed at any moment; the next one resumes from its files.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from eval_harness.errors import HarnessError
from eval_harness.specification import Evaluation, TrainingRun


LENGTH_UNITS = 10  # scoring a length takes about as long as ten steps: for the estimate of the time left


@dataclass(frozen=True)
class Job:
    """A run to train and evaluate.

    Attributes:
        run: the training run.
        evaluation: how it is tested.
        folder: where it goes.
        study: the study it belongs to.
        lengths: number of lengths that will be scored.
    """

    run: TrainingRun
    evaluation: Evaluation
    folder: Path
    study: str
    lengths: int

    @property
    def units(self) -> int:
        """How much work it is, in training steps."""
        return self.run.steps + LENGTH_UNITS * self.lengths


def run_jobs(jobs: list[Job], processes: int) -> None:
    """Runs all jobs, `processes` at a time, with one progress bar. An interrupt stops all of them at once.

    Args:
        jobs: the jobs, in this order.
        processes: how many at a time.

    Raises:
        HarnessError: a job could not be done; the others that had begun are finished first.
    """
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    threads = max(1, (os.cpu_count() or 1) // processes)
    executor = ProcessPoolExecutor(
        processes, context, initializer=_start_worker, initargs=(done, os.getpid(), threads)
    )
    total = sum(job.units for job in jobs)
    others = multiprocessing.active_children()
    try:
        with tqdm(total=total, unit="step", unit_scale=True, desc=f"0/{len(jobs)} runs", smoothing=0.05) as bar:
            _follow([executor.submit(_do, job) for job in jobs], done, bar)
    except BrokenProcessPool as error:
        raise HarnessError("A worker process died; run the same command again to go on.") from error
    except KeyboardInterrupt:
        # Python would wait for the jobs at its exit; what they have finished is on disk.
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.kill()
        raise
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _follow(futures: list[Future], done, bar: tqdm) -> None:
    """Moves the bar until all futures are done; the first error cancels what has not begun."""
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        bar.set_description(f"{len(futures) - len(waiting)}/{len(futures)} runs", refresh=False)
        bar.update(done.value - bar.n)
        for future in finished:
            if future.cancelled() or not (error := future.exception()):
                continue
            for other in waiting:
                other.cancel()
            wait(other for other in waiting if not other.cancelled())
            raise error


_done: Any = None  # the worker's share of the bar, set once when the process starts


def _start_worker(done, parent: int, threads: int) -> None:
    global _done
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    from transformers.utils import logging as transformers_logging

    torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("torch").setLevel(logging.ERROR)
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int) -> None:
    """Ends this process when the one that started it is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _advance(units: int) -> None:
    with _done.get_lock():
        _done.value += units


def _do(job: Job) -> None:
    # Imported here, in the worker: the process that follows the bar needs neither torch nor transformers.
    from transformers import TrainerCallback

    from eval_harness.results.folders import RunFolder
    from eval_harness.scoring.evaluate import evaluate_run
    from eval_harness.training.arguments import default_arguments
    from eval_harness.training.train import train

    class Progress(TrainerCallback):
        """Moves the bar at every step; a resumed run begins where it was."""

        def on_train_begin(self, args, state, control, **kwargs):
            self.reported = 0

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step % 10 == 0 or state.global_step == state.max_steps:
                _advance(state.global_step - self.reported)
                self.reported = state.global_step

    arguments = default_arguments(job.run, job.folder, disable_tqdm=True)
    trained = RunFolder(job.folder).is_trained
    train(job.run, job.folder, arguments, callbacks=(Progress(),), study=job.study, quiet=True)
    if trained:
        _advance(job.run.steps)
    evaluate_run(job.folder, job.evaluation, progress=lambda length: _advance(LENGTH_UNITS))
