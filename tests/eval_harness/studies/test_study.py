"""Studies: what is to be done, what is not done twice, and what an error leaves behind."""

import json
from dataclasses import replace

import pytest

from eval_harness.errors import HarnessError
from eval_harness.reporting import make_report
from eval_harness.results.folders import StudyFolder, load_study, unfinished_runs
from eval_harness.scoring.protocol import test_lengths as protocol_lengths
from eval_harness.specification import TrainingRun
from eval_harness.studies.launch import LENGTH_UNITS
from eval_harness.studies.study import get_study, list_studies, plan, run_study
from eval_harness.training.setup import size_for
from tests.eval_harness.studies.small_study import SIZES, small_study
from tests.tiny_runs import files


@pytest.mark.slow
def test_a_study_goes_on_after_an_error_and_does_nothing_twice(tmp_path):
    study, said = small_study(), []
    bad = TrainingRun(task="parity", model="lstm", config={"no_such_key": 1}, steps=20, **SIZES)
    with pytest.raises(HarnessError, match="Unknown configuration key of lstm: 'no_such_key'"):
        run_study(replace(study, runs=(bad, study.runs[0])), tmp_path, processes=2)
    [result] = load_study(tmp_path / "small")  # the error left the other run whole
    assert result.folder.name == study.runs[0].folder_name()
    done = files(result.folder)

    folder = run_study(study, tmp_path, processes=2, announce=said.append)
    assert folder == tmp_path / "small"
    assert said == ["small: 1 of 2 runs to do"]
    assert files(result.folder) == done
    assert json.loads((folder / "study.json").read_text())["question"] == study.question
    results = load_study(folder)
    assert {result.folder.name for result in results} == {run.folder_name() for run in study.runs}
    assert [[row["length"] for row in result.lengths] for result in results] == [[4, 6, 9]] * 2
    assert all(result.run["study"] == "small" for result in results)
    assert unfinished_runs(folder) == []

    before = {run.name: files(run.path) for run in StudyFolder(folder).runs()}
    run_study(study, tmp_path, announce=said.append)
    assert said[-1] == "small: 0 of 2 runs to do"
    assert {run.name: files(run.path) for run in StudyFolder(folder).runs()} == before

    page = make_report(folder).read_text()
    assert all(run.model in page for run in study.runs)
    before = {run.name: files(run.path) for run in StudyFolder(folder).runs()}

    with pytest.raises(HarnessError, match="holds 2 runs of another specification of small") as refusal:
        run_study(small_study(seed=1), tmp_path)
    assert "\n" not in str(refusal.value)
    assert {run.name: files(run.path) for run in StudyFolder(folder).runs()} == before


def test_a_folder_with_a_run_of_another_study_is_refused_before_anything_is_written(tmp_path):
    other = tmp_path / "small" / "parity_lstm_seed0_0123abcd"
    other.mkdir(parents=True)
    with pytest.raises(HarnessError, match=r"holds 1 runs of another specification of small \(parity_lstm_seed0_0123"):
        run_study(small_study(), tmp_path)
    assert list((tmp_path / "small").iterdir()) == [other]


def test_a_plan_knows_how_much_work_there_is(tmp_path):
    study = small_study()
    assert [job.units for job in plan(study, tmp_path)] == [20 + 3 * LENGTH_UNITS] * 2
    by_protocol = replace(study, evaluation=replace(study.evaluation, lengths=None, factor=3.0))
    count = len(protocol_lengths(study.runs[0].make_task(), 6, 3.0).all)
    assert [job.lengths for job in plan(by_protocol, tmp_path)] == [count] * 2


def test_a_plan_leaves_out_what_is_scored_and_keeps_what_is_only_trained(tmp_path):
    study = small_study()
    first, second = plan(study, tmp_path)
    cell = study.evaluation.identity(first.run.identity(), first.run.make_task(), first.run.format, first.run.bos)
    scored = first.folder / "evaluations" / cell
    scored.mkdir(parents=True)
    (scored / "examples.parquet").touch()
    (first.folder / "run.json").touch()
    second.folder.mkdir()
    (second.folder / "run.json").touch()
    assert plan(study, tmp_path) == [first, second]
    (scored / "cell.json").touch()
    (scored / "lengths.parquet").touch()
    assert plan(study, tmp_path) == [second]
    longer = replace(study, evaluation=replace(study.evaluation, lengths=(4, 12)))
    assert [job.run for job in plan(longer, tmp_path)] == list(study.runs)


def test_quickstart_crosses_two_tasks_six_models_and_two_seeds(tmp_path):
    study = get_study("quickstart")
    jobs = plan(study, tmp_path)
    cells = {(job.run.task, job.run.model, job.run.seed) for job in jobs}
    assert len(jobs) == len(cells) == 24
    assert {task for task, _, _ in cells} == {"majority:letters=5", "flip_flop"}
    assert len({model for _, model, _ in cells}) == 6
    assert {job.run.train_length for job in jobs} == {20}
    assert (study.evaluation.factor, study.evaluation.examples) == (5.0, 256)


@pytest.mark.parametrize("name", list_studies())
def test_every_study_can_be_run(name, tmp_path):
    study = get_study(name)
    assert study.name == name
    assert study.question.endswith("?")
    assert len({run.folder_name() for run in study.runs}) == len(study.runs)
    one_seed = {run.model + run.task: run for run in study.runs}.values()
    for run in one_seed:
        sized = size_for(run)
        assert abs(sized.parameters["counted"] - run.budget) <= 0.03 * run.budget
    assert all(job.lengths > 0 for job in plan(study, tmp_path))


def test_an_unknown_study_is_named_with_the_nearest():
    with pytest.raises(HarnessError, match=r"Unknown study 'quikstart'\. Did you mean 'quickstart'"):
        get_study("quikstart")


def test_a_study_with_a_run_twice_is_refused():
    with pytest.raises(HarnessError, match="Study small has a run twice: parity_lstm_seed0"):
        small_study(models=("lstm", "transformer-none", "lstm"))
