"""Studies, runs and evaluations on disk: what is there, what is finished, what is broken."""

import ast
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eval_harness.errors import HarnessError
from eval_harness.results import folders
from eval_harness.results.files import read_json, read_table, write_json
from eval_harness.results.folders import RunFolder, load_run, load_study, unfinished_runs
from eval_harness.results.schemas import EXAMPLES, LENGTHS, POSITIONS
from tests.eval_harness.fake_study import MODELS, TASKS, write_run, write_study


pytestmark = pytest.mark.versions


def cut_in_half(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("name", ["run.json", "evaluations/cell-1/cell.json", "evaluations/cell-1/lengths.parquet"])
def test_a_file_cut_in_half_is_named(tmp_path, name):
    folder = write_run(tmp_path / "study")
    cut_in_half(folder / name)
    with pytest.raises(
        HarnessError, match=f"{name} is not a complete .* file; delete it and run the same command again"
    ):
        load_study(tmp_path / "study")


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


def test_training_is_finished_once_its_record_is_there(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert not run.is_trained
    assert run.cells() == []
    run.write_record({"run_id": "a"})
    assert run.is_trained
    assert run.read_record() == {"schema": 1, "run_id": "a"}
    run.write_record({"schema": 2})
    with pytest.raises(HarnessError, match="schema 2; this version reads 1"):
        run.read_record()


@pytest.mark.parametrize("name", ["run.json", "evaluations/cell-1/cell.json", "evaluations/cell-1/lengths.parquet"])
def test_an_evaluation_is_complete_with_all_its_files_in_a_trained_run(tmp_path, name):
    run = RunFolder(write_run(tmp_path / "study"))
    assert run.is_complete("cell-1")
    assert not run.is_complete("cell-2")
    assert [cell.cell_id for cell in run.cells()] == ["cell-1"]
    (run.path / name).unlink()
    assert not run.is_complete("cell-1")
    assert run.cells() == []


def test_an_evaluation_that_breaks_off_at_any_file_is_not_complete(tmp_path, monkeypatch):
    run = RunFolder(write_run(tmp_path / "study"))
    settings, lengths = run.cell("cell-1").read_settings(), run.cell("cell-1").read_lengths()
    rows = [read_table(run.cell("cell-1").path / f"{name}.parquet") for name in ("examples", "positions")]
    for name in ("examples.parquet", "positions.parquet", "lengths.parquet"):

        def cut_off(path, *rest, name=name, write=folders.write_table):
            if path.name == name:
                raise KeyboardInterrupt
            write(path, *rest)

        with monkeypatch.context() as broken:
            broken.setattr(folders, "write_table", cut_off)
            with pytest.raises(KeyboardInterrupt):
                run.cell("cell-2").write(settings, *rows, lengths)
        assert not run.is_complete("cell-2")
    run.cell("cell-2").write(settings, *rows, lengths)
    assert run.is_complete("cell-2")
    assert run.cell("cell-2").read_lengths() == lengths


def test_a_run_says_why_it_cannot_be_published(tmp_path):
    run = RunFolder(write_run(tmp_path / "study"))
    assert "has lost its model" in run.why_not_publishable()
    run.config.touch()
    assert "has lost its model" in run.why_not_publishable()
    (run.path / "model.safetensors").touch()
    assert run.why_not_publishable() is None
    (run.cell("cell-1").path / "cell.json").unlink()
    assert "is not scored yet" in run.why_not_publishable()
    run.record.unlink()
    assert "is not trained to the end" in run.why_not_publishable()


def test_the_files_of_the_model_are_neither_records_nor_hidden(tmp_path):
    run = RunFolder(write_run(tmp_path / "study"))
    for name in ("config.json", "model.safetensors", "specification.json", "training_args.bin", "README.md", ".lock"):
        (run.path / name).touch()
    assert [path.name for path in run.model_files()] == ["config.json", "model.safetensors"]


def test_no_other_file_of_the_harness_spells_the_layout():
    package = Path(folders.__file__).parents[1]
    layout = {"run.json", "specification.json", "cell.json", "study.json", "evaluations"}
    layout |= {f"{name}.parquet" for name in ("examples", "positions", "lengths")}
    for path in sorted(package.rglob("*.py")):
        constants = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        spelt = layout & {value for value in constants if isinstance(value, str)}
        assert not spelt or path == Path(folders.__file__), f"{path.name}: {spelt}"
