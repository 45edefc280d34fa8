"""Exported tasks: the rows that models are scored on, read back by `datasets`, whole or not at all."""

import datasets
import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard

from eval_harness import export_task, to_dataset
from eval_harness.errors import HarnessError
from eval_harness.exporting import data_set
from eval_harness.scoring.baselines import baselines
from eval_harness.scoring.scorer import TEST_SEED
from eval_harness.tasks import get_task


pytestmark = pytest.mark.versions


def test_rows_are_those_that_models_are_scored_on():
    task = get_task("binary_addition")
    rows = to_dataset(task, length=9, count=40)
    sample = task.sample(9, 40, TEST_SEED, "test")
    assert rows.split == "test"
    assert rows["length"] == [9] * 40
    assert rows["index"] == list(range(40))
    for row, size, answer, asked, said in zip(
        sample.inputs, sample.input_lengths, sample.targets, rows["input"], rows["target"], strict=True
    ):
        assert asked.split() == [task.input_alphabet[symbol] for symbol in row[:size]]
        assert said.split() == [task.output_alphabet[symbol] for symbol in answer[: len(said.split())]]
    assert [len(said.split()) for said in rows["target"]] == sample.target_lengths.tolist()
    assert rows.column_names == ["length", "index", "input", "target"]


def test_other_splits_and_seeds_are_other_rows():
    first = to_dataset("parity", 30, 50)
    assert first["input"] != to_dataset("parity", 30, 50, split="train")["input"]
    assert first["input"] != to_dataset("parity", 30, 50, seed=1)["input"]
    assert first["input"][:20] == to_dataset("parity", 30, 20)["input"]


def test_answers_in_place_say_where():
    for row in to_dataset("flip_flop", 12, 30):
        symbols, answers = row["input"].split(), row["target"].split()
        assert [symbols[place] for place in row["positions"]] == ["?"] * len(answers)
        for place, answer in zip(row["positions"], answers, strict=True):
            written = [bit for what, bit in zip(symbols[:place:2], symbols[1:place:2], strict=False) if what == "w"]
            assert written[-1] == answer


def test_symbols_that_do_not_count_are_marked(monkeypatch, tmp_path):
    task = get_task("duplicate")
    drawn = type(task).answer

    def half(self, inputs, input_lengths):
        answer = drawn(self, inputs, input_lengths)
        scored = np.zeros(answer.targets.shape, dtype=bool)
        scored[:, ::2] = True
        return answer._replace(scored=scored)

    monkeypatch.setattr(type(task), "answer", half)
    monkeypatch.setattr(type(task), "version", 99)  # its stream is its own
    assert to_dataset(task, 3, 2)["scored"] == [[True, False] * 3] * 2


def test_an_exported_folder_is_read_by_datasets(tmp_path):
    folder = export_task("majority:letters=5", tmp_path / "rows", [10, 5, 10], examples=30, splits=["test", "train"])
    names = datasets.get_dataset_config_names(str(folder))
    assert names == ["every_length", "length_5", "length_10"]
    every = datasets.load_dataset(str(folder))
    assert {split: len(rows) for split, rows in every.items()} == {"test": 60, "train": 60}
    for length in (5, 10):
        for split in ("test", "train"):
            read = datasets.load_dataset(str(folder), f"length_{length}", split=split)
            assert read.to_dict() == to_dataset("majority:letters=5", length, 30, split).to_dict()


def test_the_card_says_what_a_reader_needs(tmp_path):
    folder = export_task("majority:letters=5", tmp_path / "rows", [3, 40], examples=200, lm_eval=True)
    card = DatasetCard.load(folder / "README.md")
    task = get_task("majority:letters=5")
    assert card.data.license == "apache-2.0"
    assert [config["config_name"] for config in card.data.configs] == ["every_length", "length_3", "length_40"]
    for words in (task.question, task.skill, task.source, task.length_meaning, "`letters=5`", *task.formats):
        assert words in card.text
    command = (
        "longreach tasks export majority:letters=5 --lengths 3,40 --examples 200 --splits test --output rows --lm-eval"
    )
    assert command in card.text
    blind = baselines(task, 40, task.sample(40, 200, TEST_SEED))["baseline_exact"]
    assert f"| 40 | {100 * blind:.0f} | " in card.text
    assert "| 3 \\* | " in card.text
    assert "\n\n\n" not in card.text.strip()
    again = export_task("majority:letters=5", tmp_path / "elsewhere" / "rows", [3, 40], examples=200, lm_eval=True)
    assert (again / "README.md").read_bytes() == (folder / "README.md").read_bytes()


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(data_set, "data_card", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_task("parity", tmp_path / "rows", [5], examples=10)
    assert not list(tmp_path.iterdir())


def test_no_folder_is_overwritten(tmp_path):
    folder = export_task("parity", tmp_path / "rows", [5], examples=10)
    before = (folder / "README.md").read_bytes()
    with pytest.raises(HarnessError, match="exists already"):
        export_task("parity", folder, [6], examples=10)
    assert (folder / "README.md").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_lm_eval_tasks_name_the_folder_and_leave_room_for_the_end(tmp_path):
    folder = export_task("binary_addition", tmp_path / "rows", [5, 9], examples=10, lm_eval=True)
    group, short, long = (
        yaml.safe_load((folder / "lm_eval" / f"longreach_binary_addition{end}.yaml").read_text())
        for end in ("", "_length_5", "_length_9")
    )
    assert group["task"] == [short["task"], long["task"]]
    assert (long["dataset_path"], long["dataset_name"], long["test_split"]) == (str(folder), "length_9", "test")
    assert long["generation_kwargs"]["max_gen_toks"] == get_task("binary_addition").output_length(9) + 1
    rows = datasets.load_dataset(long["dataset_path"], long["dataset_name"], split=long["test_split"])
    assert {long["doc_to_text"], long["doc_to_target"]} <= set(rows.column_names)


def test_lm_eval_needs_the_test_rows(tmp_path):
    with pytest.raises(HarnessError, match="read the split 'test'"):
        export_task("parity", tmp_path / "rows", [5], splits=["train"], lm_eval=True)
    assert not list(tmp_path.iterdir())
