"""What the draws of the composition tasks look like; the bounds are five standard errors or more."""

import numpy as np
import pytest

from eval_harness.errors import HarnessError
from eval_harness.tasks import get_task
from eval_harness.tasks.composition.expressions import Expressions
from tests.eval_harness.tasks.plain_composition import work_out


def symbols_of(task, sample):
    return [
        [task.input_alphabet[index] for index in row[:length]]
        for row, length in zip(sample.inputs, sample.input_lengths, strict=True)
    ]


@pytest.mark.parametrize("key", ["listops", "simple_arithmetic", "listops:max_symbols=200,operators=0.1"])
def test_expressions_have_the_very_depth_and_room(key):
    task = get_task(key)
    for length in (2, 3, 5, 8, 9, 12):
        sample = task.sample(length, 256, seed=0)
        for x in symbols_of(task, sample):
            assert work_out(x, task)[1] == length
        assert sample.input_lengths.max() <= task.max_symbols
        assert len(np.unique(sample.inputs, axis=0)) > (200 if length > 2 else 115)


@pytest.mark.parametrize("key", ["listops", "simple_arithmetic", "listops:arguments=2"])
def test_random_operators_are_what_is_written_and_have_independent_arguments(key):
    task = get_task(key)
    on_digits = []
    for seed in range(4):
        table = Expressions(task, 256, np.random.default_rng(seed))
        lengths = table.lengths[table.operators]
        for number, row, length in zip(
            table.operators, table.write(table.operators, lengths.max()), lengths, strict=True
        ):
            x = [task.input_alphabet[symbol] for symbol in row[:length]]
            assert work_out(x, task) == (table.values[number], table.depths[number])
            on_digits.append(sum(symbol[0] in "[(" for symbol in x) == 1)
    counts = range(2, getattr(task, "arguments", 2) + 1)
    assert abs(np.mean(on_digits) - np.mean([(1 - task.operators) ** count for count in counts])) < 0.06


def test_every_operator_and_digit_is_used_at_every_depth():
    for key in ("listops", "simple_arithmetic"):
        task = get_task(key)
        for length in (2, 6, 12):
            sample = task.sample(length, 512, seed=0)
            used = {symbol for x in symbols_of(task, sample) for symbol in x}
            assert used == set(task.input_alphabet)
            assert set(sample.targets[:, 0].tolist()) == set(range(10))


def test_deep_arguments_stand_on_either_side():
    task = get_task("simple_arithmetic")
    xs = symbols_of(task, task.sample(8, 2048, seed=0))
    left = np.mean([work_out_side(x, task) for x in xs])
    assert abs(left - 0.5) < 0.08


def work_out_side(x, task):
    """Whether the left argument is the deeper one; one half where both are equally deep."""
    nest = np.cumsum([(symbol == "(") - (symbol == ")") for symbol in x])
    sign = next(place for place, symbol in enumerate(x) if symbol in "+*" and nest[place] == 1)
    left, right = work_out(x[1:sign], task)[1], work_out(x[sign + 1 : -1], task)[1]
    return 0.5 * (1 + np.sign(left - right))


def test_the_dependency_depth_counts_selected_arguments_alone():
    task = get_task("listops")
    for text, value, depth in (
        ("[MIN 1 [MAX 9 8 ] ]", 1, 2),
        ("[MIN 9 [MAX 3 8 ] ]", 8, 3),
        ("[MAX 5 [SM 2 3 ] ]", 5, 2),  # of equal arguments the first
        ("[MAX [SM 2 3 ] 5 ]", 5, 3),
        ("[MED 1 [SM 2 3 ] 9 0 ]", 3, 3),
        ("[MED 1 2 [SM 2 9 ] ]", 1, 3),
    ):
        rows = np.array([[task.input_alphabet.index(symbol) for symbol in text.split()]])
        values, depths = task.evaluate(rows, np.array([rows.shape[1]]))
        assert (values.tolist(), depths.tolist()) == ([value], [depth])


def test_lego_signs_are_fair_and_questions_uniform_over_the_second_half():
    task = get_task("lego")
    for length, first in ((6, 3), (7, 4)):
        sample = task.sample(length, 8192, seed=0)
        clauses = sample.inputs[:, :-1].reshape(8192, length, 5)
        asked = (clauses[:, :, 0] == sample.inputs[:, -1:]).argmax(axis=1)
        frequencies = np.bincount(asked, minlength=length) / 8192
        assert not frequencies[:first].any()
        assert np.abs(frequencies[first:] - 1 / 3).max() < 0.03
        assert abs(sample.targets.mean() - 0.5) < 0.03


def test_shuffled_clauses_come_in_every_order():
    inputs = get_task("lego:shuffled=True").sample(4, 4096, seed=0).inputs
    first_comes = (inputs[:, 3:-1:5] == get_task("lego").input_alphabet.index("1")).argmax(axis=1)
    assert np.abs(np.bincount(first_comes) / 4096 - 1 / 4).max() < 0.04


def test_both_reading_orders_of_table_lookup_ask_the_same():
    forward, backward = get_task("compositional_table_lookup"), get_task("compositional_table_lookup:backward=True")
    sample = forward.sample(9, 256, seed=0)
    answer = backward.answer(sample.inputs[:, ::-1], sample.input_lengths)
    np.testing.assert_array_equal(answer.targets, sample.targets)
    assert np.abs(np.bincount(forward.sample(9, 8192, seed=0).targets[:, 0]) / 8192 - 1 / 8).max() < 0.02


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listops:operators=0.6", r"Option 'operators' of task 'listops' cannot be 0.6; give 0 to 0.5"),
        ("listops:arguments=1", r"'listops' cannot have up to 1 arguments; give 2 to 50"),
        ("simple_arithmetic:max_symbols=7", r"'simple_arithmetic' cannot have at most 7 symbols; give at least 8"),
    ],
)
def test_compositions_refuse_options_that_make_no_sense(text, message):
    with pytest.raises(HarnessError, match=message):
        get_task(text)


def test_depths_without_room_are_refused():
    with pytest.raises(HarnessError, match=r"'listops' has no length 13; its longest is 12\."):
        get_task("listops").check_length(13)
    with pytest.raises(HarnessError, match=r"'lego' has no length 27; its longest is 26\."):
        get_task("lego").check_length(27)
