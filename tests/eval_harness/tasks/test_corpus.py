"""Every corpus, and one with rows that can be told apart."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from eval_harness.errors import HarnessError
from eval_harness.scoring import protocol
from eval_harness.scoring.baselines import baselines
from eval_harness.specification import TrainingRun
from eval_harness.tasks import SKILLS, Corpus, Sample, get_task, list_tasks, registry
from eval_harness.tasks.task import SPLITS
from eval_harness.tokenization.formats import list_formats
from eval_harness.training.batches import TrainingBatches, training_lengths


CORPORA = [get_task(name) for name in list_tasks() if isinstance(get_task(name), Corpus)]
each_corpus = pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
SIZES = {"train": 300, "tune": 5, "test": 260, "baseline": 300}


@dataclass(frozen=True, kw_only=True)
class Numbers(Corpus):
    """Say the number of the row; there are as many of length 2 as `SIZES` says, a tenth of length 4, none of 6."""

    name = "numbers"
    skill = "look-up"
    source = "a test"
    length_meaning = "nothing"
    max_length = 8
    examples = ()
    input_alphabet = tuple(str(number) for number in range(1000))
    output_alphabet = input_alphabet
    loud: bool = False

    def valid_length(self, length):
        return super().valid_length(length) and length % 2 == 0

    def output_length(self, length):
        return 1

    def unseen(self, length):
        return True

    def rows(self, split, length):
        count = {2: SIZES[split], 4: SIZES[split] // 10, 6: 0, 8: 7}[length]
        first = {"train": 0, "tune": 300, "test": 400, "baseline": 0}[split]
        numbers, ones = first + np.arange(count)[:, None], np.ones(count, dtype=np.int64)
        return Sample(np.repeat(numbers, length, 1), numbers, length * ones, ones, numbers >= 0, None, length * ones)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(registry._TASKS, "numbers", Numbers)


def numbers_of(sample):
    return sample.targets[:, 0].tolist()


def test_a_finite_stream_holds_each_row_once_in_an_order_that_the_seed_draws():
    for split in ("test", "baseline"):
        everything = numbers_of(Numbers().sample(2, 10_000, seed=0, split=split))
        assert sorted(everything) == numbers_of(Numbers().rows(split, 2))
        assert everything != sorted(everything)
        assert everything != numbers_of(Numbers().sample(2, 10_000, seed=1, split=split))
        assert numbers_of(Numbers().sample(2, 3, seed=0, split=split, start=2)) == everything[2:5]
        assert len(Numbers().sample(2, 9, seed=0, split=split, start=1000)) == 0
    assert Numbers().sample(6, 9, seed=0).inputs.shape == (0, 6)


@pytest.mark.parametrize(("split", "length"), [("train", 2), ("train", 4), ("tune", 2)])
def test_streams_for_training_and_tuning_walk_through_all_rows_in_ever_new_orders(split, length):
    size = len(Numbers().rows(split, length))
    walk = numbers_of(Numbers().sample(length, 4 * size, seed=3, split=split))
    rounds = [walk[start : start + size] for start in range(0, 4 * size, size)]
    assert all(sorted(each) == numbers_of(Numbers().rows(split, length)) for each in rounds)
    assert len({tuple(each) for each in rounds}) == 4
    assert numbers_of(Numbers().sample(length, 7, seed=3, split=split, start=size - 3)) == walk[size - 3 :][:7]


def test_streams_of_other_seeds_and_options_have_other_orders():
    walk = numbers_of(Numbers().sample(2, 300, seed=0, split="train"))
    assert walk != numbers_of(Numbers().sample(2, 300, seed=1, split="train"))
    assert walk != numbers_of(Numbers(loud=True).sample(2, 300, seed=0, split="train"))


def test_there_is_no_training_where_there_are_no_rows():
    with pytest.raises(HarnessError, match="'numbers' has no rows of length 6 in the split 'train'"):
        Numbers().sample(6, 4, seed=0, split="train")
    with pytest.raises(HarnessError, match=r"no training rows of length 6; the greatest below it is 4."):
        Numbers().training_lengths(6)
    assert Numbers().training_lengths(8) == [2, 4, 8]


def test_a_length_above_the_longest_is_refused():
    with pytest.raises(HarnessError, match=r"has no length 10; its longest is 8."):
        Numbers().sample(10, 4, seed=0)
    with pytest.raises(HarnessError, match=r"has no length 7; the nearest valid ones are 6, 8."):
        Numbers().sample(7, 4, seed=0)


def run(**changes):
    return TrainingRun(**{"task": "numbers", "model": "lstm", "train_length": 4, "steps": 3000, **changes})


def test_training_meets_each_length_as_often_as_it_has_rows(registered):
    counts = Counter(training_lengths(run()).tolist())
    assert counts.keys() == {2, 4}
    assert abs(counts[4] / 3000 - 30 / 330) < 0.03


def test_a_number_of_examples_is_shared_by_the_lengths_as_far_as_each_has_rows(registered):
    assert TrainingBatches(run(train_examples=20)).quotas == {2: 10, 4: 10}
    assert TrainingBatches(run(train_examples=100)).quotas == {4: 30, 2: 70}
    assert TrainingBatches(run(train_examples=330)).quotas == {4: 30, 2: 300}
    for examples in (1, 331):
        with pytest.raises(HarnessError, match=f"is {examples}, but there are 2 training lengths and 330 rows"):
            TrainingBatches(run(train_examples=examples))


def test_baselines_are_fitted_on_as_many_rows_as_there_are():
    scores = baselines(Numbers(), 8, Numbers().sample(8, 512, seed=0))
    assert scores["baseline_exact"] == 0  # the rows of the baseline have other numbers
    assert scores["last_symbol_exact"] == 1
    with pytest.raises(HarnessError, match="no rows of length 6 to fit"):
        baselines(Numbers(), 6, replace(Numbers().rows("test", 8), lengths=np.full(7, 6)))


def test_a_corpus_is_enumerable_where_its_test_was_seen_and_not_where_it_is_small(monkeypatch):
    assert not protocol.is_enumerable(Numbers(), 4, 512)
    monkeypatch.setattr(Numbers, "unseen", lambda self, length: False)
    assert protocol.is_enumerable(Numbers(), 4, 1)


def test_every_length_beyond_is_tested_where_there_are_few():
    assert protocol.test_lengths(Numbers(), 2, 5).beyond == (4, 6, 8)


@each_corpus
def test_a_corpus_says_what_it_is(corpus):
    assert corpus.skill in SKILLS
    assert "https://" in corpus.source
    assert corpus.length_meaning
    assert set(corpus.formats) <= set(list_formats())
    assert len(set(corpus.input_alphabet)) == len(corpus.input_alphabet)
    assert len(set(corpus.output_alphabet)) == len(corpus.output_alphabet)
    assert type(corpus).__doc__.split("\n")[0].endswith((".", "?"))
    assert corpus.valid_length(corpus.min_length)
    assert corpus.valid_length(int(corpus.max_length))


@each_corpus
@pytest.mark.parametrize("split", SPLITS)
def test_rows_keep_to_the_contract(corpus, split):
    lengths = [length for length in range(1, 26) if corpus.valid_length(length)]
    for length in [length for length in lengths if len(corpus.rows(split, length))][-4:]:
        sample = corpus.sample(length, 100, seed=0, split=split)
        assert 0 < len(sample) <= 100
        assert sample.inputs.shape == (len(sample), corpus.input_length(length))
        assert sample.targets.shape == sample.scored.shape == (len(sample), corpus.output_length(length))
        assert sample.inputs.dtype == sample.targets.dtype == sample.lengths.dtype == np.int64
        assert sample.scored.dtype == bool
        assert 0 <= sample.inputs.min() <= sample.inputs.max() < len(corpus.input_alphabet)
        assert 0 <= sample.targets.min() <= sample.targets.max() < len(corpus.output_alphabet)
        assert (sample.lengths == length).all()
        width = sample.targets.shape[1]
        assert (sample.scored == (np.arange(width) < sample.target_lengths[:, None])).all()
        assert not sample.targets[~sample.scored].any()
        beyond = np.arange(sample.inputs.shape[1]) >= sample.input_lengths[:, None]
        assert not sample.inputs[beyond].any()
