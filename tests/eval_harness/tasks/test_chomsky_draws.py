"""What the inputs of the Chomsky hierarchy's tasks look like, and what can be guessed without them.

Bounds are five standard errors or more.
"""

import numpy as np
import pytest

from eval_harness.scoring.baselines import baselines
from eval_harness.tasks import get_task


def drawn(name, length, count):
    task = get_task(name)
    inputs = task.sample(length, count, seed=0).inputs
    return np.array(task.input_alphabet)[inputs]


def frequencies(values):
    return np.unique(values, return_counts=True)[1] / np.size(values)


def test_digits_and_operators_of_modular_arithmetic_are_uniform():
    inputs = drawn("modular_arithmetic", 41, 1024)
    assert np.abs(frequencies(inputs[:, ::2]) - 1 / 5).max() < 0.015
    assert np.abs(frequencies(inputs[:, 1::2]) - 1 / 3).max() < 0.018


def test_left_operands_in_brackets_have_uniform_lengths():
    splits = []
    for row in drawn("modular_arithmetic_brackets", 12, 8192):
        depths = np.cumsum(row == "(") - np.cumsum(row == ")")
        operators = np.isin(row, ["+", "-", "*"]) & (depths == 1)
        places = np.flatnonzero(operators)
        splits.append(next(place for place in places if place > 1) - 1)  # a minus at place 1 belongs to a digit
    assert set(splits) == set(range(1, 9))
    assert np.abs(frequencies(splits) - 1 / 8).max() < 0.019


def test_digits_and_operators_in_brackets_are_uniform():
    inputs = drawn("modular_arithmetic_brackets", 5, 8192)  # ( digit operator digit )
    assert np.abs(frequencies(inputs[:, 2]) - 1 / 3).max() < 0.027
    for place in (1, 3):
        assert np.abs(frequencies(inputs[:, place]) - 1 / 5).max() < 0.023


def test_the_hidden_digit_is_the_first_from_a_uniform_place_on_going_round():
    inputs = drawn("solve_equation", 7, 8192)  # ( digit operator digit ) = value
    assert abs((inputs[:, 1] == "x").mean() - 3 / 5) < 0.03  # from places 0 and 1, and from the end round
    assert abs((inputs[:, 3] == "x").mean() - 2 / 5) < 0.03


def test_hidden_digits_are_uniform_and_so_are_those_in_sight():
    inputs = drawn("solve_equation", 20, 4096)
    answers = get_task("solve_equation").sample(20, 4096, seed=0).targets
    left = inputs[:, :-2]
    for digits in (answers, left[np.char.isdigit(left)], inputs[:, -1]):
        assert np.abs(frequencies(digits) - 1 / 5).max() < 0.032


def test_the_number_of_bits_on_a_stack_is_uniform_and_bits_and_commands_are():
    inputs = drawn("stack_manipulation", 9, 8192)
    bits = np.isin(inputs, ["0", "1"]).sum(axis=1)
    assert set(bits) == set(range(1, 9))
    assert np.abs(frequencies(bits) - 1 / 8).max() < 0.019
    assert abs((inputs[:, 0] == "1").mean() - 1 / 2) < 0.028
    assert np.abs(frequencies(inputs[:, -1]) - 1 / 3).max() < 0.027


def test_every_place_of_both_copies_is_missing_equally_often():
    inputs = drawn("missing_duplicate", 8, 8192)
    assert np.abs(frequencies(np.argmax(inputs == "?", axis=1)) - 1 / 8).max() < 0.019


def test_operands_of_a_binary_product_are_uniform():
    inputs = get_task("binary_multiplication").sample(8, 8192, seed=0).inputs
    places = np.argmax(inputs == 2, axis=1)
    assert np.abs(np.bincount(places, minlength=8)[1:7] / 8192 - 1 / 6).max() < 0.021
    second = inputs[places == 4][:, 5:] @ np.array([1, 2, 4])
    found = np.bincount(second, minlength=8) / len(second)
    assert found[0] == 0
    assert np.abs(found[1:] - 1 / 7).max() < 0.05


def test_square_roots_are_taken_of_uniform_numbers_above_zero():
    numbers = get_task("compute_sqrt").sample(3, 8192, seed=0).inputs @ np.array([1, 2, 4])
    found = np.bincount(numbers, minlength=8) / 8192
    assert found[0] == 0
    assert np.abs(found[1:] - 1 / 7).max() < 0.02


@pytest.mark.parametrize(
    ("name", "share"),
    [("modular_arithmetic_brackets", 0.311), ("modular_arithmetic", 0.201), ("stack_manipulation", 0.497)],
)
def test_what_can_be_guessed_without_the_input_at_great_lengths(name, share):
    """The shares are means over lengths 41 to 500, as published scores are; they hardly depend on the length there."""
    task = get_task(name)
    scores = [baselines(task, length, task.sample(length, 4096, seed=0)) for length in (61, 121, 241)]
    assert abs(np.mean([score["baseline_tokens"] for score in scores]) - share) < 0.022
