"""Result files are whole or refused by name, and a run's summary follows the protocol."""

import json
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval_harness.errors import HarnessError
from eval_harness.results.files import read_json, read_table, replacing, write_json, write_table
from eval_harness.results.folders import load_run, load_study, unfinished_runs
from eval_harness.results.schemas import EXAMPLES, LENGTHS, POSITIONS, SUMMARY
from eval_harness.results.summary import summarise
from tests.eval_harness.fake_study import BEYOND, MODELS, TASKS, WITHIN, FakeModel, write_run, write_study


pytestmark = pytest.mark.versions
POSITION = {"length": 3, "position": 0, "right": 5, "total": 8, "loss": 0.25}


def cut_in_half(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def test_json_comes_back_as_it_was_and_what_is_not_finite_as_null(tmp_path):
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"a": [1, 2.5, float("nan")], "b": {"c": float("inf"), "d": "≥"}, "e": (1, None)})
    assert read_json(path) == {"a": [1, 2.5, None], "b": {"c": None, "d": "≥"}, "e": [1, None]}
    assert path.read_text().endswith("\n")


def test_a_table_comes_back_as_it_was(tmp_path):
    path = tmp_path / "positions.parquet"
    write_table(path, [POSITION], POSITIONS)
    assert read_table(path) == [POSITION]
    assert pq.read_schema(path).equals(POSITIONS)


@pytest.mark.parametrize("row", [POSITION | {"typo": 1}, {"length": 3, "position": 0, "right": 5}])
def test_columns_that_the_schema_does_not_know_or_misses_are_refused(tmp_path, row):
    with pytest.raises(ValueError, match=r"positions\.parquet: columns .*(typo|total)"):
        write_table(tmp_path / "positions.parquet", [row], POSITIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_nullable_column_may_be_left_out(tmp_path):
    row = {name: 0 for name in EXAMPLES.names if name != "ponder_steps"} | {"exact": False}
    write_table(tmp_path / "examples.parquet", [row], EXAMPLES)
    assert read_table(tmp_path / "examples.parquet")[0]["ponder_steps"] is None


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, 1)

    def cut_off():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]
    assert read_json(path) == 1


def test_new_files_have_the_usual_permissions(tmp_path):
    write_json(tmp_path / "value.json", 1)
    (tmp_path / "plain").touch()
    assert (tmp_path / "value.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["run.json", "evaluations/cell-1/cell.json", "evaluations/cell-1/lengths.parquet"])
def test_a_file_cut_in_half_is_named(tmp_path, name):
    folder = write_run(tmp_path / "study")
    cut_in_half(folder / name)
    with pytest.raises(HarnessError, match=f"{name} is not a whole .* file; delete it and run the same command again"):
        load_study(tmp_path / "study")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HarnessError, match=r"There is no file .*gone\.json"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(HarnessError, match=r"There is no file .*gone\.parquet"):
        read_table(tmp_path / "gone.parquet")


def test_another_schema_is_refused(tmp_path):
    folder = write_run(tmp_path / "study")
    record = read_json(folder / "run.json")
    write_json(folder / "run.json", record | {"schema": 99})
    with pytest.raises(HarnessError, match="schema 99; this version reads 1"):
        load_run(folder)


def test_a_study_gives_its_finished_runs_and_names_the_others(tmp_path):
    study = write_study(tmp_path / "study", models=MODELS[:2], tasks=TASKS[:1], seeds=(1, 2))
    (study / "report").mkdir()
    (study / ".cache").mkdir()
    trained = write_run(study, MODELS[2])
    (trained / "evaluations" / "cell-1" / "lengths.parquet").unlink()
    assert len(load_study(study)) == 4
    assert unfinished_runs(study) == ["majority-lstm-interrupted", trained.name]


def test_no_study_folder_is_an_error_in_words(tmp_path):
    with pytest.raises(HarnessError, match="no study folder"):
        load_study(tmp_path / "nothing")


def test_a_run_with_several_evaluations_asks_which(tmp_path):
    folder = write_run(tmp_path / "study")
    first = folder / "evaluations" / "cell-1"
    second = folder / "evaluations" / "cell-2"
    second.mkdir()
    for path in first.iterdir():
        (second / path.name).write_bytes(path.read_bytes())
    with pytest.raises(HarnessError, match="name one: cell-1, cell-2"):
        load_run(folder)
    assert load_run(folder, "cell-2").folder == folder
    assert len(load_study(tmp_path / "study")) == 2
    with pytest.raises(HarnessError, match="no finished evaluation 'cell-3'"):
        load_run(folder, "cell-3")


def test_lengths_come_in_order(tmp_path):
    lengths = [row["length"] for row in load_run(write_run(tmp_path / "study")).lengths]
    assert lengths == sorted(lengths)


def test_the_made_up_run_has_the_schemas_of_a_real_one(tmp_path):
    cell = write_run(tmp_path / "study") / "evaluations" / "cell-1"
    for name, schema in (("examples", EXAMPLES), ("positions", POSITIONS), ("lengths", LENGTHS)):
        assert pq.read_schema(cell / f"{name}.parquet").equals(schema)


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
