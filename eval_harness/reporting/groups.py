"""Comparable runs: grouped by task, format and lengths, then by model, then by seed."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eval_harness.reporting.numbers import words
from eval_harness.results.folders import RunResult
from eval_harness.results.statistics import SeedSummary, aggregate_seeds
from eval_harness.results.summary import summarise
from eval_harness.tasks import SKILLS


PLAIN_IDS = "consecutive"

# Fields of a training run that are a setting of the comparison, or drawn, and so never tell two models apart.
_NOT_OF_THE_MODEL = {"task", "task_version", "format", "bos", "train_length", "min_length", "seed"}


@dataclass(frozen=True)
class ReportGroupKey:
    """The key of a group of comparable results: task, format, decoding and lengths."""

    task: str
    task_version: int
    format: str
    bos: bool
    decoding: str
    train_length: int
    factor: float | None
    examples: int
    lengths: tuple[int, ...]

    @property
    def tested(self) -> str:
        """The tested range in words: "up to 5 L" under the protocol, else the greatest length."""
        return f"up to {self.factor:.3g} L" if self.factor else f"up to {self.lengths[-1]}"

    @property
    def short(self) -> str:
        """Enough of it to head a column."""
        return f"{self.task}, {words(self.format)}, L = {self.train_length}, {self.tested}"

    @property
    def slug(self) -> str:
        """Enough of it to name a file."""
        task = re.sub(r"\W+", "-", self.task)
        return f"{task}_{self.format}_L{self.train_length}_to{self.lengths[-1]}"

    @property
    def heading(self) -> str:
        """All of it in one line."""
        version = f" (version {self.task_version})" if self.task_version > 1 else ""
        return f"{self.task}{version}, {self.terms}"

    @property
    def terms(self) -> str:
        """All of it but the task."""
        return ", ".join(
            [
                f"{words(self.format)} format",
                "with <bos>" if self.bos else "without <bos>",
                f"{words(self.decoding)} decoding",
                f"L = {self.train_length}",
                f"tested {self.tested}",
                f"{self.examples} examples a length",
            ]
        )


def report_group_key(result: RunResult) -> ReportGroupKey:
    """The setting of one evaluated run."""
    cell = result.cell
    return ReportGroupKey(
        task=cell["task"],
        task_version=result.training["task_version"],
        format=cell["format"],
        bos=cell["bos"],
        decoding=cell["decoding"],
        train_length=result.training["train_length"],
        factor=cell["factor"],
        examples=cell["examples"],
        lengths=tuple(row["length"] for row in result.lengths),
    )


@dataclass(frozen=True)
class Arm:
    """The runs of one model that differ only in their seed, by seed."""

    label: str
    """The model's name, with the fields that set it apart if the name does not."""
    condition: str
    """Mask and position ids: never mixed without a heading."""
    results: list[RunResult]
    summaries: list[dict[str, Any]]
    seeds: SeedSummary


@dataclass(frozen=True)
class Group:
    """All arms under one setting, the one that reaches furthest first."""

    setting: ReportGroupKey
    arms: list[Arm]

    @property
    def results(self) -> list[RunResult]:
        """The runs of all arms."""
        return [result for arm in self.arms for result in arm.results]

    @property
    def skill(self) -> str | None:
        """What the task needs, where its results say so."""
        return next((result.skill for result in self.results if result.skill), None)

    @property
    def by_condition(self) -> dict[str, list[Arm]]:
        """Its arms under the headings that a table needs."""
        return {
            c: [arm for arm in self.arms if arm.condition == c] for c in dict.fromkeys(a.condition for a in self.arms)
        }


def group_results(results: Iterable[RunResult]) -> list[Group]:
    """Groups evaluated runs by setting and, within one, by everything about the training but the seed.

    Groups of one skill follow each other.
    """
    by_setting: dict[ReportGroupKey, list[RunResult]] = defaultdict(list)
    for result in results:
        by_setting[report_group_key(result)].append(result)
    keys = sorted(by_setting, key=lambda s: (s.task, s.format, s.bos, s.decoding, s.train_length, s.lengths))
    return sorted((Group(key, _arms(by_setting[key])) for key in keys), key=_in_order_of_skills)


def _in_order_of_skills(group: Group) -> int:
    return SKILLS.index(group.skill) if group.skill in SKILLS else len(SKILLS)


def _arms(results: Sequence[RunResult]) -> list[Arm]:
    by_model: dict[str, list[RunResult]] = defaultdict(list)
    for result in results:
        by_model[json.dumps(_flat(_model_fields(result)), sort_keys=True, default=str)].append(result)
    runs = [sorted(found, key=lambda r: r.training["seed"]) for found in by_model.values()]
    labels = _labels([found[0] for found in runs])
    return sorted((_arm(label, found) for label, found in zip(labels, runs, strict=True)), key=_furthest_first)


def _arm(label: str, results: list[RunResult]) -> Arm:
    summaries = [summarise(result) for result in results]
    return Arm(label, _condition(results[0]), results, summaries, aggregate_seeds(summaries))


def _furthest_first(arm: Arm) -> tuple:
    reach = arm.seeds.reach
    extrapolation = arm.seeds.extrapolation_exact
    return (-(reach.value if reach else 0), -(0 if extrapolation is None else extrapolation), arm.label)


def _model_fields(result: RunResult) -> dict[str, Any]:
    return {key: value for key, value in result.training.items() if key not in _NOT_OF_THE_MODEL}


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _labels(arms: Sequence[RunResult]) -> list[str]:
    """The model's name; with the fields that differ if another model has the same name."""
    fields = [_flat(_model_fields(arm)) for arm in arms]
    labels = []
    for mine in fields:
        namesakes = [other for other in fields if other["model"] == mine["model"]]
        keys = sorted({key for other in namesakes for key in other | mine if other.get(key) != mine.get(key)})
        extra = [f"{words(key.rpartition('.')[2])} {_value(mine.get(key))}" for key in keys]
        labels.append(", ".join([mine["model"], *extra]))
    return labels


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _condition(result: RunResult) -> str:
    model = result.run["model"]
    mask = "causal mask" if model["causal"] else "bidirectional mask"
    trained, tested = (words(ids or PLAIN_IDS) for ids in model["position_ids"])
    if trained == tested == PLAIN_IDS:
        return mask
    return f"{mask}, {trained} position ids" + ("" if tested == trained else f" in training, {tested} in the test")
