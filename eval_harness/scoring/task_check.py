"""`longreach tasks check`: the rules for tasks, tested on drawn examples."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from eval_harness.scoring.baselines import baselines
from eval_harness.scoring.protocol import is_enumerable
from eval_harness.scoring.task_digests import digest_of, digests_elsewhere, find_tasks, tried_lengths
from eval_harness.tasks import Sample, Task
from eval_harness.tasks.corpus import Corpus
from eval_harness.tasks.plugins import describe
from eval_harness.tasks.sample import length_mask
from eval_harness.tokenization.formats import get_format, list_formats
from eval_harness.tokenization.problem import Problem
from eval_harness.tokenization.vocabulary import NOT_SCORED, Vocabulary


PASSED, WARNED, FAILED = "passed", "warned", "failed"
EXAMPLES = 512  # of each length, as a score has
TRAINED = 1600  # examples of each length that a run of 1,000 steps of 64 at lengths up to 40 sees
DECIDING = 20  # with training lengths up to 40, those from here on decide whether a run fits
DRAWN_EACH = 20  # draws for each symbol, so that one that never comes is no accident
SEEN_AT_MOST = 0.1  # share of test inputs that may come in training at such a length
BLIND_AT_MOST = 0.9  # what a model has to beat may not be higher
SPEEDS = {40: 50_000, 500: 800}  # examples that a second of CPU time should draw at least, by length

LISTED = "the answers of a corpus are listed, not computed"

Verdict = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """The finding of one check on one task."""

    task: str
    check: str
    verdict: str
    """`PASSED`, `WARNED` or `FAILED`."""
    text: str


def check_tasks(source: str) -> list[Finding]:
    """Runs every check on every task that a file registers, or on one task.

    Args:
        source: path of a Python file, or a task's name or key.

    Raises:
        HarnessError: the file cannot be imported or registers no task, or there is no such task.
    """
    tasks = find_tasks(source)
    elsewhere = digests_elsewhere(source)
    return [
        Finding(task.key(), name, *_tried(check, task))
        for task in tasks
        for name, check in {"same data everywhere": lambda task: _reproduced(task, elsewhere), **CHECKS}.items()
    ]


def _tried(check: Callable[[Task], Verdict], task: Task) -> Verdict:
    try:
        return check(task)
    except Exception as error:  # whatever the task's code raises
        return FAILED, f"raises {describe(error)}"


# The checks: each returns its finding in a line.


def _described(task: Task) -> Verdict:
    """Whether the class declares all attributes."""
    file = type(task).__module__
    unknown = set(task.formats) - set(list_formats())
    problems = {
        "its docstring does not begin with a sentence": not task.question.endswith((".", "?")),
        "source has no address (https://…)": "https://" not in task.source,
        "length_meaning is empty": not task.length_meaning,
        "formats is empty": not task.formats,
        f"there is no format {', '.join(sorted(unknown))}": bool(unknown),
        "examples is empty": not task.examples,
        f"min_length {task.min_length} is no valid length": not task.valid_length(task.min_length),
    }
    if any(problems.values()):
        return FAILED, "; ".join(problem for problem, there in problems.items() if there)
    if "." not in file and not task.name.startswith(f"{file}."):
        return WARNED, f"named {file}.{task.name} it would be found in {file}.py; so only where that is imported"
    return PASSED, f"{task.skill}; {', '.join(task.formats)}"


def _examples(task: Task) -> Verdict:
    """Whether the examples of the class are what it answers."""
    if isinstance(task, Corpus):
        return PASSED, LISTED
    problems = []
    for prompt, answer in task.examples:
        symbols = prompt.split()
        if odd := sorted(set(symbols) - set(task.input_alphabet)):
            problems.append(f"{prompt!r} has symbols that are not in input_alphabet: {' '.join(odd)}")
            continue
        inputs = np.array([[task.input_alphabet.index(symbol) for symbol in symbols]])
        answered = task.answer(inputs, np.array([len(symbols)]))
        given = [task.output_alphabet[symbol] for symbol in answered.targets[0, : answered.target_lengths[0]]]
        if given != answer.split():
            problems.append(f"{prompt!r} is answered {' '.join(given)!r}, not {answer!r}")
    return _verdict(problems, f"{len(task.examples)} as drawn in the class")


def _alphabets(task: Task) -> Verdict:
    """Whether symbols are tokens, and whether all of them come."""
    Vocabulary(task)  # refuses special tokens and spaces
    problems, unused = [], []
    for name, column, size in (("input", "inputs", "input_lengths"), ("output", "targets", "target_lengths")):
        alphabet, used, drawn = getattr(task, f"{name}_alphabet"), set(), 0
        if len(set(alphabet)) < len(alphabet):
            problems.append(f"{name}_alphabet has a symbol twice")
        for sample in _samples(task):
            symbols = getattr(sample, column)
            used |= set(symbols[length_mask(getattr(sample, size), symbols.shape[1])].tolist())
            drawn += int(getattr(sample, size).sum())
        if odd := sorted(symbol for symbol in used if not 0 <= symbol < len(alphabet)):
            problems.append(f"{name} symbol {odd[0]} is not in the alphabet, which has 0 to {len(alphabet) - 1}")
        if drawn >= DRAWN_EACH * len(alphabet):
            unused += [f"{name} {symbol!r}" for number, symbol in enumerate(alphabet) if number not in used]
    if problems:
        return _verdict(problems)
    if unused:
        return WARNED, f"never drawn up to length {tried_lengths(task)[-1]}: {_some(unused)}"
    return PASSED, f"{len(task.input_alphabet)} input symbols, {len(task.output_alphabet)} output symbols"


def _sizes(task: Task) -> Verdict:
    """Whether inputs and answers are as long as the task declares."""
    problems, lengths = [], tried_lengths(task)
    varies = False
    for length, sample in zip(lengths, _samples(task), strict=True):
        longest, width = task.output_length(length), int(sample.target_lengths.max(initial=0))
        varies |= len(set(sample.target_lengths.tolist())) > 1
        if sample.inputs.dtype.kind != "i" or sample.targets.dtype.kind != "i":
            problems.append(f"inputs or answers of length {length} are no whole numbers")
        if sample.input_lengths.max(initial=0) > task.input_length(length):
            problems.append(f"an input of length {length} is longer than input_length says")
        if width > longest:
            problems.append(f"an answer of length {length} has {width} symbols; output_length says {longest}")
        elif not task.varying_answers and sample.target_lengths.min() < longest:
            problems.append(
                f"an answer of length {length} has fewer symbols than {longest}: varying_answers is not set"
            )
        problems += _wrong_ids(task, sample, length)
    if varies and not task.varying_answers:
        problems.append("answers of one length differ in length: varying_answers is not set")
    return _verdict(problems, f"answers of up to {task.output_length(lengths[-1])} symbols at length {lengths[-1]}")


def _wrong_ids(task: Task, sample: Sample, length: int) -> list[str]:
    """The problems of the position ids that a task couples, if it does."""
    if (coupled := task.coupled_ids(sample)) is None:
        return []
    (count, longest), width = sample.inputs.shape, sample.targets.shape[1]
    shapes, expected = [ids.shape for ids in coupled], [(count, longest), (count, width + 2)]
    if shapes != expected:
        return [f"coupled_ids of length {length} have shapes {shapes}; expected are {expected}"]
    # After the input come <sep>, the answer and the end, which may have 0.
    real = [length_mask(sample.input_lengths, longest), length_mask(sample.target_lengths + 1, width + 2)]
    if min(ids[tokens].min(initial=1) for ids, tokens in zip(coupled, real, strict=True)) < 1:
        return [f"coupled_ids of length {length} are below 1"]
    return []


def _padding(task: Task) -> Verdict:
    """Whether an answer depends on padding after the input."""
    if isinstance(task, Corpus):
        return PASSED, LISTED
    for length, sample in zip(tried_lengths(task), _samples(task), strict=True):
        padded = np.pad(sample.inputs, ((0, 0), (0, 4)))
        targets, target_lengths, *_ = task.answer(padded, sample.input_lengths)
        width = min(targets.shape[1], sample.targets.shape[1])
        if not (
            np.array_equal(target_lengths, sample.target_lengths)
            and np.array_equal(targets[:, :width], sample.targets[:, :width])
        ):
            return FAILED, f"answers of length {length} change when the inputs are padded"
    return PASSED, "answers stay with four columns more"


def _reproduced(task: Task, elsewhere: dict[str, str]) -> Verdict:
    """Whether another process draws the same, and whether any part of a stream has the same rows as all of it."""
    if elsewhere.get(task.key()) != digest_of(task):
        return FAILED, "a fresh process draws other data: only `rng` may be drawn from, and no set or hash() relied on"
    for length in tried_lengths(task):
        size = task.block_size(length)
        complete = task.sample(length, 2 * size, seed=1)
        part = task.sample(length, 100, seed=1, start=size - 50)
        if not all(_same(array, getattr(complete[size - 50 : size + 50], name)) for name, array in vars(part).items()):
            return FAILED, f"rows of length {length} depend on how the stream is cut: draw() keeps something"
    return PASSED, "in a fresh process and in any part of a stream"


def _perfect(task: Task) -> Verdict:
    """Whether the labels of every format are the answers."""
    problems = []
    for format in map(get_format, task.formats):
        problem = Problem(task, format)
        classifies = problem.head == "classification"
        tokens = np.arange(len(task.output_alphabet)) if classifies else problem.vocabulary.output_ids
        for length, sample in zip(tried_lengths(task), _samples(task), strict=True):
            encoded = problem.encode(sample)
            scored = (encoded.labels != NOT_SCORED) & ~encoded.is_end
            answers = [row[chosen].tolist() for row, chosen in zip(encoded.labels, scored, strict=True)]
            wrong = sum(given != expected for given, expected in zip(answers, _expected(sample, tokens), strict=True))
            if wrong:
                problems.append(
                    f"{format.name}: {wrong} of {len(sample)} answers of length {length} are not the labels"
                )
            room = problem.token_lengths(length)
            if any(getattr(encoded, name).shape[1] > most for name, most in room.items()):
                problems.append(f"{format.name}: length {length} has more tokens than it may have")
    return _verdict(problems, f"100 % in {', '.join(task.formats)}")


def _expected(sample: Sample, tokens: np.ndarray) -> Iterable[list[int]]:
    """The labels of each answer's symbols that count, in the order in which they are due."""
    order = None if sample.positions is None else np.argsort(sample.positions, axis=1, kind="stable")
    for row in range(len(sample)):
        places = np.arange(sample.targets.shape[1]) if order is None else order[row]
        yield tokens[sample.targets[row, places[sample.scored[row, places]]]].tolist()


