"""Every drawn task against a plain solver of one example, and against its whole input space where that is small.

Corpora, which are listed and not drawn, are tested in `test_corpus.py`.

Each folder of tasks has a module `plain_<folder>` beside this file, with

- `SOLVERS`: for each task's name a function of one input (a list of symbols) and the task that gives the answer;
- `DIGESTS`: for each name its version and the digest of its data: a change here is a change of the data, and needs a
  new version of the task;
- `GRAMMARS`, where not every string can be drawn: for each name whether an input (a list of symbols) can be;
- `SPACES`, where trying all strings takes too long: for each name every input (a tuple of symbols) of a length, or
  None where the length has too many;
- `BOUNDED`: names of tasks whose `distinct_inputs` is a lower bound alone;
- `KEYS`, where there are options: more tasks to run through the suite.
"""

import hashlib
from functools import cache
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from eval_harness.tasks import SKILLS, Corpus, get_task, list_tasks
from eval_harness.tokenization.formats import list_formats


PLAIN = [
    import_module(f"tests.eval_harness.tasks.{path.stem}") for path in sorted(Path(__file__).parent.glob("plain_*.py"))
]


def gathered(name):
    return {key: value for module in PLAIN for key, value in getattr(module, name, {}).items()}


SOLVERS, GRAMMARS, DIGESTS = gathered("SOLVERS"), gathered("GRAMMARS"), gathered("DIGESTS")
SPACES = gathered("SPACES")
BOUNDED = {name for module in PLAIN for name in getattr(module, "BOUNDED", ())}
DRAWN = [name for name in list_tasks() if not isinstance(get_task(name), Corpus)]
KEYS = [*DRAWN, *(key for module in PLAIN for key in getattr(module, "KEYS", ()))]

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


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_examples_are_true_and_stand_in_the_docstring(name):
    task = get_task(name)
    assert task.examples
    for x, y in task.examples:
        assert solve(task, x.split()) == y.split()
        assert SOLVERS[task.name](x.split(), task) == y.split()
        assert f"{x} -> {y}\n" in type(task).__doc__


@each_task
def test_answers_equal_those_of_the_plain_solver(task):
    for length in [*lengths_of(task, 12), *(n for n in (40, 200) if task.valid_length(n))]:
        sample = task.sample(length, 48, seed=1, split="train")
        for row in range(48):
            x = symbols_of(task.input_alphabet, sample.inputs[row], sample.input_lengths[row])
            y = symbols_of(task.output_alphabet, sample.targets[row], sample.target_lengths[row])
            assert y == SOLVERS[task.name](x, task)


@each_task
def test_samples_keep_to_their_contract(task):
    varied = False
    for length in [*lengths_of(task, 9), *(n for n in (50,) if task.valid_length(n))]:
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
        assert (sample.input_lengths <= task.input_length(length)).all()
        assert (sample.lengths == length).all()
        assert (sample.target_lengths <= width).all()
        assert (sample.scored == (np.arange(width) < sample.target_lengths[:, None])).all()
        assert not sample.targets[~sample.scored].any()
        if not task.varying_answers:
            assert (sample.target_lengths == width).all()
        varied |= len(set(sample.target_lengths.tolist())) > 1
    assert task.varying_answers == varied


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


@cache
def space_of(task, length):
    """Every input of a length, or None where they are too many to list."""
    if task.name in SPACES:
        inputs = SPACES[task.name](length, task)
        return None if inputs is None else set(inputs)
    if len(task.input_alphabet) ** length > 50_000:
        return None
    grammar = GRAMMARS.get(task.name, lambda x, task: True)
    return {x for x in product(task.input_alphabet, repeat=length) if grammar(x, task)}


def drawn_inputs(task, length, count=2048):
    sample = task.sample(length, count, seed=0)
    return {
        tuple(symbols_of(task.input_alphabet, *row)) for row in zip(sample.inputs, sample.input_lengths, strict=True)
    }


def spaces_of(task):
    spaces = {length: space_of(task, length) for length in lengths_of(task, 12)}
    return {length: space for length, space in spaces.items() if space is not None}


@pytest.mark.parametrize("name", DRAWN)
def test_every_task_has_inputs_that_can_be_listed_with_some_options(name):
    assert any(spaces_of(get_task(key)) for key in KEYS if key.partition(":")[0] == name)


@each_task
def test_drawn_inputs_are_exactly_the_strings_that_the_task_counts(task):
    for length, space in spaces_of(task).items():
        counted = task.distinct_inputs(length)
        assert counted <= len(space) if task.name in BOUNDED else counted == len(space)
        seen = drawn_inputs(task, length)
        assert seen <= space
        if len(space) < 100 and task.key() != "flip_flop:ignore=0.98":
            assert seen == space


@each_task
def test_long_inputs_are_those_that_the_grammar_allows(task):
    grammar = GRAMMARS.get(task.name, lambda x, task: True)
    for length in [n for n in (20, 21) if task.valid_length(n)]:
        drawn = drawn_inputs(task, length, 256)
        assert len(drawn) >= min(200, task.distinct_inputs(length) / 4)
        assert all(grammar(x, task) for x in drawn)


@each_task
def test_a_task_says_what_it_is(task):
    assert task.skill in SKILLS
    assert "https://" in task.source
    assert task.length_meaning
    assert set(task.formats) <= set(list_formats())
    assert task.formats
    assert task.valid_length(task.min_length)
    assert len(set(task.input_alphabet)) == len(task.input_alphabet)
    assert len(set(task.output_alphabet)) == len(task.output_alphabet)
    assert type(task).__doc__.split("\n")[0].endswith((".", "?"))


def test_every_task_has_a_plain_solver():
    assert set(SOLVERS) == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_data_are_those_of_the_version(name):
    task = get_task(name)
    length = next(length for length in range(10, 100) if task.valid_length(length))
    sample = task.sample(length, 300, seed=0)
    digest = hashlib.sha256(sample.inputs.tobytes() + sample.targets.tobytes()).hexdigest()[:12]
    assert (task.version, digest) == DIGESTS[name]
