"""The tasks: a folder per language class or skill, a file per task. Every file here is imported with the package."""

from importlib import import_module
from pkgutil import walk_packages

from eval_harness.tasks.corpus import Corpus
from eval_harness.tasks.registry import get_task, list_tasks, register_task
from eval_harness.tasks.sample import Answer, Sample
from eval_harness.tasks.task import SKILLS, Task


for _module in walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = ["SKILLS", "Answer", "Corpus", "Sample", "Task", "get_task", "list_tasks", "register_task"]