def _leakage(task: Task) -> Verdict:
    """The share of the test inputs that is in the training data."""
    shares, listed, problems = {}, [], []
    for length in tried_lengths(task):
        rows = task.training_rows(length)  # None: without end
        trained = set() if rows == 0 else set(_inputs(task, length, rows or TRAINED, "train"))
        tested = _inputs(task, length, EXAMPLES, "test")
        shares[length] = sum(row in trained for row in tested) / len(tested)
        if is_enumerable(task, length, EXAMPLES):
            listed.append(length)
        counted = task.distinct_inputs(length)
        if len(trained.union(tested)) > counted and not isinstance(task, Corpus):
            problems.append(f"distinct_inputs says {counted} at length {length}, but more were drawn")
    found = "test inputs seen in training: " + ", ".join(
        f"{share:.0%} at {length}" for length, share in shares.items()
    )
    if problems:
        return _verdict(problems)
    if listed:
        found += f"; enumerable, so kept out of fit and reach: {_some(map(str, listed))}"
    seen = any(share > SEEN_AT_MOST for length, share in shares.items() if length >= DECIDING)
    return (WARNED if seen or max(listed, default=0) >= DECIDING else PASSED), found


def _balance(task: Task) -> Verdict:
    """The scores of the commonest answer, the commonest symbol, and the best input-blind predictor."""
    found, high = [], False
    for length in tried_lengths(task)[-2:]:
        sample = task.sample(length, EXAMPLES, seed=0)
        answers = Counter(answer for _, answer in task.spell(sample))
        symbols = Counter(sample.targets[sample.scored].tolist())
        blind = baselines(task, length, sample)
        high |= blind["baseline_exact"] >= BLIND_AT_MOST
        found.append(
            f"at {length}: commonest answer {max(answers.values()) / len(sample):.0%}, input-blind "
            f"{blind['baseline_exact']:.0%}; commonest symbol {max(symbols.values()) / symbols.total():.0%}, "
            f"input-blind {blind['baseline_tokens']:.0%}"
        )
    return (WARNED if high else PASSED), "; ".join(found)


