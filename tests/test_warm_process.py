"""A fork of the warm server behaves as a new process does."""

import pytest

from tests import warm_process


pytestmark = pytest.mark.slow  # the server imports torch and transformers
PROGRAM = """
import os, sys
assert not {"hf_models", "eval_harness", "tests"} & set(sys.modules)
print(__name__, sys.argv[1:], os.getcwd(), os.environ["COLOUR"], os.environ.get("HOME"))
sys.stderr.write(sys.stdin.read() + "the end")
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize("code", [0, 3])
def test_a_script_has_its_own_arguments_folder_environment_output_and_code(code, script, tmp_path):
    done = warm_process.run("script.py", str(code), "b c", cwd=tmp_path, environment={"COLOUR": "red"})
    assert done.returncode == code
    assert done.stdout == f"__main__ ['{code}', 'b c'] {tmp_path} red None\n"
    assert done.stderr == "the end"


def test_an_error_leaves_its_traceback_and_the_next_script_runs(script, tmp_path):
    script.write_text("import sys\nsys.modules['hf_models'] = None\nraise OSError('no disk')\n")
    done = warm_process.run(script, cwd=tmp_path)
    assert done.returncode == 1
    assert "raise OSError('no disk')" in done.stderr
    script.write_text("import hf_models\nprint(hf_models.LSTMConfig.__name__)\n")
    assert warm_process.run(script, cwd=tmp_path).stdout == "LSTMConfig\n"
