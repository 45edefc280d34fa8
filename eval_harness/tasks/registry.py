"""The registry of tasks by name or key: ours, those of plug-ins, and those of users' own files."""

from dataclasses import fields
from typing import Any, TypeVar

from eval_harness.errors import HarnessError, unknown
from eval_harness.tasks.plugins import import_own_file, load_plugins
from eval_harness.tasks.task import SKILLS, Task


AnyTask = TypeVar("AnyTask", bound=Task)
_TASKS: dict[str, type[Task]] = {}


def register_task(task: type[AnyTask]) -> type[AnyTask]:
    """Class decorator: registers a task under its name.

    Raises:
        HarnessError: another class already has the name, or the skill is not in `SKILLS`.
    """
    if task.skill not in SKILLS:
        raise unknown(f"skill of task {task.name!r}:", task.skill, SKILLS)
    other = _TASKS.get(task.name, task)
    if (other.__module__, other.__qualname__) != (task.__module__, task.__qualname__):
        raise HarnessError(f"Task name {task.name!r} is taken by {other.__module__}.{other.__qualname__}.")
    _TASKS[task.name] = task
    return task


def list_tasks() -> list[str]:
    """The names of all tasks, sorted: ours, those of installed plug-ins, and those of files that were imported."""
    load_plugins()
    return sorted(_TASKS)


def get_task(name: str, **options: object) -> Task:
    """Makes a task from its name or key ("majority", "majority:letters=5"); keyword options override those of the key.

    Where no task has the name, `file.task` is looked for in `file.py` on the Python path.

    Raises:
        HarnessError: for an unknown task or option, a value that the option cannot have, or a file that is not there.
    """
    name, _, text = name.partition(":")
    task = _find_class(name)
    given: dict[str, Any] = {}
    for pair in text.split(",") if text else ():
        option, equals, value = pair.partition("=")
        if not equals:
            raise HarnessError(f"Cannot read {pair!r} in task {name!r}; write options as {name}:option=value.")
        given[option.strip()] = value.strip()
    given |= options
    allowed = [field.name for field in fields(task)]
    for option in given:
        if option not in allowed:
            raise _unknown_option(name, option, allowed)
    return task(**given)


def _find_class(name: str) -> type[Task]:
    if name not in _TASKS:
        load_plugins()
    if name not in _TASKS and "." in name:
        import_own_file(name)
    if name not in _TASKS:
        raise unknown("task", name, _TASKS)
    return _TASKS[name]


def _unknown_option(task: str, option: str, allowed: list[str]) -> HarnessError:
    if not allowed:
        return HarnessError(f"Task {task!r} has no options, so not {option!r} either.")
    return unknown(f"option of task {task!r}:", option, allowed)
