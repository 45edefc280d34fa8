"""What the draws of the copying tasks look like; the bounds are five standard errors or more."""

import numpy as np
import pytest

from eval_harness.errors import HarnessError
from eval_harness.tasks import get_task


def test_symbols_of_copies_are_independent_and_equally_likely():
    for name, symbols in (("copy", 100), ("decimal_copy", 10), ("repeat_copy", 2)):
        inputs = get_task(name).sample(20, 4096, seed=0).inputs
        frequencies = np.bincount(inputs.ravel(), minlength=symbols) / inputs.size
        assert np.abs(frequencies * symbols - 1).max() < 0.2
        assert abs((inputs[:, 1:] == inputs[:, :-1]).mean() - 1 / symbols) < 0.01


def test_unique_copies_use_all_symbols_at_every_place():
    inputs = get_task("unique_copy:symbols=20").sample(10, 8192, seed=0).inputs
    for place in range(10):
        frequencies = np.bincount(inputs[:, place], minlength=20) / 8192
        assert np.abs(frequencies - 1 / 20).max() < 0.013
    following = (inputs[:, 1:] == inputs[:, :-1] + 1).mean()
    assert abs(following - 1 / 20) < 0.005  # 19 of the 380 ordered pairs


def test_a_unique_copy_may_use_every_symbol_but_no_more():
    task = get_task("unique_copy")
    assert (np.sort(task.sample(150, 4, seed=0).inputs, axis=1) == np.arange(150)).all()
    with pytest.raises(HarnessError, match=r"'unique_copy' has no length 151; its longest is 150\."):
        task.sample(151, 4, seed=0)


def test_copies_of_a_repeated_symbol_have_enough_inputs_to_be_tested_on():
    for name in ("copy_repeated", "copy_repeated_twice", "replace_repeated"):
        task = get_task(name)
        sample = task.sample(30, 2048, seed=0)
        assert task.distinct_inputs(30) > 4 * 512
        assert len(np.unique(sample.inputs[:, :2], axis=0)) > 1500


def test_one_symbol_alone_is_refused():
    for name in ("copy", "copy_repeated", "replace_repeated", "unique_copy"):
        with pytest.raises(HarnessError, match=f"'{name}' cannot have 1 symbols; give at least 2"):
            get_task(name, symbols=1)


@pytest.mark.parametrize("name", ["reverse", "duplicate", "copy_twice", "copy_reversed_then_forward"])
def test_rows_of_many_lengths_are_answered_as_each_alone(name):
    task = get_task(name)
    inputs, lengths = task.sample(9, 40, seed=0).inputs, 1 + np.arange(40) % 9
    answer = task.answer(inputs, lengths)
    for row, length in enumerate(lengths):
        alone = task.answer(inputs[row : row + 1, :length], lengths[row : row + 1])
        size = task.output_length(length)
        assert answer.target_lengths[row] == alone.target_lengths[0] == size
        np.testing.assert_array_equal(answer.targets[row, :size], alone.targets[0])
        assert not answer.targets[row, size:].any()
