"""What each model can do: its accuracy beyond the training length, averaged over the tasks of each skill.

Only normalised accuracy is averaged over tasks, and only under equal terms: format, decoding, training length, tested
range, number of examples, mask and position ids.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from eval_harness.reporting.groups import Group, ReportGroupKey
from eval_harness.reporting.numbers import MISSING, percent
from eval_harness.reporting.tables import Table


Scores = dict[ReportGroupKey, dict[int, float]]  # of one model: by task and seed


def skill_table(groups: Sequence[Group]) -> Table | None:
    """A row per model and a column per skill, every seed listed; None where there are not two skills to tell apart.

    A number is the mean of normalised exact match over all tasks of the skill under the heading's terms; a seed that
    lacks one of them is left out.
    """
    skills = list(dict.fromkeys(group.skill for group in groups if group.skill))
    if len(skills) < 2:
        return None
    parts = []
    for terms, scores in _by_terms(groups).items():
        tasks = {skill: _tasks(scores, groups, skill) for skill in skills}
        rows = [["tasks", *(str(len(tasks[skill])) if tasks[skill] else "" for skill in skills)]]
        rows += [[label, *(_cell(mine, tasks[skill]) for skill in skills)] for label, mine in scores.items()]
        parts.append((terms, rows))
    return Table(["model", *skills], parts)


def _by_terms(groups: Sequence[Group]) -> dict[str, dict[str, Scores]]:
    """The scores of each model under each terms."""
    found: dict[str, dict[str, Scores]] = defaultdict(lambda: defaultdict(dict))
    for group in groups:
        for arm in group.arms:
            known = {s["seed"]: s["normalised_exact"] for s in arm.summaries if s["normalised_exact"] is not None}
            if known and group.skill:
                found[f"{group.setting.terms}, {arm.condition}"][arm.label][group.setting] = known
    return found


def _tasks(scores: dict[str, Scores], groups: Sequence[Group], skill: str) -> set[ReportGroupKey]:
    """The tasks of a skill that any model was scored on."""
    scored = {setting for mine in scores.values() for setting in mine}
    return scored & {group.setting for group in groups if group.skill == skill}


def _cell(mine: Scores, tasks: set[ReportGroupKey]) -> str:
    if not tasks:
        return ""
    seeds = sorted(set.intersection(*(set(mine.get(task, {})) for task in tasks)))
    return "  ".join(percent(fmean(mine[task][seed] for task in tasks)) for seed in seeds) or MISSING
