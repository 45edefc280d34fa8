"""Longreach's harness: trains sequence models on short sequences and scores them on long ones.

The names below load what they need when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from eval_harness.exporting import export_task, to_dataset
    from eval_harness.publishing.model_repository import publish
    from eval_harness.reporting import make_report
    from eval_harness.scoring.evaluate import evaluate_run, score
    from eval_harness.specification import Evaluation, TrainingRun
    from eval_harness.studies.study import Study, get_study, run_study
    from eval_harness.training.train import train

_MODULES = {
    "Evaluation": "specification",
    "Study": "studies.study",
    "TrainingRun": "specification",
    "evaluate_run": "scoring.evaluate",
    "export_task": "exporting",
    "get_study": "studies.study",
    "make_report": "reporting",
    "publish": "publishing.model_repository",
    "run_study": "studies.study",
    "score": "scoring.evaluate",
    "to_dataset": "exporting",
    "train": "training.train",
}

__all__ = ["Evaluation", "Study", "TrainingRun", "evaluate_run", "export_task", "get_study"]
__all__ += ["make_report", "publish", "run_study", "score", "to_dataset", "train"]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
