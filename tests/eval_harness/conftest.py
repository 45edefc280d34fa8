"""Files of a user's own: a folder on the Python path, and a task as one would write it."""

import sys
from pathlib import Path

import pytest


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A folder on the Python path; what is imported and registered from it is forgotten afterwards."""
    from eval_harness.tasks import plugins, registry

    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    plugins.load_plugins.cache_clear()
    yield tmp_path
    plugins.load_plugins.cache_clear()
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture(scope="session")
def own_task():
    """The content of such a file: `own_task.py` with the task `own_task.last`."""
    return (Path(__file__).parent / "own_task.py").read_text(encoding="utf-8")
