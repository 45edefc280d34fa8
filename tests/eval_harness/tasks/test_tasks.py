"""Every task against a plain solver of one example, and against its whole input space where that is small."""

import hashlib
from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest

from eval_harness.encoding import list_formats
from eval_harness.tasks import get_task, list_tasks


def parity(x):
    return ["odd" if x.count("1") % 2 else "even"]


def even_pairs(x):
    changes = sum(left != right for left, right in pairwise(x))
    return ["odd" if changes % 2 else "even"]


def cycle_navigation(x):
    place = 0
    for symbol in x:
        place = (place + {"0": -1, "1": 0, "2": 1}[symbol]) % 5
    return [str(place)]


def binary_addition(x):
    plus = x.index("+")
    total = sum(int("".join(reversed(operand)), 2) for operand in (x[:plus], x[plus + 1 :]))
    return list(reversed(f"{total:b}"))


def majority(x):
    return [Counter(x).most_common(1)[0][0]]


def flip_flop(x):
    said, memory = [], None
    for instruction, bit in zip(x[::2], x[1::2], strict=True):
        if instruction == "w":
            memory = bit
        if instruction == "r":
            said.append(memory)
    return said


SOLVERS = {
    "parity": parity,
    "even_pairs": even_pairs,
    "cycle_navigation": cycle_navigation,
    "reverse": lambda x: x[::-1],
    "duplicate": lambda x: x + x,
    "binary_addition": binary_addition,
    "bucket_sort": lambda x: sorted(x, key=int),
    "majority": majority,
    "flip_flop": flip_flop,
}


def any_string(x):
    return True


def one_mode(x):
    counts = sorted(Counter(x).values())
    return counts[-1:] != counts[-2:-1]


def is_sum(x):
    operands = "".join(x).split("+")
    return len(operands) == 2 and all("1" in operand for operand in operands)


def is_flip_flop(x):
    pairs = ["".join(x[start : start + 2]) for start in range(0, len(x), 2)]
    known = {"w0", "w1", "i0", "i1", "r?"}
    return pairs[0][0] == "w" and pairs[-1] == "r?" and known.issuperset(pairs)


GRAMMARS = {"majority": one_mode, "binary_addition": is_sum, "flip_flop": is_flip_flop}

KEYS = [
    *list_tasks(),
    "bucket_sort:symbols=12",
    "bucket_sort:symbols=2",
    "majority:letters=2",
    "majority:letters=3",
    "flip_flop:ignore=0",
    "flip_flop:ignore=0.98",
]

each_task = pytest.mark.parametrize("task", [get_task(key) for key in KEYS], ids=KEYS)


def lengths_of(task, longest):
    return [length for length in range(1, longest + 1) if task.valid_length(length)]


def symbols_of(alphabet, indices, length):
    return [alphabet[index] for index in indices[:length]]


def solve(task, x):
    """The task's own answer to one input, as symbols."""
    inputs = np.array([[task.input_alphabet.index(symbol) for symbol in x]])
    answer = task.answer(inputs, np.array([len(x)]))
    return symbols_of(task.output_alphabet, answer.targets[0], answer.target_lengths[0])


@pytest.mark.parametrize("name", list_tasks())
def test_drawn_examples_are_true_and_stand_in_the_docstring(name):
    task = get_task(name)
    assert task.examples
    for x, y in task.examples:
        assert solve(task, x.split()) == y.split()
        assert SOLVERS[task.name](x.split()) == y.split()
        assert f"{x} -> {y}\n" in type(task).__doc__


@each_task
def test_answers_equal_those_of_the_plain_solver(task):
    for length in [*lengths_of(task, 12), 40, 200]:
        sample = task.sample(length, 48, seed=1, split="train")
        for row in range(48):
            x = symbols_of(task.input_alphabet, sample.inputs[row], sample.input_lengths[row])
            y = symbols_of(task.output_alphabet, sample.targets[row], sample.target_lengths[row])
            assert len(x) == length
            assert y == SOLVERS[task.name](x)


