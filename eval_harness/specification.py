"""What is run: the specification of a training run and of an evaluation, and their identities.

An identity is a hash of the fields that differ from their defaults, with the versions of task and model. So a new
field with a default orphans no finished run, and where or on how many processes something runs is in neither.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from eval_harness.errors import HarnessError
from eval_harness.models import is_checkpoint, revision_of
from eval_harness.tasks import Task, get_task
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.problem import Problem


MODEL_VERSION = 2  # raised when the code of a model changes what training gives


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One training run: all that its weights depend on.

    Attributes:
        task: key of the task ("parity", "majority:letters=5").
        model: name of the architecture ("lstm", "transformer-rope", "gpt2"), or the folder or Hub id of a checkpoint.
        format: name of the format; empty for the task's first format.
        bos: whether sequences begin with `<bos>`.
        budget: parameters without token embeddings, output head and position tables; a checkpoint has its own size.
        config: configuration fields that override what the solver and the architecture choose.
        train_length: L, the greatest training length.
        table_factor: position tables and id ranges hold the longest sequence of `table_factor` times L.
        steps: optimiser steps.
        batch_size: examples of a step, whatever the number of processes.
        learning_rate: peak of the schedule.
        train_examples: number of different examples; None draws fresh ones for ever.
        curriculum: share of the steps over which the greatest length grows from the shortest to L.
        trainer: further `TrainingArguments` that the weights depend on, where they differ from the protocol's.
        seed: of weights, data and lengths.
        revision: the checkpoint's commit, or a digest of its files; found out where it is not given.
    """

    task: str
    model: str
    format: str = ""
    bos: bool = True
    budget: int = 100_000
    config: dict = field(default_factory=dict)
    train_length: int = 40
    table_factor: float = 12.5
    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-3
    train_examples: int | None = None
    curriculum: float = 0.0
    trainer: dict = field(default_factory=dict)
    seed: int = 0
    revision: str = ""

    def __post_init__(self):
        task = get_task(self.task).pinned()
        if is_checkpoint(self.model) and not self.revision:
            object.__setattr__(self, "revision", revision_of(self.model))
        object.__setattr__(self, "task", task.key())
        object.__setattr__(self, "format", self.format or task.formats[0])
        task.check_length(self.train_length)
        for name in ("budget", "steps", "batch_size", "train_examples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HarnessError(f"{name} must be at least 1, not {value}.")
        for name in ("learning_rate", "table_factor", "curriculum"):
            object.__setattr__(self, name, float(getattr(self, name)))  # 10 and 10.0 are one run
        if not self.learning_rate > 0:
            raise HarnessError(f"learning_rate must be above 0, not {self.learning_rate}.")
        if not 0 <= self.curriculum <= 1:
            raise HarnessError(f"curriculum is a share of the steps between 0 and 1, not {self.curriculum}.")

    def make_task(self) -> Task:
        """The task itself."""
        return get_task(self.task)

    @property
    def problem(self) -> Problem:
        """The task posed in the format."""
        return Problem(self.make_task(), get_format(self.format), self.bos)

    def identity(self) -> str:
        """Twelve hexadecimal digits that name the run."""
        task = self.make_task()
        changed = {name: value for name, value in asdict(self).items() if value != _default(type(self), name)}
        if changed["format"] == task.formats[0]:
            del changed["format"]
        return _digest(changed | {"task_version": task.version, "model_version": MODEL_VERSION})

    def folder_name(self) -> str:
        """A readable name that no other run has."""
        task = re.sub(r"[^\w.]+", "-", self.task.replace("=", ""))
        return f"{task}_{Path(self.model).name}_seed{self.seed}_{self.identity()[:8]}"

    def differences(self, other: dict) -> list[str]:
        """What is different in a stored specification, as "field value, not value"; what it lacks is the default."""
        mine = json.loads(json.dumps(asdict(self)))
        stored = {name: other.get(name, _default(type(self), name)) for name in mine}
        return [f"{name} {stored[name]!r}, not {value!r}" for name, value in mine.items() if stored[name] != value]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How trained models are tested.

    Attributes:
        factor: k: lengths go up to k times the training length.
        examples: test examples of each length.
        lengths: these lengths instead of the protocol's, or None.
    """

    factor: float = 5.0
    examples: int = 512
    lengths: tuple[int, ...] | None = None

    def __post_init__(self):
        object.__setattr__(self, "factor", float(self.factor))  # 10 and 10.0 are one evaluation
        if self.lengths is not None and not self.lengths:
            raise HarnessError("lengths must name at least one length.")
        if self.examples < 100:
            raise HarnessError(f"examples must be at least 100 for an interval worth drawing, not {self.examples}.")

    def identity(self, run_id: str, task: Task, format: str, bos: bool) -> str:
        """Twelve hexadecimal digits that name the evaluation of one run on one task."""
        changed = {name: value for name, value in asdict(self).items() if value != _default(type(self), name)}
        cell = {"run_id": run_id, "task": task.key(), "task_version": task.version, "format": format, "bos": bos}
        return _digest(changed | cell)


def _default(cls, name):
    spec = next(field for field in fields(cls) if field.name == name)
    return spec.default_factory() if callable(spec.default_factory) else spec.default


def _digest(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
