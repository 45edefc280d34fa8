"""The provenance of a report: the protocol of each setting, the environments, and the list of runs."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eval_harness.reporting.groups import Group
from eval_harness.reporting.numbers import MISSING, plural, quantity, words
from eval_harness.results.folders import RunResult


Facts = list[tuple[str, str]]


def protocols(groups: Sequence[Group]) -> list[tuple[list[str], Facts]]:
    """The facts of every setting; settings whose facts are the same share an entry, under all of their headings."""
    entries: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for group in groups:
        entries.setdefault(tuple(_protocol(group)), []).append(group.setting.heading)
    return [(headings, list(facts)) for facts, headings in entries.items()]


def environments(results: Iterable[RunResult]) -> list[tuple[str, Facts]]:
    """The facts of every distinct environment, with the number of runs made in it."""
    counts: dict[str, int] = {}
    for result in {result.folder: result for result in results}.values():
        key = json.dumps(result.run["environment"], sort_keys=True)
        counts[key] = counts.get(key, 0) + 1
    return [(plural(count, "run"), _environment(json.loads(key))) for key, count in counts.items()]


def run_list(groups: Iterable[Group]) -> list[list[str]]:
    """Model, task, seed, folder and weight digest of every run, once for each."""
    rows = {
        result.folder: [
            arm.label,
            result.training["task"],
            str(result.training["seed"]),
            result.folder.name,
            result.run["weights_digest"],
        ]
        for group in groups
        for arm in group.arms
        for result in arm.results
    }
    return sorted(rows.values())


def fewest_seeds(groups: Iterable[Group]) -> int:
    """The number of seeds of the model that has fewest."""
    return min(arm.seeds.runs for group in groups for arm in group.arms)


def _protocol(group: Group) -> Facts:
    setting = group.setting
    rows = group.arms[0].results[0].lengths
    counts = {split: sum(row["split"] == split for row in rows) for split in ("within", "beyond", "reach")}
    return [
        ("training lengths", f"uniform, {varied(group, _training_lengths)}"),
        ("training data", varied(group, _training_data)),
        ("steps", varied(group, lambda r: f"{r.training['steps']} steps of {r.training['batch_size']} examples")),
        ("peak learning rate", varied(group, lambda r: f"{r.training['learning_rate']:g}")),
        ("size", varied(group, _budget)),
        ("seeds", varied(group, lambda r: str(r.training["seed"]), name=False)),
        ("format", f"{words(setting.format)}{_format_note(setting.format)}"),
        ("<bos>", "every sequence begins with it" if setting.bos else "not used"),
        ("decoding", words(setting.decoding)),
        ("mask and position ids", varied(group, _ids)),
        (
            "tested lengths",
            f"{counts['within']} up to L; {counts['beyond']} beyond it, one in each stratum, which the means are "
            f"taken over; {counts['reach']} more beyond it for reach only",
        ),
        ("examples", f"{setting.examples} per length, the same for all models"),
    ]


def varied(group: Group, fact: Callable[[RunResult], str], name: bool = True) -> str:
    """A fact about the runs of a setting; where they differ, each value with the models that have it."""
    models: dict[str, dict[str, None]] = {}
    for arm in group.arms:
        for result in arm.results:
            models.setdefault(fact(result), {})[arm.label] = None
    if len(models) == 1 or not name:
        return ", ".join(sorted(models, key=lambda value: (len(value), value)))
    return "; ".join(f"{value} ({', '.join(labels)})" for value, labels in models.items())


def _training_lengths(result: RunResult) -> str:
    return f"{result.training['min_length']} to {result.training['train_length']}"


def _training_data(result: RunResult) -> str:
    count = result.training.get("train_examples")
    return "fresh examples without end" if count is None else f"{count} different examples"


def _budget(result: RunResult) -> str:
    budget = quantity(result.training["budget"])
    return f"a budget of {budget} parameters, token embeddings, output head and position tables not counted"


def _ids(result: RunResult) -> str:
    trained, tested = (words(ids or "consecutive") for ids in result.run["model"]["position_ids"])
    ids = f"{trained} ids" if trained == tested else f"{trained} ids in training, {tested} in the test"
    return f"{'causal' if result.run['model']['causal'] else 'bidirectional'}, {ids}"


def _format_note(name: str) -> str:
    return ": the number of masks shows the model how long the answer may be" if name == "parallel" else ""


def _environment(environment: dict[str, Any]) -> Facts:
    git = environment.get("git")
    revision = f"{git['revision']}{', with uncommitted changes' if git['dirty'] else ''}" if git else MISSING
    packages = environment["packages"].items()
    return [
        ("Python", environment["python"]),
        ("packages", ", ".join(f"{name} {version}" for name, version in packages if version)),
        ("git revision", revision),
        ("platform", environment["platform"]),
        ("processor", f"{environment['processor']}, {plural(environment['cpu_count'], 'core')}"),
        ("accelerator", environment.get("accelerator") or "none"),
        ("threads per run", str(environment["threads"])),
    ]
