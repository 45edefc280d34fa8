"""A study: a question, and the runs that answer it."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from eval_harness.errors import HarnessError, unknown
from eval_harness.results.files import write_json
from eval_harness.results.folders import StudyFolder
from eval_harness.scoring.protocol import test_lengths
from eval_harness.specification import Evaluation, TrainingRun
from eval_harness.studies.launch import Job, run_jobs


CATALOGUE = Path(__file__).parent / "catalogue"  # found by path: its files import this one


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a user runs with one command.

    Attributes:
        name: its name and its folder's.
        question: its question, in one sentence.
        runs: the training runs.
        evaluation: how each is tested.
    """

    name: str
    question: str
    runs: tuple[TrainingRun, ...]
    evaluation: Evaluation

    def __post_init__(self):
        names = [run.folder_name() for run in self.runs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise HarnessError(f"Study {self.name} has a run twice: {twice[0]}.")


def list_studies() -> list[str]:
    """The names of all studies."""
    return sorted(module.name for module in iter_modules([str(CATALOGUE)]))


def get_study(name: str) -> Study:
    """The study of that name.

    Raises:
        HarnessError: there is none.
    """
    if name not in list_studies():
        raise unknown("study", name, list_studies())
    return import_module(f"eval_harness.studies.catalogue.{name}").STUDY


def run_study(
    study: Study,
    output: Path | str = "runs",
    processes: int | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> Path:
    """Trains and scores the runs that are not finished yet; the same call resumes an interrupted study.

    Args:
        study: the study.
        output: the folder that the study's folder goes into.
        processes: how many runs at a time; as many as there are cores by default.
        announce: called with a line about the runs to be done.

    Returns:
        The study's folder.

    Raises:
        HarnessError: the folder holds runs of another study.
    """
    folder = StudyFolder(Path(output) / study.name)
    names = {run.folder_name() for run in study.runs}
    if folder.path.exists():
        others = [run.name for run in folder.runs() if run.name not in names]
        if others:
            raise HarnessError(
                f"{folder.path} holds {len(others)} runs of another specification of {study.name} ({others[0]} …); "
                "choose another output folder, or move them."
            )
    write_json(folder.description, asdict(study))
    jobs = plan(study, folder.path)
    announce(f"{study.name}: {len(jobs)} of {len(study.runs)} runs to do")
    run_jobs(jobs, min(processes or os.cpu_count() or 1, max(1, len(jobs))))
    return folder.path


def plan(study: Study, folder: Path) -> list[Job]:
    """The runs that are not finished, as jobs."""
    jobs = []
    for run in study.runs:
        problem = run.problem
        cell_id = study.evaluation.identity(run.identity(), problem.task, run.format, run.bos)
        run_folder = StudyFolder(folder).run(run.folder_name())
        if run_folder.is_complete(cell_id):
            continue
        lengths = study.evaluation.lengths or test_lengths(problem.task, run.train_length, study.evaluation.factor).all
        jobs.append(Job(run, study.evaluation, run_folder.path, study.name, len(lengths)))
    return jobs
