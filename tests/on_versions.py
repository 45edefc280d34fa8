"""Runs the tests marked `versions` on other releases of the libraries than those of constraints.txt.

    python -m tests.on_versions lowest newest   # the releases of requirements/lowest.txt, then those of newest.txt
    python -m tests.on_versions today           # the newest releases that pip finds now
    python -m tests.on_versions --pins lowest   # print the pins of requirements/lowest.txt as pip finds them now

The releases are unpacked into a folder that precedes the installed packages on the path, here and in the processes
that tests start. Such an overlay takes seconds to make and is kept until its file changes; torch stays as installed.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path


ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"
CONSTRAINTS = ROOT / "constraints.txt"
OVERLAYS = Path(sys.prefix) / "overlays"
FILE_VARIABLE = "LONGREACH_REQUIREMENTS"  # names the file of the overlay that the tests run on
FOLLOWED = (
    "accelerate",
    "datasets",
    "huggingface_hub",
    "transformers",
)  # the libraries whose newest release is tested
FIXED = "torch"  # too large for an overlay
PIP = [sys.executable, "-m", "pip"]


def normalized(name: str) -> str:
    """A package name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(file: Path) -> dict[str, str]:
    """Version of each package that a requirements file pins, by normalized name."""
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {normalized(name): version for name, version in pairs}


def lower_bounds() -> dict[str, str]:
    """Lower bound of every dependency in pyproject.toml, by normalized name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pairs = (requirement.split(">=") for requirement in project["dependencies"])
    return {normalized(name): version for name, version in pairs}


def resolve(requirements: list[str]) -> dict[str, str]:
    """The versions that pip finds for these requirements, and those of every package that it changes with them."""
    fixed = f"{FIXED}=={metadata.version(FIXED).partition('+')[0]}"
    command = [*PIP, "install", "--dry-run", "--upgrade", "--quiet", "--report", "-", *requirements, fixed]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    changed = (entry["metadata"] for entry in report["install"])
    pins = {normalized(entry["name"]): entry["version"] for entry in changed}
    named = {normalized(re.split("[=<>]", requirement)[0]) for requirement in requirements}
    return {name: metadata.version(name) for name in named} | {n: v for n, v in pins.items() if n != FIXED}


def find_pins(column: str) -> dict[str, str]:
    """The pins of "lowest" (the lower bounds of pyproject.toml) or "newest" (as of now), and all that they change."""
    if column == "lowest":
        return resolve([f"{name}=={version}" for name, version in lower_bounds().items() if name != FIXED])
    return resolve(list(FOLLOWED))


def to_lines(pins: dict[str, str]) -> str:
    """Pins as lines of a requirements file."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def build_overlay(column: str, pins: dict[str, str]) -> Path:
    """The folder with these releases; made where there is none yet, in place of an older one of the same column."""
    digest = hashlib.sha256(to_lines(pins).encode()).hexdigest()[:12]
    folder = OVERLAYS / f"{column}-{digest}"
    if folder.exists():
        return folder
    OVERLAYS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OVERLAYS) as temporary:
        packages = [f"{name}=={version}" for name, version in pins.items()]
        options = ["--quiet", "--quiet", "--no-deps", "--no-compile", "--target", f"{temporary}/packages"]
        subprocess.run([*PIP, "install", *options, *packages], check=True)
        for older in OVERLAYS.glob(f"{column}-*"):
            shutil.rmtree(older)
        Path(temporary, "packages").rename(folder)
    return folder


def test_files() -> list[str]:
    """The files with marked tests; others need not be imported."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file) for file in files if "mark.versions" in file.read_text(encoding="utf-8")]


def run_suite(column: str, pins: dict[str, str]) -> bool:
    """Runs the marked tests on an overlay; whether they pass."""
    overlay = build_overlay(column, pins)
    file = overlay / "requirements.txt"
    file.write_text(to_lines(pins), encoding="utf-8")
    path = os.pathsep.join([str(overlay), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, FILE_VARIABLE: str(file)}
    options = ["-m", "versions", "--numprocesses", "2", "--dist", "loadscope", "--quiet", "-p", "no:cacheprovider"]
    print(f"== {column}: {', '.join(f'{name} {pins[normalized(name)]}' for name in FOLLOWED)}", flush=True)
    command = [sys.executable, "-m", "pytest", *options, *test_files()]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def pins_of(column: str) -> dict[str, str]:
    """The pins of a column's file; of "today", those that pip finds."""
    if column != "today":
        return read_pins(REQUIREMENTS / f"{column}.txt")
    pins, known = find_pins("newest"), read_pins(REQUIREMENTS / "newest.txt")
    if pins == known:
        print("requirements/newest.txt is up to date.")
    else:
        print(f"requirements/newest.txt is out of date. pip finds now:\n{to_lines(pins)}")
    return pins


def main() -> int:
    """Runs the columns one after the other, all of them even if one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("columns", nargs="+", choices=["lowest", "newest", "today"])
    parser.add_argument("--pins", action="store_true", help="print what pip finds instead of running tests")
    chosen = parser.parse_args()
    if chosen.pins:
        print("".join(to_lines(find_pins(column)) for column in chosen.columns), end="")
        return 0
    passed = [run_suite(column, pins_of(column)) for column in chosen.columns]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
