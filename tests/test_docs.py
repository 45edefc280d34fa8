"""Every snippet of the README and the manual runs: files, shell commands, and the Python of a page as one script."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm_process


ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def files(page: Path) -> dict[str, str]:
    """The files that a page shows, by the titles of their snippets."""
    shown = r'^```\w+ title="([^"]+)"\n(.*?)^```'
    return dict(re.findall(shown, page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE))


# Commands that run in forks of a warm process; the README's first line of `longreach` is a real one.
WARM = {"longreach", "python", "lm_eval"}


@pytest.fixture
def workplace(tmp_path):
    """An empty folder with the scripts in it, and the environment's commands on the path."""
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MASTER_PORT": "29611",
    }

    def run(line, warm):
        if warm:
            program, *words = shlex.split(line, comments=True)
            script = [] if program == "python" else [shutil.which(program, path=environment["PATH"])]
            done = warm_process.run(*script, *words, cwd=tmp_path, environment=environment)
        else:
            options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 800}
            done = subprocess.run(["bash", "-c", line], **options, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    return run


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page, workplace, tmp_path):
    for name, content in files(page).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    warm = WARM - {"longreach"} if page.name == "README.md" else WARM
    for snippet in snippets(page, "bash"):
        for line in snippet.strip().splitlines():
            # `make` sets up the environment of this test, so its commands are only parsed.
            command = re.sub(r"^make ", f"make --dry-run --directory {ROOT} ", line)
            program = command.split()[0]
            workplace(command, program in warm)
            warm = warm | (WARM & {program})
    if python := snippets(page, "python"):
        (tmp_path / "page.py").write_text("\n".join(python), encoding="utf-8")
        workplace("python page.py", warm=True)


def test_every_link_inside_the_repository_leads_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_tree_of_the_readme_names_every_folder_and_only_what_exists():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Source tree")[1].split("\n## ")[0]
    rooms = {"": set(), "eval_harness/": set(), "hf_models/": set()}
    parent = ""
    for line in section.split("```")[1].strip().splitlines():
        names = re.split(r"\s{3,}", line.strip())[0].split()
        parent = parent if line.startswith(" ") else names[0]
        for name in names:
            room = parent if line.startswith(" ") else ""
            assert list((ROOT / room).glob(name)), line
            rooms[room].add(name)
    for room in ("", "eval_harness/"):
        there = {
            f"{path.parent.name}/"
            for path in (ROOT / room).glob("*/*")
            if path.suffix in (".py", ".md", ".yaml", ".txt")
        }
        assert {name for name in there if name[0] not in "._"} - {"runs/", "site/"} == rooms[room]