@each_task
def test_samples_keep_to_their_contract(task):
    for length in [*lengths_of(task, 9), 50]:
        sample = task.sample(length, 300, seed=0)
        width = task.output_length(length)
        assert sample.inputs.shape == (300, task.input_length(length))
        assert sample.targets.shape == sample.scored.shape == (300, width)
        assert {sample.inputs.dtype, sample.targets.dtype, sample.input_lengths.dtype, sample.lengths.dtype} == {
            np.dtype(np.int64)
        }
        assert sample.scored.dtype == bool
        assert sample.inputs.min() >= 0
        assert sample.inputs.max() < len(task.input_alphabet)
        assert sample.targets.min() >= 0
        assert sample.targets.max() < len(task.output_alphabet)
        assert (sample.input_lengths == length).all()
        assert (sample.lengths == length).all()
        assert (sample.target_lengths <= width).all()
        assert (sample.scored == (np.arange(width) < sample.target_lengths[:, None])).all()
        assert not sample.targets[~sample.scored].any()
        if not task.varying_answers:
            assert (sample.target_lengths == width).all()
    assert task.varying_answers == (len(set(sample.target_lengths.tolist())) > 1)


@each_task
def test_padding_does_not_change_an_answer(task):
    for length in lengths_of(task, 8):
        sample = task.sample(length, 64, seed=0)
        padded = np.pad(sample.inputs, ((0, 0), (0, 4)))
        answer = task.answer(padded, sample.input_lengths)
        width = sample.targets.shape[1]
        np.testing.assert_array_equal(answer.targets[:, :width], sample.targets)
        np.testing.assert_array_equal(answer.target_lengths, sample.target_lengths)
        assert not answer.targets[:, width:].any()
        if sample.positions is not None:
            np.testing.assert_array_equal(answer.positions[:, :width], sample.positions)


@each_task
def test_drawn_inputs_are_exactly_the_strings_that_the_task_counts(task):
    grammar = GRAMMARS.get(task.name, any_string)
    lengths = [n for n in lengths_of(task, 6) if len(task.input_alphabet) ** n <= 50_000]
    assert lengths
    for length in lengths:
        space = {x for x in product(task.input_alphabet, repeat=length) if grammar(x)}
        if task == get_task("flip_flop:ignore=0"):
            space = {x for x in space if "i" not in x}
        assert task.distinct_inputs(length) == len(space)
        drawn = task.sample(length, 2048, seed=0).inputs
        seen = {tuple(symbols_of(task.input_alphabet, row, length)) for row in drawn}
        assert seen <= space
        if len(space) < 100 and task.key() != "flip_flop:ignore=0.98":
            assert seen == space


def test_counts_of_long_majority_inputs_are_exact_for_two_letters_and_bounds_otherwise():
    two, three = get_task("majority:letters=2"), get_task("majority:letters=3")
    assert two.distinct_inputs(16) == 2**16 - 12870  # 16 choose 8
    assert two.distinct_inputs(17) == 2**17
    assert two.distinct_inputs(18) == 2**18 - 48620  # 18 choose 9
    assert 10**6 < three.distinct_inputs(17) < 3**17
    assert three.distinct_inputs(16) < three.distinct_inputs(18)


def test_flip_flop_asks_at_its_question_marks_and_nowhere_else():
    task = get_task("flip_flop:ignore=0.3")
    sample = task.sample(30, 200, seed=0)
    for row in range(200):
        places = np.flatnonzero(sample.inputs[row] == task.input_alphabet.index("?"))
        assert sample.positions[row][sample.scored[row]].tolist() == places.tolist()
        assert not sample.positions[row][~sample.scored[row]].any()


@each_task
def test_a_task_says_what_it_is(task):
    assert task.skill
    assert "https://" in task.source
    assert task.length_meaning
    assert set(task.formats) <= set(list_formats())
    assert task.formats
    assert task.valid_length(task.min_length)
    assert len(set(task.input_alphabet)) == len(task.input_alphabet)
    assert len(set(task.output_alphabet)) == len(task.output_alphabet)
    assert type(task).__doc__.split("\n")[0].endswith((".", "?"))


