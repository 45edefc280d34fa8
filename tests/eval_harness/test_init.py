"""The public names of packages that load what they need when it is first used."""

import subprocess
import sys

import pytest

import eval_harness
from eval_harness import models


@pytest.mark.parametrize("name", eval_harness.__all__)
def test_every_public_name_is_there(name):
    assert getattr(eval_harness, name).__name__ == name


@pytest.mark.parametrize("name", models.__all__)
def test_every_name_of_the_models_is_there(name):
    assert getattr(models, name) is not None


@pytest.mark.parametrize("package", [eval_harness, models])
def test_another_name_is_not(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'trian'"):
        package.trian  # noqa: B018 (looking it up is the test)


def test_a_specification_loads_nothing_heavy():
    program = "import sys, eval_harness.specification; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
