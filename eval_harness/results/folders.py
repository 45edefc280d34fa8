"""The result files of a study: their schemas, reading and writing them, and the one row that sums up a run.

```
runs/<study>/study.json
runs/<study>/<run>/run.json                               the training run
runs/<study>/<run>/evaluations/<cell>/cell.json           what was scored
runs/<study>/<run>/evaluations/<cell>/examples.parquet    one row per example
runs/<study>/<run>/evaluations/<cell>/positions.parquet   counts per answer position
runs/<study>/<run>/evaluations/<cell>/lengths.parquet     one row per length, made from the other two
```

Every file is written whole or not at all, so a process may be killed at any moment.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval_harness.errors import HarnessError
from eval_harness.results.files import read_json, read_table
from eval_harness.results.schemas import SCHEMA_VERSION


RUN = "run.json"  # the last file that training writes: its presence says that a run is whole
REPORT_FOLDER = "report"


@dataclass
class RunResult:
    """One training run with one evaluation of it."""

    folder: Path
    """The run's folder."""
    run: dict[str, Any]
    """`run.json`."""
    cell: dict[str, Any]
    """`cell.json`."""
    lengths: list[dict[str, Any]]
    """The rows of `lengths.parquet`, by length."""

    @property
    def training(self) -> dict[str, Any]:
        """The specification of the training run."""
        return self.run["training"]

    @property
    def skill(self) -> str | None:
        """What a solver of the task needs; None in results that do not say."""
        return self.cell.get("skill")


def load_run(folder: str | Path, cell_id: str | None = None) -> RunResult:
    """Loads a run's only evaluation, or the named one of several.

    Raises:
        HarnessError: the run is not finished, has several evaluations and none is named, or a file is not whole.
    """
    folder = Path(folder)
    cells = _finished_cells(folder)
    if cell_id is not None:
        cells = [cell for cell in cells if cell.name == cell_id]
    if not cells:
        raise HarnessError(f"{folder} holds no finished evaluation{f' {cell_id!r}' if cell_id else ''} of a run.")
    if len(cells) > 1:
        raise HarnessError(f"{folder} holds several evaluations; name one: {', '.join(c.name for c in cells)}.")
    return _load_cell(folder, cells[0])


def load_study(folder: str | Path) -> list[RunResult]:
    """Loads every finished evaluation of every run of a study, in the order of the folders' names.

    Raises:
        HarnessError: there is no such folder, or a file in it is not whole.
    """
    return [_load_cell(run, cell) for run in run_folders(folder) for cell in _finished_cells(run)]


def unfinished_runs(folder: str | Path) -> list[str]:
    """The names of a study's run folders in which nothing is scored to the end yet."""
    return [run.name for run in run_folders(folder) if not _finished_cells(run)]


def run_folders(folder: str | Path) -> list[Path]:
    """The run folders of a study, by name: every folder in it but the report and hidden ones."""
    folder = Path(folder)
    if not folder.is_dir():
        raise HarnessError(f"There is no study folder {folder}.")
    inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in inside if path.name != REPORT_FOLDER)


def _finished_cells(run: Path) -> list[Path]:
    if not (run / RUN).exists():
        return []
    # The aggregated file is the last that scoring writes.
    return sorted(
        path.parent for path in run.glob("evaluations/*/lengths.parquet") if (path.parent / "cell.json").exists()
    )


def _load_cell(folder: Path, cell: Path) -> RunResult:
    run = read_json(folder / RUN)
    if run.get("schema") != SCHEMA_VERSION:
        raise HarnessError(f"{folder / RUN} has schema {run.get('schema')!r}; this version reads {SCHEMA_VERSION}.")
    lengths = sorted(read_table(cell / "lengths.parquet"), key=lambda row: row["length"])
    return RunResult(folder=folder, run=run, cell=read_json(cell / "cell.json"), lengths=lengths)
