"""The card of an exported task. Its content follows from the task and the rows: equal exports give equal bytes."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from eval_harness.exporting.lm_eval_tasks import group_name
from eval_harness.reporting.numbers import percent
from eval_harness.scoring.baselines import baselines
from eval_harness.scoring.protocol import is_enumerable
from eval_harness.tasks import Sample, Task


TEMPLATE = Path(__file__).parent / "card.md.j2"
EVERY_LENGTH = "every_length"  # the configuration that `load_dataset` takes by default


@dataclass(frozen=True)
class Export:
    """What is exported.

    Attributes:
        task: the task.
        name: of the folder.
        lengths: the task lengths.
        examples: rows of each length and split.
        splits: the streams.
        seed: of the streams.
        lm_eval: whether there are tasks of lm-evaluation-harness too.
    """

    task: Task
    name: str
    lengths: tuple[int, ...]
    examples: int
    splits: tuple[str, ...]
    seed: int
    lm_eval: bool

    def file(self, length: int | str, split: str) -> str:
        """Where the rows of a length and split lie in the folder."""
        return f"data/length_{length}/{split}.parquet"

    @property
    def configurations(self) -> list[dict]:
        """The configurations of `load_dataset`: all lengths together, and each length separately."""
        together = {"config_name": EVERY_LENGTH, "default": True, "data_files": self._files("*")}
        single = ({"config_name": f"length_{n}", "data_files": self._files(n)} for n in self.lengths)
        return [together, *single]

    def _files(self, length: int | str) -> list[dict]:
        return [{"split": split, "path": self.file(length, split)} for split in self.splits]

    @property
    def command(self) -> str:
        """What makes the same folder again."""
        words = ["longreach", "tasks", "export", self.task.key(), "--lengths", ",".join(map(str, self.lengths))]
        words += ["--examples", str(self.examples), "--splits", ",".join(self.splits), "--output", self.name]
        return shlex.join([*words, *(["--lm-eval"] if self.lm_eval else [])])


def data_card(export: Export, samples: Mapping[tuple[int, str], Sample]) -> DatasetCard:
    """The card of an export.

    Args:
        export: what is exported.
        samples: the rows of each length and split.
    """
    task = export.task
    shown = samples[export.lengths[0], export.splits[0]]
    return DatasetCard.from_template(
        DatasetCardData(
            license=task.license,
            pretty_name=f"{task.key()} by length",
            tags=["longreach", "length-extrapolation", task.skill.replace(" ", "-")],
            task_categories=["text-generation"],
            configs=export.configurations,
        ),
        template_path=str(TEMPLATE),
        export=export,
        task=task,
        details=_paragraphs(task)[1:],
        options=[[option.name, str(getattr(task, option.name))] for option in fields(task)],
        drawn=task.spell(shown[:2]),
        in_place=shown.positions is not None,
        baselines=[_row(task, length, samples[length, export.splits[0]]) for length in export.lengths],
        enumerable=any(is_enumerable(task, length, export.examples) for length in export.lengths),
        group=group_name(task),
        version=version("longreach"),
    )


def _paragraphs(task: Task) -> list[str]:
    """The prose of the docstring, up to its sections."""
    prose = (type(task).__doc__ or "").partition("\n    Attributes:")[0].partition("\n    Example:")[0]
    return [" ".join(paragraph.split()) for paragraph in prose.split("\n\n") if paragraph.strip()]


def _row(task: Task, length: int, sample: Sample) -> list[str]:
    known = baselines(task, length, sample)
    names = ("baseline_exact", "baseline_tokens", "random_exact", "random_tokens")
    mark = " \\*" if is_enumerable(task, length, len(sample)) else ""
    return [f"{length}{mark}", *(percent(known[name]) for name in names)]
