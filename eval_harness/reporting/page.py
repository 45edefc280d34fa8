"""Writes the report of a study: one self-contained HTML page, its figures, and the summary as data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from eval_harness.errors import HarnessError
from eval_harness.reporting import drawing, figures, provenance, tables
from eval_harness.reporting.groups import Group, group_results
from eval_harness.reporting.numbers import plural, reach_in_words
from eval_harness.reporting.skills import skill_table
from eval_harness.results.files import read_json, replacing, write_json, write_table
from eval_harness.results.folders import REPORT_FOLDER, RunResult, StudyFolder, load_study, unfinished_runs
from eval_harness.results.schemas import SUMMARY


CLAIM_SEEDS = 5

_REACH_CAPTION = (
    "Reach: the last tested length before the first that fails. Bar: the median over the seeds that fit; one mark per "
    "such seed, an arrow where no tested length failed (“≥”). Upright line: median certified reach, up to which "
    "every length passes with its entire Wilson interval."
)


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Section:
    """The part of the page about one setting."""

    anchor: str
    group: Group
    headline: str
    mixed: str
    reach: Picture
    accuracy: Picture
    compute: Picture | None
    reaches: tables.Table
    accuracies: tables.Table
    costs: tables.Table
    runs: tables.Table


def make_report(study_folder: str | Path, output: str | Path | None = None) -> Path:
    """Makes tables, figures and one HTML page of a study's finished runs.

    Args:
        study_folder: the study.
        output: where to; by default `report` in the study's folder.

    Returns:
        The page. Beside it lie `figures/*.svg` and `*.png`, `summary.parquet` (a row per run) and `summary.json`.

    Raises:
        HarnessError: no run of the study is finished, or one of its files is not complete.
    """
    study_folder = Path(study_folder)
    output = study_folder / REPORT_FOLDER if output is None else Path(output)
    groups = _groups(study_folder)
    sections = _sections(groups, output / "figures")
    _write_summary(groups, study_folder.name, output)
    page = output / "report.html"
    with replacing(page) as temporary:
        temporary.write_text(_render(study_folder, groups, sections), encoding="utf-8")
    return page


def print_summary(study_folder: str | Path) -> None:
    """Writes a study's summary tables to the terminal.

    Raises:
        HarnessError: no run of the study is finished, or one of its files is not complete.
    """
    groups = _groups(Path(study_folder))
    tables.print_tables(groups)
    if by_skill := skill_table(groups):
        tables.print_table("Normalised exact match beyond L by skill, %", by_skill)


def _groups(study_folder: Path) -> list[Group]:
    results = load_study(study_folder)
    if not results:
        raise HarnessError(f"No run of the study {study_folder} is finished: there is nothing to report yet.")
    return group_results(results)


def _sections(groups: Sequence[Group], folder: Path) -> list[Section]:
    marks = drawing.palette(arm.label for group in groups for arm in group.arms)
    names = [group.setting.slug for group in groups]
    unique = [f"{name}_{names[:i].count(name) + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]
    return [_section(group, marks, name, folder) for group, name in zip(groups, unique, strict=True)]


def _section(group: Group, marks: figures.Palette, name: str, folder: Path) -> Section:
    sentence = headline(group)

    def picture(kind: str, figure: Figure, description: str, caption: str) -> Picture:
        drawing.save(figure, folder, f"{name}_{kind}")
        return Picture(Markup(drawing.to_svg(figure, description, f"{name}-{kind}")), caption)

    return Section(
        anchor=name,
        group=group,
        headline=sentence,
        mixed=mixed_conditions(group),
        reach=picture("reach", figures.reach_figure(group, marks), f"Reach of each model. {sentence}", _REACH_CAPTION),
        accuracy=picture(
            "accuracy",
            figures.accuracy_figure(group.results, marks),
            f"Accuracy of each model against length on {group.setting.task}.",
            _accuracy_caption(group),
        ),
        compute=picture(
            "compute",
            figures.compute_figure(group, marks),
            f"Mean exact match beyond the training length against training FLOPs on {group.setting.task}.",
            "One mark per run; hollow where the run does not fit. Up is better, left is cheaper.",
        )
        if any(arm.seeds.extrapolation_exact is not None for arm in group.arms)
        else None,
        reaches=tables.reach_table(group),
        accuracies=tables.accuracy_table(group),
        costs=tables.cost_table(group),
        runs=tables.run_table(group),
    )


def headline(group: Group) -> str:
    """What the reach figure shows, in a sentence or two."""
    first = group.arms[0].seeds.reach
    silent = [arm.label for arm in group.arms if tables.reach(arm, group.setting.train_length) == "did not learn"]
    failed = f"Did not learn: {', '.join(silent)}." if silent else ""
    if first is None:
        return failed or "No reach to report."
    best = [arm for arm in group.arms if arm.seeds.reach == first]
    names = [arm.label if arm.seeds.runs == 1 else f"{arm.label} ({tables.fits(arm)} seeds fit)" for arm in best]
    reached = reach_in_words(first, group.setting.train_length)
    return f"{', '.join(names)} {'reaches' if len(best) == 1 else 'reach'} furthest: {reached}. {failed}".strip()


def mixed_conditions(group: Group) -> str:
    """The models of each condition, where the figures show more than one; else nothing."""
    parts = group.by_condition
    if len(parts) == 1:
        return ""
    named = (f"{condition}: {', '.join(arm.label for arm in arms)}" for condition, arms in parts.items())
    return f"The figures hold models under more than one condition. {'. '.join(named)}."


def _accuracy_caption(group: Group) -> str:
    counts = {arm.seeds.runs for arm in group.arms}
    parts = []
    if 1 in counts:
        parts.append("One seed: the band is the 95 % Wilson interval of that checkpoint, not of other trainings.")
    if 2 in counts:
        parts.append("Two seeds: the line is their mean, the points are the seeds, the band is their range.")
    if counts & {3, 4}:
        parts.append(
            "Three or four seeds: the line is their median, the points are the seeds, the band is their range."
        )
    if max(counts) >= CLAIM_SEEDS:
        parts.append("Five seeds or more: the line is their median, each fine line is a seed.")
    if any(row["enumerable"] for row in group.arms[0].results[0].lengths):
        parts.append("Hollow marks: lengths with too few distinct inputs, left out of fit and reach.")
    parts.append("Dotted: what a length needs to pass, nine tenths of the way from the input-blind baseline to 100 %.")
    return " ".join(parts)


def _write_summary(groups: Sequence[Group], study: str, output: Path) -> None:
    rows = [summary for group in groups for arm in group.arms for summary in arm.summaries]
    write_table(output / "summary.parquet", rows, SUMMARY)
    models: list[dict[str, Any]] = [
        {
            **asdict(group.setting),
            "skill": group.skill,
            "model": arm.label,
            "condition": arm.condition,
            "seeds": asdict(arm.seeds),
        }
        for group in groups
        for arm in group.arms
    ]
    write_json(output / "summary.json", {"schema": 1, "study": study, "models": models, "runs": rows})


def _render(study_folder: Path, groups: Sequence[Group], sections: Sequence[Section]) -> str:
    environment = Environment(
        loader=PackageLoader("eval_harness.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    described = StudyFolder(study_folder).description
    study = read_json(described) if described.exists() else {}
    results: list[RunResult] = [result for group in groups for result in group.results]
    unfinished = unfinished_runs(study_folder)
    begun = len({result.folder for result in results}) + len(unfinished)
    return environment.get_template("report.html.j2").render(
        name=study.get("name", study_folder.name),
        question=study.get("question", ""),
        sections=sections,
        overview=tables.overview(groups) if len(groups) > 1 else None,
        by_skill=skill_table(groups),
        protocols=provenance.protocols(groups),
        environments=provenance.environments(results),
        runs=provenance.run_list(groups),
        unfinished=unfinished,
        not_begun=max(0, len(study.get("runs", [])) - begun),
        fewest_seeds=plural(provenance.fewest_seeds(groups), "seed"),
        illustration=provenance.fewest_seeds(groups) < CLAIM_SEEDS,
    )
