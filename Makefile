# Commands of the project. Each sets up the environment first, if necessary.

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := hf_models eval_harness scripts tests benchmarks docs/hook.py docs/manual

# Parallel processes get one thread each: threads that spin on busy cores slow a step many times over.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup style quality check test versions newest demo docs

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, not " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(VENV)/installed  ## create the virtual environment and install

demo: setup  ## train, score and report the study `quickstart`
	$(BIN)/longreach run quickstart

check: setup  ## run the quick tests, before a commit
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow"

test: setup  ## run all tests
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

versions: setup  ## run the tests marked `versions` on the lowest and the newest supported libraries
	$(BIN)/python -m tests.on_versions lowest newest

newest: setup  ## the same on the releases that pip finds today; the first step of a release
	$(BIN)/python -m tests.on_versions today

style: setup  ## format, and apply automatic fixes
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

quality: setup  ## check format, lint and types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ty check hf_models eval_harness scripts

docs: setup  ## build the manual into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
