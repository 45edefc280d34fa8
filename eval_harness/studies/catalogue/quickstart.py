"""The demo: which of six small models, of one size and trained up to length 20, still works at length 100?

Majority favours attention beyond the training length, flip-flop favours recurrence. Two seeds on one budget with fixed
learning rates are an illustration, not a claim: the protocol requires five seeds and a tuned learning rate.
"""

from typing import Any

from eval_harness.specification import Evaluation, TrainingRun
from eval_harness.studies.study import Study


TASKS = {"majority:letters=5": 300, "flip_flop": 800}  # steps until most models have learned
MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"learning_rate": 3e-3},
    "transformer-none": {"learning_rate": 2e-3},
    "transformer-sinusoidal": {"learning_rate": 2e-3},
    "transformer-rope": {"learning_rate": 2e-3},
    "transformer-alibi": {"learning_rate": 2e-3},
    "universal_transformer-rope": {"learning_rate": 2e-3, "config": {"num_steps": 2}},
}
SEEDS = (0, 1)

STUDY = Study(
    name="quickstart",
    question="Trained up to length 20, which of these models of one size still works at length 100?",
    runs=tuple(
        TrainingRun(task=task, model=model, train_length=20, steps=steps, seed=seed, **chosen)
        for seed in SEEDS
        for task, steps in TASKS.items()
        for model, chosen in MODELS.items()
    ),
    evaluation=Evaluation(factor=5.0, examples=256),
)
