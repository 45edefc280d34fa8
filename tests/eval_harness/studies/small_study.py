"""A study that takes seconds, also as a program that is killed once a checkpoint is saved.

    python -m tests.eval_harness.studies.small_study OUTPUT STEPS

KILL_AT names the step, and KILLED whether the "program" or the "group" of all its processes is killed. A worker
kills, so that nobody has to look at the right moment.
"""

import os
import signal
import sys

from transformers import Trainer

from eval_harness.specification import Evaluation, TrainingRun
from eval_harness.studies.study import Study, run_study


SIZES = {"budget": 6_000, "train_length": 6, "table_factor": 4.0, "batch_size": 8}


def small_study(steps: int = 20, models=("transformer-none", "transformer-rope"), **changes) -> Study:
    """Two models on one task."""
    return Study(
        name="small",
        question="Does a study do what it says?",
        runs=tuple(
            TrainingRun(**{"task": "parity", "model": model, "steps": steps, **SIZES, **changes}) for model in models
        ),
        evaluation=Evaluation(examples=100, lengths=(4, 6, 9)),
    )


def long_study(steps: int = 150) -> Study:
    """Long enough to be killed in the middle, with many checkpoints."""
    return small_study(steps=steps, trainer={"save_steps": 10})


def kill_after_saving(step: int, killed: str):
    """Makes the trainers of this process kill once a checkpoint of this step or a later one is complete."""
    save = Trainer._save_checkpoint

    def save_and_kill(trainer, *given, **options):
        save(trainer, *given, **options)
        if trainer.state.global_step >= step:
            if killed == "group":
                os.killpg(os.getpgrp(), signal.SIGKILL)
            os.kill(os.getppid(), signal.SIGKILL)

    Trainer._save_checkpoint = save_and_kill


if "KILL_AT" in os.environ:  # in the workers, which import this module
    kill_after_saving(int(os.environ["KILL_AT"]), os.environ["KILLED"])

if __name__ == "__main__":
    # A program that was started in the background inherits an ignored interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_study(long_study(int(sys.argv[2])), sys.argv[1], processes=2)
