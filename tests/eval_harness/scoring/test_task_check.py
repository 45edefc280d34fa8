"""What `longreach tasks check` finds: nothing in good tasks, and each fault by the check that is there for it."""

import pytest

from eval_harness.errors import HarnessError
from eval_harness.scoring.task_check import CHECKS, FAILED, PASSED, WARNED, check_tasks
from eval_harness.scoring.task_digests import find_tasks


@pytest.fixture
def write(own_folder, own_task):
    """Writes the user's file with something in it replaced; returns its path."""

    def write(*replaced, name="own_task"):
        content = own_task
        for old, new in replaced:
            assert old in content
            content = content.replace(old, new)
        path = own_folder / f"{name}.py"
        path.write_text(content, encoding="utf-8")
        return str(path)

    return write


def failed(findings):
    return {found.check: found.text for found in findings if found.verdict == FAILED}


def test_a_good_task_of_a_file_passes_every_check(write):
    findings = check_tasks(write())
    assert {found.verdict for found in findings} == {PASSED}, findings
    assert [found.check for found in findings] == ["same data everywhere", *CHECKS]
    assert {found.task for found in findings} == {"own_task.last"}


@pytest.mark.parametrize("key", ["majority:letters=4", "flip_flop", "binary_addition"])
def test_our_tasks_pass(key):
    findings = check_tasks(key)
    assert not failed(findings)
    assert {found.task for found in findings} == {key}


DRAW = "rng.integers(0, self.digits, size=(count, length))"
LAST = "np.take_along_axis(inputs, input_lengths[:, None] - 1, axis=1)"
ONE = "    def output_length(self, length):\n"
FAULTS = {
    "no sentence": ("Say the last symbol.", "last symbol", "says what it is", "does not begin with a sentence"),
    "no address": ("https://example.org/last", "a book", "says what it is", "source has no address"),
    "no such format": ('"parallel")', '"paralel")', "says what it is", "there is no format paralel"),
    "a false example": ('"2"),)', '"1"),)', "its examples are true", "'0 1 2' is answered '2', not '1'"),
    "a foreign example": ('"0 1 2", ', '"0 7 2", ', "its examples are true", "not in input_alphabet: 7"),
    "a special token": ("str(digit) for", '"<eos>" for', "alphabets", "Symbol '<eos>' of task"),
    "a symbol twice": ("str(digit) for", "str(digit // 2) for", "alphabets", "input_alphabet has a symbol twice"),
    "out of range": (DRAW, DRAW + " + 1", "alphabets", "input symbol 3 is not in the alphabet, which has 0 to 2"),
    "too long": ("return 1\n", "return 0\n", "sizes", "an answer of length 1 has 1 symbols; output_length says 0"),
    "too short": ("return 1\n", "return 2\n", "sizes", "varying_answers is not set"),
    "reads padding": (LAST, "inputs[:, -1:]", "padding", "answers of length 1 change when the inputs are padded"),
    "miscounted": (
        ONE,
        "    def distinct_inputs(self, length):\n        return 2\n\n" + ONE,
        "leakage",
        "more were drawn",
    ),
    "an exception": (LAST, "1 / 0", "its examples are true", "raises ZeroDivisionError: division by zero"),
    "ids of another shape": (
        ONE,
        "    def coupled_ids(self, sample):\n        return sample.inputs + 1, sample.targets + 1\n\n" + ONE,
        "sizes",
        "coupled_ids of length 1 have shapes [(512, 1), (512, 1)]; expected are [(512, 1), (512, 3)]",
    ),
    "ids from zero": (
        ONE,
        "    def coupled_ids(self, sample):\n        return sample.inputs, np.ones((len(sample), 3))\n\n" + ONE,
        "sizes",
        "coupled_ids of length 1 are below 1",
    ),
    "no room": (
        ONE,
        "    def input_length(self, length):\n        return 0\n\n" + ONE,
        "sizes",
        "longer than input_length",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault, write):
    old, new, check, words = FAULTS[fault]
    [task] = find_tasks(write((old, new)))
    try:
        verdict, text = CHECKS[check](task)
    except (HarnessError, ZeroDivisionError):
        verdict, text = next((f.verdict, f.text) for f in check_tasks("own_task.last") if f.check == check)
    assert verdict == FAILED
    assert words in text
    assert "\n" not in text


DOUBTS = {
    "a name of its own": ("own_task.last", "last", "says what it is", "named own_task.last it would be found"),
    "a symbol never comes": (DRAW, DRAW.replace("self.digits", "2"), "alphabets", "input '2', output '2'"),
    "few inputs": (
        DRAW,
        "np.repeat(rng.integers(0, 3, size=(count, 1)), length, axis=1)",
        "leakage",
        "100% at 20, 100% at 40",
    ),
    "one answer": (LAST, LAST + " * 0", "balance", "commonest answer 100%, input-blind 100%"),
    "slow": (DRAW, f"{DRAW} + 0 * sum(range(5_000_000))", "speed", "examples/s at 40"),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_doubt_is_a_warning(doubt, write):
    old, new, check, words = DOUBTS[doubt]
    [task] = find_tasks(write((old, new)))
    verdict, text = CHECKS[check](task)
    assert verdict == WARNED
    assert words in text


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (DRAW.replace("rng", "np.random.default_rng()"), "a fresh process draws other data"),
        (f"{DRAW} * (hash('odd') % 1_000_003)", "a fresh process draws other data"),
        (f"{DRAW} * self.kept.append(1) if len(self.kept) % 2 else {DRAW}", "raises TypeError"),
    ],
    ids=["clock", "hash", "exception"],
)
def test_data_that_another_process_would_not_draw_are_found(new, words, write):
    source = write((DRAW, new), ("digits: int = 3", "kept = [1]\n    digits: int = 3"))
    assert words in failed(check_tasks(source))["same data everywhere"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "There is no file"),
        ("def f(:", "cannot be imported: SyntaxError"),
        ("x = 1", "registers no task; put @register_task above its class"),
    ],
)
def test_a_file_without_tasks_is_refused(content, words, own_folder):
    path = own_folder / "empty.py"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(HarnessError, match=words):
        check_tasks(str(path))


def test_a_file_with_the_name_of_another_module_is_refused(write):
    with pytest.raises(HarnessError, match=r"has the name of another module, .*json"):
        check_tasks(write(name="json"))


def test_a_file_may_hold_several_tasks(write, own_task):
    second = own_task[own_task.index("@register_task") :].replace("Last", "Other").replace(".last", ".other")
    found = find_tasks(write((own_task, f"{own_task}\n\n{second}")))
    assert [task.name for task in found] == ["own_task.last", "own_task.other"]
