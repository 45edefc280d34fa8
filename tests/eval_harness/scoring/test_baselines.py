from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from eval_harness.errors import HarnessError
from eval_harness.scoring.baselines import baselines
from eval_harness.tasks import Sample, get_task, list_tasks


KEYS = {
    "baseline_exact",
    "baseline_tokens",
    "baseline_teacher_forced",
    *(f"{name}_{metric}" for name in ("random", "last_symbol", "most_frequent") for metric in ("exact", "tokens")),
}


def scores(key, length, count=2048):
    task = get_task(key)
    return baselines(task, length, task.sample(length, count, seed=0))


def rows(sample):
    return [tuple(y[:length].tolist()) for y, length in zip(sample.targets, sample.target_lengths, strict=True)]


def most_frequent(items):
    counts = Counter(items)
    return min(counts, key=lambda item: (-counts[item], item))


def plain_input_blind(task, length, sample, fit_examples):
    """The three input-blind scores of a task whose answer follows the input, row by row."""
    fit = rows(task.sample(length, fit_examples, seed=0, split="baseline"))
    test = rows(sample)
    at, after = defaultdict(list), defaultdict(list)
    for answer in fit:
        for place, symbol in enumerate(answer):
            at[place].append(symbol)
            after[place, answer[place - 1] if place else None].append(symbol)
    right = forced = total = 0
    for answer in test:
        for place, symbol in enumerate(answer):
            previous = answer[place - 1] if place else None
            right += most_frequent(at[place]) == symbol
            forced += most_frequent(after[place, previous] or at[place]) == symbol
            total += 1
    size = most_frequent(map(len, fit))
    alike = [answer for answer in fit if len(answer) == size]
    candidates = [
        Counter(fit).most_common(1)[0][0],
        tuple(most_frequent(answer[place] for answer in alike) for place in range(size)),
        *((symbol,) * size for symbol in range(len(task.output_alphabet))),
    ]
    best = max(candidates, key=fit.count)
    return test.count(best) / len(test), right / total, forced / total


@pytest.mark.parametrize("key", ["parity", "reverse", "binary_addition", "bucket_sort", "majority:letters=3"])
@pytest.mark.parametrize("length", [3, 5, 9])
def test_input_blind_scores_equal_those_of_the_plain_predictor(key, length):
    task = get_task(key)
    sample = task.sample(length, 200, seed=4)
    result = baselines(task, length, sample, fit_examples=500)
    expected = plain_input_blind(task, length, sample, fit_examples=500)
    found = (result["baseline_exact"], result["baseline_tokens"], result["baseline_teacher_forced"])
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", list_tasks())
def test_all_scores_are_there_and_between_zero_and_one(name):
    task = get_task(name)
    for first in (4, min(25, task.max_length)):
        length = next(n for n in range(first, first + 30) if task.valid_length(n))
        result = scores(name, length, count=200)
        assert set(result) == KEYS
        assert all(isinstance(score, float) and 0 <= score <= 1 for score in result.values())


@pytest.mark.parametrize(("length", "tokens"), [(41, 0.780), (500, 0.935)])
def test_most_of_bucket_sort_needs_no_input(length, tokens):
    result = scores("bucket_sort", length, count=512)
    assert result["baseline_tokens"] == pytest.approx(tokens, abs=0.01)
    assert result["baseline_teacher_forced"] > result["baseline_tokens"] + 0.04
    assert result["baseline_exact"] < 0.01


def test_teacher_forced_bucket_sort_is_nearly_free_at_great_lengths():
    assert scores("bucket_sort", 500, count=512)["baseline_teacher_forced"] == pytest.approx(0.99, abs=0.005)


@pytest.mark.parametrize("name", ["parity", "even_pairs"])
@pytest.mark.parametrize("length", [8, 101])
def test_binary_decisions_are_a_coin_flip_without_input(name, length):
    result = scores(name, length)
    for key in ("baseline_exact", "baseline_tokens", "baseline_teacher_forced", "random_exact", "random_tokens"):
        assert result[key] == pytest.approx(0.5, abs=0.05)
    assert result["last_symbol_exact"] == result["most_frequent_tokens"] == 0  # "0" and "1" are no answers


