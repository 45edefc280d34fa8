"""A study that takes seconds; `python -m tests.eval_harness.small_study OUTPUT STEPS` is one that can be killed."""

import signal
import sys

from eval_harness.specification import Evaluation, TrainingRun
from eval_harness.study import Study, run_study


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


if __name__ == "__main__":
    # A program that was started in the background inherits an ignored interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_study(long_study(int(sys.argv[2])), sys.argv[1], processes=2)