def test_every_task_has_a_plain_solver():
    assert set(SOLVERS) == set(list_tasks())


# A change here is a change of the data: it needs a new version of the task.
DIGESTS = {
    "binary_addition": (1, "2eec6ceba1d7"),
    "bucket_sort": (1, "e228e3e8aeb4"),
    "cycle_navigation": (1, "3d36b8a5718f"),
    "duplicate": (1, "f65eae9c1f05"),
    "even_pairs": (1, "fe525844b41e"),
    "flip_flop": (1, "28c218eed2f6"),
    "majority": (1, "87aa92a46b59"),
    "parity": (1, "edca1b02494d"),
    "reverse": (1, "aaf4a118187a"),
}


@pytest.mark.parametrize("name", list_tasks())
def test_data_are_those_of_the_version(name):
    task = get_task(name)
    sample = task.sample(10, 300, seed=0)
    digest = hashlib.sha256(sample.inputs.tobytes() + sample.targets.tobytes()).hexdigest()[:12]
    assert (task.version, digest) == DIGESTS[name]


# What follows speaks of large fixed draws: the bounds are five standard errors or more.


def test_bits_and_steps_are_independent_and_equally_likely():
    for name, symbols in (
        ("parity", 2),
        ("even_pairs", 2),
        ("reverse", 2),
        ("cycle_navigation", 3),
        ("bucket_sort", 5),
    ):
        inputs = get_task(name).sample(20, 4096, seed=0).inputs
        frequencies = np.bincount(inputs.ravel()) / inputs.size
        assert np.abs(frequencies - 1 / symbols).max() < 0.01
        neighbours = (inputs[:, 1:] == inputs[:, :-1]).mean()
        assert abs(neighbours - 1 / symbols) < 0.01


def test_parity_counts_ones_as_fair_coins_do():
    ones = get_task("parity").sample(64, 4096, seed=0).inputs.sum(axis=1)
    assert abs(ones.mean() - 32) < 0.4
    assert abs(ones.std() - 4) < 0.3


def test_the_plus_of_an_addition_stands_anywhere_and_operands_are_uniform():
    inputs = get_task("binary_addition").sample(8, 8192, seed=0).inputs
    places = np.argmax(inputs == 2, axis=1)
    assert np.abs(np.bincount(places, minlength=8)[1:7] / 8192 - 1 / 6).max() < 0.021
    first = inputs[places == 3][:, :3] @ np.array([1, 2, 4])
    frequencies = np.bincount(first, minlength=8) / len(first)
    assert frequencies[0] == 0
    assert np.abs(frequencies[1:] - 1 / 7).max() < 0.05


def test_majority_answers_are_equally_likely_and_conditioning_keeps_all_else():
    task = get_task("majority:letters=3")
    sample = task.sample(3, 8192, seed=0)
    assert np.abs(np.bincount(sample.targets[:, 0]) / 8192 - 1 / 3).max() < 0.027
    unanimous = (sample.inputs == sample.inputs[:, :1]).all(axis=1).mean()
    assert abs(unanimous - 3 / 21) < 0.02  # 3 of the 27 strings, of which 6 have no single mode


def test_flip_flop_instructions_follow_the_ignore_probability():
    for ignore in (0.1, 0.8):
        inputs = get_task("flip_flop", ignore=ignore).sample(52, 2048, seed=0).inputs
        instructions, bits = inputs[:, 2:-2:2], inputs[:, 3:-2:2]
        frequencies = np.bincount(instructions.ravel(), minlength=3) / instructions.size
        assert np.abs(frequencies - [(1 - ignore) / 2, (1 - ignore) / 2, ignore]).max() < 0.012
        assert abs((bits[instructions != 1] == 4).mean() - 0.5) < 0.015
