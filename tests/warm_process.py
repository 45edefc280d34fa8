"""New Python processes that start quickly: forks of a server that has imported torch, transformers and the like.

`run` does what `python script.py ...` does: the script has a process, a folder, arguments and an environment of its
own, and imports Longreach again. Only what the libraries read while they are imported (HF_HOME, HF_HUB_OFFLINE) is
the server's: an empty home, and no network. A test of what is imported at all starts a real process.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path


LIBRARIES = (
    *("torch", "transformers", "transformers.modeling_utils", "transformers.trainer", "transformers.pipelines"),
    *("transformers.generation.utils", "transformers.masking_utils", "transformers.modeling_layers"),
    *(
        "accelerate",
        "datasets",
        "scipy.stats",
        "pyarrow.parquet",
        "matplotlib.pyplot",
        "rich.console",
        "typer",
        "yaml",
    ),
)


def run(
    script: Path | str, *arguments: str, cwd: Path, environment: dict | None = None, timeout: float = 800
) -> subprocess.CompletedProcess:
    """Runs a script in a process of its own and waits for its end.

    Args:
        script: its path.
        arguments: those of the command line.
        cwd: the folder in which it runs.
        environment: all variables; those of this process by default.
        timeout: seconds; a script that takes longer is killed, and that is an error.
    """
    argv, environment = [str(script), *arguments], dict(os.environ if environment is None else environment)
    if sys.platform != "linux":  # elsewhere a fork of loaded libraries may crash
        options = {"cwd": cwd, "env": environment, "capture_output": True, "text": True, "timeout": timeout}
        return subprocess.run([sys.executable, *argv], **options, check=False)
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder) / name for name in ("stdout", "stderr")]
        request = {"argv": argv, "cwd": str(cwd), "environment": environment, "printed": list(map(str, printed))}
        code = _ask(request, timeout)
        return subprocess.CompletedProcess(argv, code, *(path.read_text(encoding="utf-8") for path in printed))


def _ask(request: dict, timeout: float) -> int:
    """Sends a request to the server; returns the exit code."""
    server = _server()
    server.stdin.write(json.dumps(request).encode() + b"\n")
    server.stdin.flush()
    if not select.select([server.stdout], [], [], timeout)[0]:
        _stop(server)
        raise subprocess.TimeoutExpired(request["argv"], timeout)
    answer = server.stdout.readline()
    assert answer, "the server of warm processes died"
    return int(answer)


@cache
def _server() -> subprocess.Popen:
    """The server of this process, started when it is first needed."""
    home = tempfile.mkdtemp(prefix="warm-")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": home}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen([sys.executable, __file__], env=environment, start_new_session=True, **pipes)
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    atexit.register(_stop, server)
    return server


def _stop(server: subprocess.Popen):
    """Ends the server and what it runs."""
    _server.cache_clear()
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    server.stdin.close()
    server.stdout.close()


def _serve() -> list[str] | None:
    """Forks for each request; returns its arguments in the child, and None in the server when there are no more."""
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # a collection in a child would copy the memory of all that is imported
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w")
    for line in iter(requests.readline, b""):
        child = os.fork()
        if child == 0:
            requests.close()
            answers.close()
            return _become(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    return None


def _become(argv: list[str], cwd: str, environment: dict, printed: list[str]) -> list[str]:
    """Gives the child its folder, environment and files; returns the arguments."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    write = os.O_WRONLY | os.O_CREAT
    for number, (path, mode) in enumerate([(os.devnull, os.O_RDONLY), *((path, write) for path in printed)]):
        file = os.open(path, mode)
        os.dup2(file, number)
        os.close(file)
    return argv


if __name__ == "__main__":
    if arguments := _serve():
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).parent.resolve())
        runpy.run_path(str(Path(arguments[0]).absolute()), run_name="__main__")
