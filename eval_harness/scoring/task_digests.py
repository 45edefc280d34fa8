"""Finds the tasks to check, and compares their data between processes."""

import hashlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from eval_harness.errors import HarnessError
from eval_harness.tasks import Task, get_task, list_tasks
from eval_harness.tasks.plugins import describe


def find_tasks(source: str) -> list[Task]:
    """The tasks that a file registers, with their default options, or the one that is named.

    Raises:
        HarnessError: see `check_tasks`.
    """
    if not source.endswith(".py"):
        return [get_task(source)]
    path = Path(source).resolve()
    if not path.is_file():
        raise HarnessError(f"There is no file {source}.")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        module = import_module(path.stem)
    except Exception as error:  # whatever the user's code raises
        raise HarnessError(f"{source} cannot be imported: {describe(error)}.") from error
    if Path(module.__file__ or "").resolve() != path:
        raise HarnessError(f"{source} has the name of another module, {module.__file__}; rename it.")
    found = [task for task in map(get_task, list_tasks()) if type(task).__module__ == path.stem]
    if not found:
        raise HarnessError(f"{source} registers no task; put @register_task above its class.")
    return found


def tried_lengths(task: Task) -> list[int]:
    """The six shortest lengths, and those next to 20 and 40."""
    valid = [length for length in range(1, 500) if task.valid_length(length)]
    near = [max((length for length in valid if length <= most), default=valid[-1]) for most in (20, 40)]
    return sorted({*valid[:6], *near})


def digest_of(task: Task) -> str:
    """A digest of the task's data."""
    digest = hashlib.sha256()
    for length in tried_lengths(task):
        for array in vars(task.sample(length, 300, seed=0)).values():
            digest.update(b"" if array is None else array.tobytes())
    return digest.hexdigest()


def print_digests(source: str) -> None:
    """Prints the digest of every task's data as a line of JSON, for another process."""
    digests = {}
    for task in find_tasks(source):
        with suppress(Exception):  # an error in the task's code, which the checks report
            digests[task.key()] = digest_of(task)
    sys.stdout.write("\n" + json.dumps(digests) + "\n")


def digests_elsewhere(source: str) -> dict[str, str]:
    """The digests in a fresh process with another hash seed."""
    program = "import sys; from eval_harness.scoring.task_digests import print_digests; print_digests(sys.argv[1])"
    environment = os.environ | {
        "PYTHONHASHSEED": "20",
        "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, source], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise HarnessError(f"{source} cannot be imported in a fresh process: {done.stderr.strip().splitlines()[-1]}.")
    return json.loads(done.stdout.splitlines()[-1])
