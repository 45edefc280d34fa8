"""Baselines: predictors that do not solve the task, at any length.

N examples   P answer positions   S output symbols
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.sample import Sample, length_mask
from eval_harness.tasks.task import Task


@dataclass(frozen=True)
class _Answers:
    """Answers over the positions that a predictor without the input can tell apart.

    Those are places in the answer; for a task that is answered in place, they are places in the input, and there is no
    end to predict.
    """

    symbols: np.ndarray  # [N, P]
    scored: np.ndarray  # [N, P]
    ends: np.ndarray  # [N]
    previous: np.ndarray  # [N, P] the symbol before each, plus one; 0 where there is none or it is not seen

    def tokens(self, predicted: np.ndarray) -> float:
        """The share of scored symbols that equal the prediction, whose shape broadcasts to [N, P]."""
        return float((self.symbols == predicted)[self.scored].mean())

    def exact(self, predicted: np.ndarray, ends: np.ndarray | int) -> float:
        """The share of answers of which every scored symbol and the end are as predicted."""
        right = ((self.symbols == predicted) | ~self.scored).all(axis=1)
        return float((right & (self.ends == ends)).mean())


@dataclass(frozen=True)
class _InputBlind:
    """The best predictor of an answer without its input."""

    symbols: np.ndarray  # [P] best single answer
    end: int  # its length
    modes: np.ndarray  # [P]
    cells: np.ndarray  # [C] pairs of place and previous symbol that were seen, as one number, sorted
    modes_after: np.ndarray  # [C]

    def after(self, cells: np.ndarray) -> np.ndarray:
        """The mode of each cell [N, P], or that of its place where nothing was seen to follow."""
        found = np.minimum(np.searchsorted(self.cells, cells), len(self.cells) - 1)
        return np.where(self.cells[found] == cells, self.modes_after[found], self.modes)


def baselines(task: Task, length: int, sample: Sample, fit_examples: int = 4096) -> dict[str, float]:
    """Scores of the trivial predictors on the very examples that models are tested on.

    `baseline_*` is input-blind: the best predictor that sees the length and the place in the answer, not the input. It
    is fitted on `fit_examples` of the split "baseline", never on the sample. Its exact match is that of one complete
    answer: the best, on the fitting examples, of the most frequent answer, the string of each place's most frequent
    symbol (among answers of the most frequent length) and the constant strings. A complete answer has an end, so the
    end is predicted with it, as the autoregressive format requires. Under teacher forcing it also sees the previous
    target; answers that are given in place are never shown to a model, so there it does not.

    `random_*` is the expectation for symbols drawn uniformly, together with the end where answers vary in length.
    `last_symbol_*` and `most_frequent_*` repeat that symbol of the input for as long as the answer is; a symbol that
    the output alphabet does not have is wrong.

    Args:
        task: the task.
        length: the length of all rows of the sample.
        sample: the test examples.
        fit_examples: how many examples the input-blind predictor is fitted on; a corpus may have fewer.

    Returns:
        `<predictor>_exact` and `<predictor>_tokens` for the four predictors, and `baseline_teacher_forced`.

    Raises:
        HarnessError: where the sample is empty or of another length, or a corpus has nothing to fit on.
    """
    if not len(sample) or (sample.lengths != length).any():
        raise HarnessError(f"Baselines at length {length} need test examples of that length, and of no other.")
    answers = _answers(task, length, sample)
    blind = _fit(task, length, fit_examples)
    scores = {
        "baseline_exact": answers.exact(blind.symbols, blind.end),
        "baseline_tokens": answers.tokens(blind.modes),
        "baseline_teacher_forced": answers.tokens(blind.after(_cells(task, answers))),
        "random_exact": _random_exact(task, sample),
        "random_tokens": 1 / len(task.output_alphabet),
    }
    counts = _input_counts(task, sample)
    last = np.take_along_axis(sample.inputs, sample.input_lengths[:, None] - 1, axis=1)[:, 0]
    for name, symbols in (("last_symbol", last), ("most_frequent", counts.argmax(axis=1))):
        predicted = _as_outputs(task)[symbols][:, None]  # [N, 1]
        scores[f"{name}_exact"] = answers.exact(predicted, answers.ends)
        scores[f"{name}_tokens"] = answers.tokens(predicted)
    return scores


@lru_cache(maxsize=256)
def _fit(task: Task, length: int, fit_examples: int) -> _InputBlind:
    """Fits the input-blind predictor on the split "baseline"."""
    sample = task.sample(length, fit_examples, seed=0, split="baseline")
    if not len(sample):
        raise HarnessError(f"Task {task.name!r} has no rows of length {length} to fit the input-blind baseline on.")
    answers = _answers(task, length, sample)
    kinds = len(task.output_alphabet)
    symbols, end = max(_whole_answers(answers, kinds), key=lambda candidate: answers.exact(*candidate))
    cells, modes_after = _modes_of(_cells(task, answers)[answers.scored], answers.symbols[answers.scored])
    return _InputBlind(symbols, end, _modes(answers, kinds), cells, modes_after)


def _whole_answers(answers: _Answers, kinds: int) -> list[tuple[np.ndarray, int]]:
    """Candidates for the best single answer, each with its end."""
    whole = np.column_stack([np.where(answers.scored, answers.symbols, -1), answers.ends])  # [N, P + 1]
    commonest = np.frombuffer(Counter(row.tobytes() for row in whole).most_common(1)[0][0], dtype=whole.dtype)
    end = int(np.bincount(answers.ends).argmax())
    alike = replace(answers, scored=answers.scored & (answers.ends == end)[:, None])
    first = answers.symbols[np.arange(len(whole)), answers.scored.argmax(axis=1)]  # [N]
    constant = ((answers.symbols == first[:, None]) | ~answers.scored).all(axis=1)
    constants = [(np.full(whole.shape[1] - 1, symbol), end) for symbol in np.unique(first[constant])]
    return [(commonest[:-1], int(commonest[-1])), (_modes(alike, kinds), end), *constants]


def _answers(task: Task, length: int, sample: Sample) -> _Answers:
    if sample.positions is None:
        previous = np.zeros_like(sample.targets)
        previous[:, 1:] = sample.targets[:, :-1] + 1
        return _Answers(sample.targets, sample.scored, sample.target_lengths, previous)
    shape = (len(sample), task.input_length(length))
    symbols, scored = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    rows, places = np.nonzero(sample.scored)
    columns = sample.positions[rows, places]
    symbols[rows, columns] = sample.targets[rows, places]
    scored[rows, columns] = True
    return _Answers(symbols, scored, np.zeros(len(sample), dtype=np.int64), np.zeros_like(symbols))


def _modes(answers: _Answers, kinds: int) -> np.ndarray:
    """The most frequent symbol of each place [P], the first of equals."""
    width = answers.symbols.shape[1]
    flat = (np.arange(width) * kinds + answers.symbols)[answers.scored]
    return np.bincount(flat, minlength=width * kinds).reshape(width, kinds).argmax(axis=1)


def _cells(task: Task, answers: _Answers) -> np.ndarray:
    """Place and previous symbol as one number [N, P]."""
    return np.arange(answers.symbols.shape[1]) * (len(task.output_alphabet) + 1) + answers.previous


def _modes_of(cells: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells that occur, sorted, and the most frequent symbol of each, the first of equals.

    There is no table of all pairs: places times the square of a vocabulary does not fit into the memory.
    """
    kinds = symbols.max(initial=0) + 1
    pairs, counts = np.unique(cells * kinds + symbols, return_counts=True)
    order = np.lexsort((pairs, -counts, pairs // kinds))  # by cell, then by count
    seen, first = np.unique(pairs[order] // kinds, return_index=True)
    return seen, pairs[order][first] % kinds


def _random_exact(task: Task, sample: Sample) -> float:
    kinds = len(task.output_alphabet)
    draws = sample.scored.sum(axis=1)  # [N]
    if task.varying_answers and sample.positions is None:  # the end is one more thing to draw, and at every place
        kinds, draws = kinds + 1, draws + 1
    return float((float(kinds) ** -draws).mean())


def _input_counts(task: Task, sample: Sample) -> np.ndarray:
    """How often each input symbol occurs in each input; [N, input alphabet]."""
    kinds = len(task.input_alphabet)
    cells = sample.inputs + kinds * np.arange(len(sample))[:, None]
    cells = cells[length_mask(sample.input_lengths, sample.inputs.shape[1])]
    return np.bincount(cells, minlength=len(sample) * kinds).reshape(len(sample), kinds)


def _as_outputs(task: Task) -> np.ndarray:
    """For each input symbol its index in the output alphabet, or -1."""
    outputs = {symbol: index for index, symbol in enumerate(task.output_alphabet)}
    return np.array([outputs.get(symbol, -1) for symbol in task.input_alphabet])
