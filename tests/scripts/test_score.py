"""The door `scripts/score.py`."""

import json
import runpy
from pathlib import Path

import pytest


pytestmark = pytest.mark.versions


@pytest.fixture
def main():
    return runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "score.py"))["main"]


def test_it_is_longreach_evaluate(main, tiny_run, capsys):
    assert main([str(tiny_run), "--lengths", "3,9", "--examples", "100", "--json"]) == 0
    assert [row["length"] for row in json.loads(capsys.readouterr().out)] == [3, 9]


def test_wrong_input_has_code_2(main, tiny_run, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["score.py", str(tiny_run), "--task", "paritty"])
    assert main() == 2
    assert "Did you mean 'parity'" in capsys.readouterr().err