def test_random_answers_are_right_by_the_alphabet_and_the_end():
    assert scores("reverse", 4)["random_exact"] == pytest.approx(1 / 16)
    assert scores("majority", 12)["random_tokens"] == pytest.approx(1 / 26)
    task = get_task("binary_addition")
    sample = task.sample(3, 10, seed=0)  # 1 + 1 = 2, always
    assert baselines(task, 3, sample)["random_exact"] == pytest.approx(1 / 27)  # two symbols and the end, out of three


def test_the_end_of_a_whole_answer_counts():
    task = get_task("binary_addition")
    sample = task.sample(5, 2048, seed=0)
    prefix = replace(sample, target_lengths=sample.target_lengths - 1)
    prefix = replace(prefix, scored=np.arange(4) < prefix.target_lengths[:, None])
    whole, cut = baselines(task, 5, sample)["baseline_exact"], baselines(task, 5, prefix)["baseline_exact"]
    best = most_frequent(rows(task.sample(5, 4096, seed=0, split="baseline")))
    assert whole == rows(sample).count(best) / 2048
    assert cut == rows(prefix).count(best) / 2048
    assert whole > 0.15


def test_input_symbols_are_repeated_as_answers():
    task = get_task("majority:letters=4")
    result = scores(task.key(), 9)
    assert result["most_frequent_exact"] == result["most_frequent_tokens"] == 1
    sample = task.sample(9, 2048, seed=0)
    assert result["last_symbol_exact"] == (sample.inputs[:, -1] == sample.targets[:, 0]).mean()
    task = get_task("duplicate")
    sample = task.sample(6, 500, seed=0)
    result = baselines(task, 6, sample)
    last, modes = sample.inputs[:, -1:], (sample.inputs.mean(axis=1, keepdims=True) > 0.5)
    assert result["last_symbol_tokens"] == (sample.targets == last).mean()
    assert result["last_symbol_exact"] == (sample.targets == last).all(axis=1).mean()
    assert result["most_frequent_tokens"] == (sample.targets == modes).mean()


def test_the_last_symbol_of_a_ragged_input_is_its_own_and_padding_is_not_counted():
    task = get_task("majority:letters=4")
    sample = task.sample(6, 300, seed=0)
    padded = replace(sample, inputs=np.pad(sample.inputs, ((0, 0), (0, 20))))
    assert baselines(task, 6, padded) == baselines(task, 6, sample)


def test_flip_flop_is_guessed_at_its_places_and_never_shown():
    task = get_task("flip_flop")
    sample = task.sample(40, 2048, seed=0)
    result = baselines(task, 40, sample)
    assert result["baseline_tokens"] == result["baseline_teacher_forced"] == pytest.approx(0.5, abs=0.05)
    constants = [((sample.targets == bit) | ~sample.scored).all(axis=1).mean() for bit in (0, 1)]
    assert result["baseline_exact"] in constants  # reads of one write agree, so a constant is the best whole answer
    assert result["baseline_exact"] > result["random_exact"]
    assert result["random_exact"] == pytest.approx((0.5 ** sample.target_lengths.astype(float)).mean())


def test_the_fit_never_sees_the_test_examples():
    task = get_task("reverse")
    sample = task.sample(30, 1, seed=0)
    assert baselines(task, 30, sample, fit_examples=64)["baseline_exact"] == 0
    fitted = task.sample(30, 1, seed=0, split="baseline")
    assert baselines(task, 30, fitted, fit_examples=1)["baseline_exact"] == 1


def test_only_examples_of_the_length_are_scored():
    task = get_task("parity")
    with pytest.raises(HarnessError, match="at length 5 need test examples of that length"):
        baselines(task, 5, Sample.concatenate([task.sample(5, 4, seed=0), task.sample(6, 4, seed=0)]))
    with pytest.raises(HarnessError, match="at length 5 need test examples"):
        baselines(task, 5, task.sample(5, 0, seed=0))
