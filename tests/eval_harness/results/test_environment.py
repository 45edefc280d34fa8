"""What is noted about where a number was made."""

import json
import subprocess
from importlib import metadata

import torch

from eval_harness.results import environment
from eval_harness.results.environment import describe_environment


def test_everything_that_a_result_may_depend_on_is_noted():
    described = describe_environment()
    assert described["packages"]["torch"] == metadata.version("torch")
    assert described["packages"].keys() == set(environment.PACKAGES)
    assert described["threads"] == torch.get_num_threads()
    assert described["cpu_count"] >= 1
    assert json.loads(json.dumps(described)) == described


def test_the_revision_is_git_s_own():
    here = environment.Path(environment.__file__).parent
    revision = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    git = describe_environment()["git"]
    if revision.returncode:  # not a checkout
        assert git is None
    else:
        assert git["revision"] == revision.stdout.strip()
        assert isinstance(git["dirty"], bool)


def test_what_is_missing_is_null(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("torch", "no-such-package"))
    monkeypatch.setenv("PATH", "")
    described = describe_environment()
    assert described["packages"]["no-such-package"] is None
    assert described["git"] is None
