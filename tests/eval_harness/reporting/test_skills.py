"""The table by skill: means of normalised accuracy over tasks, under equal terms alone."""

from dataclasses import replace
from statistics import fmean

import pytest

from eval_harness.reporting import make_report, print_summary
from eval_harness.reporting.groups import group_results
from eval_harness.reporting.numbers import percent
from eval_harness.reporting.skills import skill_table
from eval_harness.results.files import read_table
from eval_harness.results.folders import load_study
from eval_harness.results.summary import summarise
from tests.eval_harness.fake_study import MODELS, FakeTask, write_study


TASKS = (
    FakeTask("reverse", "autoregressive", 12, 2, "stack"),
    FakeTask("duplicate", "autoregressive", 8, 2, "copying"),
    FakeTask("copy_twice", "autoregressive", 4, 3, "copying"),
    FakeTask("flip_flop", "in_place", 3, 2, "state tracking"),
)
TERMS = (
    "autoregressive format, with <bos>, greedy decoding, L = 20, tested up to 5 L, 32 examples a length, causal mask"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("skills") / "study"
    return write_study(folder, models=MODELS[:2], tasks=TASKS, seeds=(1, 2), examples=32)


@pytest.fixture
def results(study):
    return load_study(study)


def table_of(results):
    return skill_table(group_results(results))


def normalised(results, model, task):
    found = [summarise(r) for r in results if (r.training["model"], r.training["task"]) == (model, task)]
    return {summary["seed"]: summary["normalised_exact"] for summary in found}


def test_tasks_of_a_skill_are_averaged_seed_by_seed(results):
    table = table_of(results)
    assert table.columns == ["model", "copying", "stack", "state tracking"]
    parts = dict(table.parts)
    assert list(parts) == [TERMS, TERMS.replace("autoregressive", "in place")]
    rows = {row[0]: row[1:] for row in parts[TERMS]}
    assert rows["tasks"] == ["2", "1", ""]
    for model in ("lstm", "transformer-none"):
        tasks = [normalised(results, model, task) for task in ("duplicate", "copy_twice")]
        means = [fmean(scores[seed] for scores in tasks) for seed in (1, 2)]
        assert rows[model][0] == "  ".join(map(percent, means))
        assert rows[model][1] == "  ".join(map(percent, normalised(results, model, "reverse").values()))
        assert rows[model][2] == ""


def test_formats_are_not_mixed(results):
    in_place = {row[0]: row[1:] for row in table_of(results).parts[1][1]}
    assert in_place["tasks"] == ["", "", "1"]
    assert in_place["lstm"][:2] == ["", ""]


def test_other_terms_are_another_part(results):
    for change in ({"bos": False}, {"decoding": "free"}, {"examples": 64}, {"factor": 10.0}):
        changed = [replace(r, cell=r.cell | change) if r.training["task"] == "duplicate" else r for r in results]
        assert len(table_of(changed).parts) == 3
    bidirectional = [
        replace(r, run=r.run | {"model": r.run["model"] | {"causal": False}}) if r.training["model"] == "lstm" else r
        for r in results
    ]
    assert len(table_of(bidirectional).parts) == 4


def test_a_seed_that_lacks_a_task_of_the_skill_is_left_out(results):
    kept = [
        r for r in results if (r.training["model"], r.training["task"], r.training["seed"]) != ("lstm", "duplicate", 1)
    ]
    rows = {row[0]: row[1:] for row in table_of(kept).parts[0][1]}
    tasks = [normalised(results, "lstm", task)[2] for task in ("duplicate", "copy_twice")]
    assert rows["lstm"][0] == percent(fmean(tasks))
    without = [r for r in results if (r.training["model"], r.training["task"]) != ("lstm", "duplicate")]
    rows = {row[0]: row[1:] for row in table_of(without).parts[0][1]}
    assert rows["lstm"][0] == "-"
    assert rows["lstm"][1] != "-"


def test_one_skill_or_none_needs_no_table(results):
    assert table_of([r for r in results if r.skill == "copying"]) is None
    old = [replace(r, cell={key: value for key, value in r.cell.items() if key != "skill"}) for r in results]
    assert table_of(old) is None
    assert {summarise(r)["skill"] for r in old} == {None}


def test_results_with_and_without_a_skill_are_one_group(results):
    mixed = [
        replace(r, cell={key: value for key, value in r.cell.items() if key != "skill"}) if i % 2 else r
        for i, r in enumerate(results)
    ]
    assert len(group_results(mixed)) == len(group_results(results))


def test_groups_of_a_skill_stand_together(results):
    assert [group.setting.task for group in group_results(results)] == [
        "copy_twice",
        "duplicate",
        "reverse",
        "flip_flop",
    ]


@pytest.mark.slow
def test_page_terminal_and_summary_have_the_skills(study, tmp_path, capsys):
    page = make_report(study, tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    assert "By skill" in text
    assert "skill: copying" in text
    rows = read_table(page.parent / "summary.parquet")
    assert {(row["task"], row["skill"]) for row in rows} == {(task.name, task.skill) for task in TASKS}
    print_summary(study)
    said = " ".join(capsys.readouterr().out.split())
    assert f"Normalised exact match beyond L by skill, %; {TERMS}" in said
