"""A problem answers for its task and format with one vocabulary."""

from itertools import product

import numpy as np
import pytest

from eval_harness.errors import HarnessError
from eval_harness.specification import TrainingRun
from eval_harness.tasks import get_task
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.problem import Problem, get_problem
from eval_harness.tokenization.vocabulary import Vocabulary


TASKS = ("parity", "flip_flop", "binary_addition", "coupled_addition")
EACH = [(name, format, bos) for name in TASKS for format, bos in product(get_task(name).formats, (True, False))]


def test_tokens_ids_and_sizes_are_those_of_the_format():
    for name, format, bos in EACH:
        problem, task, posed = get_problem(name, format, bos), get_task(name), get_format(format)
        length = next(length for length in range(8, 20) if task.valid_length(length))
        sample = task.sample(length, 4, seed=0)
        encoded, expected = problem.encode(sample), posed.encode(sample, task, Vocabulary(task), bos=bos)
        for field, array in vars(expected).items():
            assert np.array_equal(getattr(encoded, field), array), (name, format, bos, field)
        ids = [each.coupled_ids(sample, *more) for each, more in ((problem, (40,)), (posed, (task, 40, bos)))]
        assert np.array_equal(*ids)
        assert problem.token_lengths(length) == posed.token_lengths(task, length, bos)
        assert problem.token_length(length) == posed.token_length(task, length, bos)
        assert problem.prompt_template == posed.prompt_template(bos)
        asked = (problem.head, problem.decodes, problem.needs_causal)
        assert asked == (posed.head, posed.decodes, posed.needs_causal)


def test_the_vocabulary_is_made_once():
    problem = get_problem("parity")
    assert problem.vocabulary is problem.vocabulary
    assert problem.vocabulary.tokens == Vocabulary(get_task("parity")).tokens


def test_a_task_is_posed_in_its_first_format_unless_one_is_named():
    assert str(get_problem("flip_flop")) == "flip_flop in the in_place format"
    assert str(get_problem(get_task("parity"), "parallel", bos=False)) == "parity in the parallel format without <bos>"
    assert get_problem("parity") == Problem(get_task("parity"), get_format("autoregressive"))


def test_a_format_that_the_task_lacks_is_refused():
    with pytest.raises(HarnessError, match="'flip_flop' has no parallel format; it has: in_place"):
        get_problem("flip_flop", "parallel")
    with pytest.raises(HarnessError, match="Unknown format 'paralel'"):
        get_problem("parity", "paralel")


def test_a_run_has_the_problem_of_its_fields():
    run = TrainingRun(task="majority:letters=5", model="lstm", format="parallel", bos=False, train_length=5)
    assert run.problem == get_problem("majority:letters=5", "parallel", bos=False)
