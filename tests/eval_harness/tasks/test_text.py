"""Text against windows that are cut by hand."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_harness.errors import HarnessError
from eval_harness.tasks import get_task
from eval_harness.tasks.corpora import text
from eval_harness.tokenization.vocabulary import Vocabulary


CONTENT = "".join(f"{number} über\t␣\n" for number in range(100))


@pytest.fixture(params=text.UNITS)
def task(request, tmp_path):
    path = tmp_path / "a text.txt"
    path.write_text(CONTENT, encoding="utf-8", newline="")
    return get_task("text", path=str(path), unit=request.param)


def units(task):
    """The text as a sequence of what a symbol stands for."""
    return CONTENT if task.unit == "characters" else CONTENT.encode()


def spelled(task, row):
    return [task.input_alphabet[number] for number in row]


def as_units(task, row):
    return task.detokenize(spelled(task, row)) if task.unit == "characters" else bytes(row.tolist())


def test_training_windows_begin_anywhere_in_the_first_eight_tenths(task):
    whole = units(task)[: 8 * len(units(task)) // 10]
    for split in ("train", "baseline"):
        windows = [as_units(task, row) for row in task.rows(split, 7).inputs]
        assert windows == [whole[start : start + 7] for start in range(len(whole) - 6)]


def test_windows_of_tuning_and_test_lie_side_by_side(task):
    size = len(units(task))
    for split, first, stop in (("tune", 8, 9), ("test", 9, 10)):
        part = units(task)[first * size // 10 : stop * size // 10]
        windows = [as_units(task, row) for row in task.rows(split, 7).inputs]
        assert windows == [part[start : start + 7] for start in range(0, len(part) - 6, 7)]


def test_what_is_due_is_the_window_itself(task):
    sample = task.sample(9, 30, seed=0, split="train")
    np.testing.assert_array_equal(sample.inputs, sample.targets)
    assert sample.scored.all()
    assert sample.positions is None


def test_the_longest_window_is_a_tenth_of_the_text(task):
    assert task.max_length == len(units(task)) - 9 * len(units(task)) // 10
    assert len(task.rows("test", task.max_length)) == 1
    assert task.training_lengths(5) == [2, 3, 4, 5]


def test_a_long_text_has_no_more_training_windows_than_are_needed(task, monkeypatch):
    monkeypatch.setattr(text, "PLACES", 50)
    everything = units(task)
    sample = task.rows("train", 4)
    assert 40 < len(sample) <= 50
    assert all(as_units(task, row) in everything for row in sample.inputs)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_character_has_a_symbol_of_its_own_and_comes_back(content):
    content += " \n\t␣⏎⇥<pad>\u00a0\u2028\x85"
    symbols = [text._symbol(character) for character in content]
    assert "".join(map(text._character, symbols)) == content
    assert len(set(symbols)) == len(set(content))
    assert all(symbol.split() == [symbol] for symbol in symbols)


def test_bytes_are_all_there_and_any_of_them_can_be_read(tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(bytes(range(256)) * 4)
    task = get_task("text", path=str(path), unit="bytes")
    assert len(set(task.input_alphabet)) == 256
    assert Vocabulary(task).size == 256 + 5
    assert task.detokenize(task.input_alphabet[65:68]) == "ABC"
    assert task.detokenize([task.input_alphabet[byte] for byte in "ü€".encode()]) == "ü€"
    assert task.detokenize(task.input_alphabet[255:]) == "\ufffd"
    with pytest.raises(HarnessError, match=r"binary' is not in UTF-8: invalid start byte; take its bytes"):
        get_task("text", path=str(path)).rows("train", 4)


def test_the_digest_is_that_of_the_file_and_another_file_is_refused(task):
    digest = hashlib.sha256(CONTENT.encode()).hexdigest()[:12]
    assert task.digest_of_data() == digest
    assert f"digest={digest}" in task.pinned().key()
    assert get_task(task.pinned().key()) == task.pinned()
    other = get_task(task.key(), digest="0123456789ab")
    with pytest.raises(HarnessError, match=f"'text' have the digest {digest}, not 0123456789ab"):
        other.sample(4, 4, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "words"}, "Unknown unit of task 'text': 'words'. Allowed: bytes, characters"),
        ({"path": "no such file"}, "Cannot read the text 'no such file': No such file or directory"),
    ],
)
def test_what_cannot_be_read_is_refused(options, message):
    with pytest.raises(HarnessError, match=message):
        get_task("text", **options).digest_of_data()


def test_a_text_of_a_few_words_is_refused(tmp_path):
    (tmp_path / "short").write_text("a few words")
    with pytest.raises(HarnessError, match="A text of 11 bytes is too short"):
        get_task("text", path=str(tmp_path / "short")).rows("test", 2)


def test_by_default_the_text_is_pythons_documentation():
    task = get_task("text")
    assert len(task.rows("train", 100)) > 200_000
    assert " class " in task.detokenize(spelled(task, task.rows("test", 40_000).inputs[0]))
    for x, y in task.examples:
        assert x == y
        assert f"{x} -> {y}\n" in type(task).__doc__
        assert set(x.split()) <= set(task.input_alphabet)
