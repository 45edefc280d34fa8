"""The order of the folders of `eval_harness`: a file imports from its own folder and from those below it."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import eval_harness


ROOT = Path(eval_harness.__file__).parent
ORDER = [
    *("errors", "terminal", "metrics", "tasks", "tokenization", "models", "specification", "results"),
    *("training", "scoring", "reporting", "exporting", "publishing", "studies", "cli"),
]
FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path) for path in FILES}


def imported(path):
    """The modules of `eval_harness` that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "eval_harness":
            module = (node.module or "").removeprefix("eval_harness").removeprefix(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix(".")
                yield inner if inner in MODULES else module


def room(module):
    return module.partition(".")[0]


def test_every_folder_has_its_place():
    assert sorted({room(module) for module in MODULES}) == sorted(ORDER)


def test_nothing_imports_from_a_folder_above_its_own():
    for path in FILES:
        own = ORDER.index(room(module_name(path)))
        above = [module for module in imported(path) if ORDER.index(room(module)) > own]
        assert not above, module_name(path)


def test_no_files_import_each_other():
    arrows = defaultdict(set)
    for path in FILES:
        if path.name != "__init__.py":
            # `from eval_harness.tasks import get_task` leads to the files that the package takes the names from.
            arrows[module_name(path)] = {module for module in imported(path) if not (ROOT / module).is_dir()}
    TopologicalSorter(arrows).prepare()  # raises where there is a circle
