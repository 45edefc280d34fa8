"""What a score must beat: predictors that do not solve the task, at any length.

N examples   P answer positions   S output symbols
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.task import Sample, Task, within


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
    """The best that can be said of an answer without its input."""

    symbols: np.ndarray  # [P] best single whole answer
    end: int  # and where it ends
    modes: np.ndarray  # [P]
    modes_after: np.ndarray  # [P, S + 1] given the previous symbol


def baselines(task: Task, length: int, sample: Sample, fit_examples: int = 4096) -> dict[str, float]:
    """Scores of the trivial predictors on the very examples that models are tested on.

    `baseline_*` is input-blind: the best predictor that sees the length and the place in the answer, not the input. It
    is fitted on `fit_examples` of the split "baseline", never on the sample. Its exact match is that of one whole
    answer: the best, on the fitting examples, of the most frequent answer, the string of each place's most frequent
    symbol (among answers of the most frequent length) and the constant strings. A whole answer has an end, so the end
    is predicted with it, as the autoregressive format asks. Under teacher forcing it also sees the previous target;
    answers that are given in place are never shown to a model, so there it does not.

    `random_*` is the expectation for symbols drawn uniformly, together with the end where answers vary in length.
    `last_symbol_*` and `most_frequent_*` repeat that symbol of the input for as long as the answer is; a symbol that
    the output alphabet does not have is wrong.

    Args:
        task: the task.
        length: the length of all rows of the sample.
        sample: the test examples.
        fit_examples: how many examples the input-blind predictor is fitted on.

    Returns:
        `<predictor>_exact` and `<predictor>_tokens` for the four predictors, and `baseline_teacher_forced`.

    Raises:
        HarnessError: where the sample is empty or of another length.
    """
    if not len(sample) or (sample.lengths != length).any():
        raise HarnessError(f"Baselines at length {length} need test examples of that length, and of no other.")
    answers = _answers(task, length, sample)
    blind = _fit(task, length, fit_examples)
    places = np.arange(answers.symbols.shape[1])
    scores = {
        "baseline_exact": answers.exact(blind.symbols, blind.end),
        "baseline_tokens": answers.tokens(blind.modes),
        "baseline_teacher_forced": answers.tokens(blind.modes_after[places, answers.previous]),
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
    answers = _answers(task, length, task.sample(length, fit_examples, seed=0, split="baseline"))
    kinds = len(task.output_alphabet)
    places = np.arange(answers.symbols.shape[1])
    counts = _count(answers, places, len(places), kinds)  # [P, S]
    cells = places * (kinds + 1) + answers.previous
    counts_after = _count(answers, cells, len(places) * (kinds + 1), kinds).reshape(len(places), kinds + 1, kinds)
    modes = counts.argmax(axis=1)
    seen = counts_after.any(axis=2)
    candidates = _whole_answers(answers, kinds)
    symbols, end = max(candidates, key=lambda candidate: answers.exact(*candidate))
    return _InputBlind(symbols, end, modes, np.where(seen, counts_after.argmax(axis=2), modes[:, None]))


def _whole_answers(answers: _Answers, kinds: int) -> list[tuple[np.ndarray, int]]:
    """Candidates for the best single answer, each with its end."""
    whole = np.column_stack([np.where(answers.scored, answers.symbols, -1), answers.ends])  # [N, P + 1]
    commonest = np.frombuffer(Counter(row.tobytes() for row in whole).most_common(1)[0][0], dtype=whole.dtype)
    end = int(np.bincount(answers.ends).argmax())
    alike = replace(answers, scored=answers.scored & (answers.ends == end)[:, None])
    width = answers.symbols.shape[1]
    modes = _count(alike, np.arange(width), width, kinds).argmax(axis=1)
    constants = [(np.full(width, symbol), end) for symbol in range(kinds)]
    return [(commonest[:-1], int(commonest[-1])), (modes, end), *constants]


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


def _count(answers: _Answers, cells: np.ndarray, cell_count: int, kinds: int) -> np.ndarray:
    """How often each symbol is the target in each cell [N, P] or [P]; [cell_count, S]."""
    flat = (cells * kinds + answers.symbols)[answers.scored]
    return np.bincount(flat, minlength=cell_count * kinds).reshape(cell_count, kinds)


def _random_exact(task: Task, sample: Sample) -> float:
    kinds = len(task.output_alphabet)
    draws = sample.scored.sum(axis=1)  # [N]
    if task.varying_answers and sample.positions is None:  # the end is one more thing to draw, and at every place
        kinds, draws = kinds + 1, draws + 1
    return float((float(kinds) ** -draws).mean())


def _input_counts(task: Task, sample: Sample) -> np.ndarray:
    """How often each input symbol occurs in each input; [N, input alphabet]."""
    real = within(sample.input_lengths, sample.inputs.shape[1])
    return np.stack(
        [(real & (sample.inputs == symbol)).sum(axis=1) for symbol in range(len(task.input_alphabet))], axis=1
    )


def _as_outputs(task: Task) -> np.ndarray:
    """For each input symbol its index in the output alphabet, or -1."""
    outputs = {symbol: index for index, symbol in enumerate(task.output_alphabet)}
    return np.array([outputs.get(symbol, -1) for symbol in task.input_alphabet])
