"""The versions of the libraries: those that are tested, those that are promised, and those that models state."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from hf_models.tested_versions import TESTED_WITH
from tests.on_versions import CONSTRAINTS, FILE_VARIABLE, FIXED, FOLLOWED, REQUIREMENTS, lower_bounds, read_pins


PINNED = read_pins(CONSTRAINTS)
LOWEST = read_pins(REQUIREMENTS / "lowest.txt")
NEWEST = read_pins(REQUIREMENTS / "newest.txt")
IMPORTED = "import json, sys; from importlib import import_module\n" + (
    "print(json.dumps({name: import_module(name).__version__ for name in sys.argv[1:]}))"
)


@pytest.mark.versions
def test_the_libraries_here_and_in_a_child_are_those_of_the_requirements_file(tmp_path):
    pins = read_pins(Path(os.environ.get(FILE_VARIABLE, CONSTRAINTS)))
    imported = {name: import_module(name).__version__ for name in FOLLOWED}
    assert imported == {name: pins[name.replace("_", "-")] for name in FOLLOWED}
    command = [sys.executable, "-c", IMPORTED, *FOLLOWED]
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert json.loads(child) == imported


def test_nothing_is_promised_that_is_not_tested():
    assert lower_bounds() == {name: (LOWEST | {FIXED: PINNED[FIXED]})[name] for name in lower_bounds()}


def test_the_pinned_versions_lie_between_the_lowest_and_the_newest():
    def number(version):
        return tuple(int(part) for part in version.split("."))

    assert all(number(LOWEST[name]) <= number(PINNED[name]) for name in lower_bounds() if name != FIXED)
    assert all(number(PINNED[name]) <= number(NEWEST[name]) for name in NEWEST)


def test_models_state_the_versions_that_are_tested():
    for name, stated in TESTED_WITH.items():
        pins = [
            pinned[name.replace("_", "-")] for pinned in (LOWEST, PINNED, NEWEST) if name.replace("_", "-") in pinned
        ]
        assert stated == list(dict.fromkeys(pins)), name


def test_the_readme_names_the_tested_range():
    first, last = (pins["transformers"].rpartition(".")[0] for pins in (LOWEST, NEWEST))
    for file in ("README.md", "CHANGELOG.md"):
        assert f"`transformers` {first} to {last}" in (CONSTRAINTS.parent / file).read_text(encoding="utf-8")