def _speed(task: Task) -> Verdict:
    """The number of examples drawn in a second."""
    found, slow = [], False
    for longest, least in SPEEDS.items():
        length = max((n for n in range(1, longest + 1) if task.valid_length(n)), default=None)
        if length is None:
            continue
        size = task.block_size(length)
        rate = size / min(_seconds(task, length, size, seed) for seed in range(3))
        slow |= rate < least
        found.append(f"{rate:,.0f} examples/s at {length}")
    return (WARNED if slow else PASSED), ", ".join(found)


CHECKS: dict[str, Callable[[Task], Verdict]] = {
    "says what it is": _described,
    "its examples are true": _examples,
    "alphabets": _alphabets,
    "sizes": _sizes,
    "padding": _padding,
    "a perfect answerer": _perfect,
    "leakage": _leakage,
    "balance": _balance,
    "speed": _speed,
}


# Their parts.


def _verdict(problems: list[str], found: str = "") -> Verdict:
    return (FAILED, "; ".join(problems)) if problems else (PASSED, found)


def _samples(task: Task) -> list[Sample]:
    return [task.sample(length, EXAMPLES, seed=0) for length in tried_lengths(task)]


def _inputs(task: Task, length: int, count: int, split: str) -> list[bytes]:
    sample = task.sample(length, count, seed=0, split=split)
    return [row[:size].tobytes() for row, size in zip(sample.inputs, sample.input_lengths, strict=True)]


def _same(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def _seconds(task: Task, length: int, count: int, seed: int) -> float:
    begun = time.process_time()
    task.sample(length, count, seed)
    return time.process_time() - begun


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
