"""A run's summary follows the protocol."""

import json
from statistics import fmean

import pyarrow as pa
import pytest

from eval_harness.results.folders import load_run
from eval_harness.results.schemas import SUMMARY
from eval_harness.results.summary import summarise
from tests.eval_harness.fake_study import BEYOND, MODELS, TASKS, WITHIN, FakeModel, write_run


pytestmark = pytest.mark.versions


def test_a_summary_has_the_columns_of_its_schema(tmp_path):
    summary = summarise(load_run(write_run(tmp_path / "study")))
    assert list(summary) == SUMMARY.names
    assert pa.Table.from_pylist([summary], schema=SUMMARY).to_pylist() == [summary]
    json.dumps(summary)


def test_extrapolation_is_the_plain_mean_over_the_strata_alone(tmp_path):
    result = load_run(write_run(tmp_path / "study", MODELS[1], TASKS[1]))
    exact = {row["length"]: row["exact"] for row in result.lengths}
    blind = result.lengths[0]["baseline_exact"]
    summary = summarise(result)
    expected = fmean(exact[length] for length in BEYOND)
    assert summary["extrapolation_exact"] == pytest.approx(expected)
    assert summary["normalised_exact"] == pytest.approx((expected - blind) / (1 - blind))
    assert expected != pytest.approx(fmean(exact.values()))


def test_a_run_that_did_not_learn_has_no_reach(tmp_path):
    summary = summarise(load_run(write_run(tmp_path / "study", FakeModel("lazy", 400.0, ceiling=0.5))))
    assert summary["fits"] is False
    assert summary["fit_exact"] < summary["fit_threshold"]
    assert [summary[name] for name in ("reach", "certified_reach", "at_grid_end", "recovers")] == [None] * 4


def test_a_run_that_never_fails_reaches_at_least_the_end_of_the_grid(tmp_path):
    summary = summarise(load_run(write_run(tmp_path / "study", FakeModel("tireless", 4000.0))))
    assert (summary["reach"], summary["at_grid_end"], summary["next_tested"]) == (max(BEYOND), True, None)
    assert summary["certified_at_grid_end"] is True


def test_costs_are_those_at_the_training_length_and_at_the_longest(tmp_path):
    result = load_run(write_run(tmp_path / "study", MODELS[-1]))
    flops = {row["length"]: row["flops_per_token"] for row in result.lengths}
    summary = summarise(result)
    assert summary["flops_per_token"] == flops[max(WITHIN)]
    assert summary["flops_per_token_longest"] == flops[max(flops)]
    assert summary["ponder_steps"] < summary["ponder_steps_beyond"]


def test_a_run_scored_at_lengths_of_the_users_choice_has_a_reach_but_no_extrapolation(tmp_path):
    result = load_run(write_run(tmp_path / "study", MODELS[0]))
    result.lengths = [row for row in result.lengths if row["split"] != "beyond"]
    summary = summarise(result)
    assert summary["reach"] is not None
    assert summary["extrapolation_exact"] is summary["normalised_exact"] is None
