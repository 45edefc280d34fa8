"""The layout of studies, runs and evaluations on disk; nothing else knows the name of a file in them.

```
runs/<study>/study.json
runs/<study>/<run>/specification.json                     written first: the run that the folder is for
runs/<study>/<run>/checkpoints/                           of the Trainer; deleted once the run is trained
runs/<study>/<run>/config.json, weights, tokenizer …      what `save_pretrained` writes
runs/<study>/<run>/run.json                               the training run; written last
runs/<study>/<run>/evaluations/<cell>/cell.json           the evaluation's settings
runs/<study>/<run>/evaluations/<cell>/examples.parquet    one row per example
runs/<study>/<run>/evaluations/<cell>/positions.parquet   counts per answer position
runs/<study>/<run>/evaluations/<cell>/lengths.parquet     one row per length, made from the other two; written last
```

Every file is written complete or not at all, so a process may be killed at any moment.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval_harness.errors import HarnessError
from eval_harness.results.files import read_json, read_table, write_json, write_table
from eval_harness.results.schemas import EXAMPLES, LENGTHS, POSITIONS, SCHEMA_VERSION


REPORT_FOLDER = "report"
WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class CellFolder:
    """The folder of one evaluation of a run."""

    path: Path

    @property
    def cell_id(self) -> str:
        """The evaluation's identity, which names its folder."""
        return self.path.name

    @property
    def is_complete(self) -> bool:
        """Whether the evaluation is finished: `lengths.parquet` is written last."""
        return (self.path / "lengths.parquet").is_file() and (self.path / "cell.json").is_file()

    def write(self, cell: dict, examples: list[dict], positions: list[dict], lengths: list[dict]) -> None:
        """Writes the evaluation's files.

        Args:
            cell: the settings, for `cell.json`.
            examples: rows of `examples.parquet`.
            positions: rows of `positions.parquet`.
            lengths: rows of `lengths.parquet`.
        """
        write_table(self.path / "examples.parquet", examples, EXAMPLES)
        write_table(self.path / "positions.parquet", positions, POSITIONS)
        write_json(self.path / "cell.json", cell)
        write_table(self.path / "lengths.parquet", lengths, LENGTHS)

    def read_settings(self) -> dict[str, Any]:
        """The content of `cell.json`."""
        return read_json(self.path / "cell.json")

    def read_lengths(self) -> list[dict[str, Any]]:
        """The rows of `lengths.parquet`, by length."""
        return sorted(read_table(self.path / "lengths.parquet"), key=lambda row: row["length"])


@dataclass(frozen=True)
class RunFolder:
    """The folder of a training run and its evaluations, which need not exist yet."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def checkpoints(self) -> Path:
        """The folder of the Trainer's checkpoints."""
        return self.path / "checkpoints"

    @property
    def specification(self) -> Path:
        """The file with the specification of the run that the folder is for."""
        return self.path / "specification.json"

    @property
    def record(self) -> Path:
        """The file `run.json`."""
        return self.path / "run.json"

    @property
    def config(self) -> Path:
        """The configuration of the trained model."""
        return self.path / "config.json"

    @property
    def is_trained(self) -> bool:
        """Whether training is finished: `run.json` is written last."""
        return self.record.is_file()

    @property
    def has_model(self) -> bool:
        """Whether configuration and weights of a model are there, trained here or not."""
        return self.config.is_file() and any(path.name.endswith(WEIGHTS) for path in self.path.iterdir())

    def cell(self, cell_id: str) -> CellFolder:
        """The folder of an evaluation, which need not exist yet."""
        return CellFolder(self.path / "evaluations" / cell_id)

    def cells(self) -> list[CellFolder]:
        """The complete evaluations of a trained run, by identity."""
        if not self.is_trained:
            return []
        found = map(CellFolder, sorted(self.path.glob("evaluations/*")))
        return [cell for cell in found if cell.is_complete]

    def is_complete(self, cell_id: str) -> bool:
        """Whether the run is trained and this evaluation of it is finished."""
        return self.is_trained and self.cell(cell_id).is_complete

    def read_record(self) -> dict[str, Any]:
        """The content of `run.json`.

        Raises:
            HarnessError: the run is not trained, or another version wrote the file.
        """
        record = read_json(self.record)
        if record.get("schema") != SCHEMA_VERSION:
            raise HarnessError(
                f"{self.record} has schema {record.get('schema')!r}; this version reads {SCHEMA_VERSION}."
            )
        return record

    def write_record(self, record: dict[str, Any]) -> None:
        """Writes `run.json`, after all other files of the training."""
        write_json(self.record, {"schema": SCHEMA_VERSION, **record})

    def model_files(self) -> list[Path]:
        """The files that belong to the model, by name.

        The Trainer's pickled arguments are left out: they describe the machine that trained.
        """
        others = {self.record.name, self.specification.name, "training_args.bin", "README.md"}
        inside = (path for path in self.path.iterdir() if path.is_file() and not path.name.startswith("."))
        return sorted(path for path in inside if path.name not in others)

    def why_not_publishable(self) -> str | None:
        """The reason why the run cannot be published yet; None if it can."""
        if not self.is_trained:
            return f"The run {self.path} is not trained to the end; run its study again to finish it."
        if not self.has_model:
            return f"The run {self.path} has lost its model: config.json or the weights are not there."
        if not self.cells():
            return f"The run {self.path} is not scored yet; run its study again, or call `longreach evaluate`."
        return None


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study and its runs."""

    path: Path

    @property
    def description(self) -> Path:
        """The file `study.json`."""
        return self.path / "study.json"

    def run(self, name: str) -> RunFolder:
        """The folder of a run, which need not exist yet."""
        return RunFolder(self.path / name)

    def runs(self) -> list[RunFolder]:
        """The run folders, by name: every folder inside but the report and hidden ones.

        Raises:
            HarnessError: there is no such study folder.
        """
        if not self.path.is_dir():
            raise HarnessError(f"There is no study folder {self.path}.")
        inside = (path for path in self.path.iterdir() if path.is_dir() and not path.name.startswith("."))
        return [RunFolder(path) for path in sorted(inside) if path.name != REPORT_FOLDER]


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
        """The skill that the task needs; None in results without one."""
        return self.cell.get("skill")


def load_run(folder: str | Path, cell_id: str | None = None) -> RunResult:
    """Loads a run's only evaluation, or the named one of several.

    Raises:
        HarnessError: the run is not finished, has several evaluations and none is named, or a file is not complete.
    """
    run = RunFolder(Path(folder))
    cells = [cell for cell in run.cells() if cell_id in (None, cell.cell_id)]
    if not cells:
        raise HarnessError(f"{folder} holds no finished evaluation{f' {cell_id!r}' if cell_id else ''} of a run.")
    if len(cells) > 1:
        raise HarnessError(f"{folder} holds several evaluations; name one: {', '.join(c.cell_id for c in cells)}.")
    return _load_cell(run, cells[0])


def load_study(folder: str | Path) -> list[RunResult]:
    """Loads every finished evaluation of every run of a study, in the order of the folders' names.

    Raises:
        HarnessError: there is no such folder, or a file in it is not complete.
    """
    return [_load_cell(run, cell) for run in StudyFolder(Path(folder)).runs() for cell in run.cells()]


def unfinished_runs(folder: str | Path) -> list[str]:
    """The names of a study's run folders that have no finished evaluation yet."""
    return [run.name for run in StudyFolder(Path(folder)).runs() if not run.cells()]


def _load_cell(run: RunFolder, cell: CellFolder) -> RunResult:
    return RunResult(run.path, run.read_record(), cell.read_settings(), cell.read_lengths())
