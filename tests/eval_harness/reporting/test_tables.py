"""The tables as text."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from eval_harness.reporting.groups import group_results
from eval_harness.reporting.tables import accuracy_table, cost_table, overview, print_tables, reach_table, run_table
from eval_harness.results.folders import load_study
from tests.eval_harness.fake_study import MODELS, TASKS, write_run, write_study


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "study"
    return group_results(load_study(write_study(folder, seeds=(1, 2), examples=128)))


def cells(table):
    """model -> column -> text."""
    rows = [row for _, part in table.parts for row in part]
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in rows}


def printed(groups, width=200):
    text = io.StringIO()
    print_tables(groups, Console(file=text, width=width))
    return text.getvalue()


def test_reach_has_its_bound_and_its_range(groups):
    found = cells(reach_table(groups[0]))
    assert found["lstm"]["fits"] == "2 of 2"
    assert found["lstm"]["median reach"] == "≥ 99 (4.9 L)"
    assert found["lstm"]["range"] == found["lstm"]["certified reach"] == "≥ 99"
    assert found["transformer-sinusoidal"]["fits"] == "0 of 2"
    assert found["transformer-sinusoidal"]["median reach"] == "did not learn"
    assert found["transformer-sinusoidal"]["certified reach"] == "-"


def test_accuracy_beyond_the_training_length_lists_every_seed(groups):
    found = cells(accuracy_table(groups[1]))
    assert found["lstm"]["seeds"] == "1  2"
    assert found["lstm"]["exact match, %"] == "100  100"
    for row in found.values():
        assert {len(row[name].split()) for name in ("exact match, %", "normalised, %", "tokens, %")} == {2}


def test_costs_are_readable_and_ponder_steps_stand_only_where_there_are_some(groups):
    found = cells(cost_table(groups[0]))
    assert found["transformer-none"]["parameters"] == "98.9k"
    assert found["transformer-none"]["training FLOPs"] == "1.2 TFLOP"
    assert found["transformer-none"]["steps up to L, beyond"] == "-"
    assert found["universal_transformer"]["steps up to L, beyond"].count(", ") == 1
    without = replace(groups[0], arms=[arm for arm in groups[0].arms if arm.label == "lstm"])
    assert "steps up to L, beyond" not in cost_table(without).columns


def test_every_run_has_a_row(groups):
    rows = [row for _, part in run_table(groups[0]).parts for row in part]
    assert [row[:2] for row in rows if row[0] == "lstm"] == [["lstm", "1"], ["lstm", "2"]]
    assert len(rows) == len(groups[0].results)


def test_the_overview_has_a_column_per_setting(groups):
    table = overview(groups)
    assert len(table.columns) == 3
    assert set(cells(table)) == {model.name for model in MODELS}


def test_masks_are_not_mixed_without_a_heading(tmp_path):
    study = tmp_path / "study"
    write_run(study, MODELS[0], examples=32)
    write_run(study, replace(MODELS[1], causal=False), examples=32)
    (group,) = group_results(load_study(study))
    tables = (reach_table(group), accuracy_table(group), cost_table(group), run_table(group), overview([group]))
    for table in tables:
        assert [heading for heading, _ in table.parts] == ["causal mask", "bidirectional mask"]
    assert "bidirectional mask" in printed([group])


def test_a_run_without_a_length_to_judge_the_fit_by_is_not_said_to_have_failed(tmp_path):
    write_run(tmp_path / "study", examples=32)
    (result,) = load_study(tmp_path / "study")
    for row in result.lengths:
        row["enumerable"] = row["length"] <= 20
    found = cells(reach_table(group_results([result])[0]))["lstm"]
    assert (found["fits"], found["median reach"]) == ("not tested", "-")


def test_the_terminal_needs_at_most_a_hundred_columns(tmp_path):
    longest = replace(MODELS[0], name="universal_transformer-rope")
    study = write_study(
        tmp_path / "study", models=(longest, *MODELS[1:]), tasks=TASKS[:1], seeds=range(5), examples=32
    )
    lines = printed(group_results(load_study(study))).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    (row,) = [line for line in lines if line.strip().startswith(longest.name)]
    assert "≥ 99 (4.9 L)" in row
    assert "100 100 100 100 100" in row
    assert lines[0].startswith("majority, parallel format, with <bos>")
