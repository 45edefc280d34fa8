"""The prose of the checked files follows the rules of CONTRIBUTING.md, as far as a list of words can test them."""

import ast
import re
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
CHECKED = [  # of Python files, the docstrings
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "docs/*.py", "docs/manual/*"),
    *("model_cards/*.md", "recipes/*.yaml"),
]
FILES = [path for pattern in CHECKED for path in sorted(ROOT.glob(pattern)) if path.is_file()]
AVOIDED = r"\b(behind|alone|whole|wholly|anew|mend(s|ed|ing)?|stands?|none of ours|of (its|their) own|in turn)\b"


def prose(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
        return "\n".join(ast.get_docstring(node) or "" for node in nodes)
    return re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_archaic_words(path):
    assert not [line for line in prose(path).splitlines() if re.search(AVOIDED, line, flags=re.IGNORECASE)]


def test_the_readme_begins_with_short_paragraphs_and_a_command():
    before = (ROOT / "README.md").read_text(encoding="utf-8").split("```bash")[0]
    assert all(len(paragraph.split()) <= 40 for paragraph in before.split("\n\n"))
