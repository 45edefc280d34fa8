"""Tasks of installed packages and of users' own files."""

import logging
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from eval_harness.errors import HarnessError


ENTRY_POINTS = "longreach.tasks"

logger = logging.getLogger(__name__)


@cache
def load_plugins() -> None:
    """Imports, once, the modules that installed packages name as entry points of the group `longreach.tasks`.

    One that cannot be imported is reported in a sentence; the others are there all the same.
    """
    for plugin in entry_points(group=ENTRY_POINTS):
        try:
            plugin.load()
        except Exception as error:  # whatever foreign code raises
            package = f" of package {plugin.dist.name!r}" if plugin.dist else ""
            logger.warning("Task plug-in %r%s cannot be loaded: %s.", plugin.value, package, describe(error))


def import_own_file(name: str) -> None:
    """Imports the file of a task that is named `file.task`.

    Raises:
        HarnessError: there is no such file on the Python path, or it cannot be imported.
    """
    file = name.rpartition(".")[0]
    try:
        import_module(file)
    except Exception as error:  # whatever the user's code raises
        if isinstance(error, ModuleNotFoundError) and error.name == file:
            raise HarnessError(
                f"Task {name!r} needs {file}.py: run where that file is, or put its folder on the Python path "
                "(PYTHONPATH)."
            ) from None
        raise HarnessError(f"Task {name!r} cannot be loaded: {file}.py raises {describe(error)}.") from error


def describe(error: Exception) -> str:
    """An error in one line, without its full stop."""
    message = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
