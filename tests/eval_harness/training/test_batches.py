"""Which batch comes at which step, whatever the number of processes."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from eval_harness.errors import HarnessError
from eval_harness.specification import TrainingRun
from eval_harness.tasks import get_task
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.vocabulary import Vocabulary
from eval_harness.training.batches import TrainingBatches, to_model_inputs, training_lengths


def parity(**changes) -> TrainingRun:
    sizes = {"train_length": 9, "steps": 40, "batch_size": 12}
    return TrainingRun(**{"task": "parity", "model": "lstm", **sizes, **changes})


def rows(*batches) -> list[tuple[int, ...]]:
    return [tuple(row) for batch in batches for row in batch["input_ids"].tolist()]


@pytest.mark.parametrize("changes", [{}, {"train_examples": 30}, {"task": "binary_addition", "format": "parallel"}])
@pytest.mark.parametrize("parts", [2, 3, 12])
def test_a_step_is_the_same_examples_into_however_many_parts_it_is_cut(changes, parts):
    whole, cut = TrainingBatches(parity(**changes)), TrainingBatches(parity(**changes), micro_batches=parts)
    assert len(whole) == 40
    assert len(cut) == 40 * parts
    for step in (0, 1, 17, 39):
        pieces = [cut[step * parts + part] for part in range(parts)]
        assert all(len(piece["input_ids"]) == 12 // parts for piece in pieces)
        if "attention_mask" not in whole[step]:  # ragged rows are padded to the longest of their part
            assert rows(*pieces) == rows(whole[step])
        scored = [label for piece in pieces for row in piece["labels"].tolist() for label in row if label != -100]
        assert scored == [label for row in whole[step]["labels"].tolist() for label in row if label != -100]


def test_an_item_does_not_depend_on_what_was_asked_for_before():
    for changes in ({}, {"train_examples": 30}):
        forwards = [rows(batch) for batch in map(TrainingBatches(parity(**changes)).__getitem__, range(40))]
        backwards = [rows(batch) for batch in map(TrainingBatches(parity(**changes)).__getitem__, reversed(range(40)))]
        assert forwards == backwards[::-1]


def test_an_item_is_one_length_of_the_tasks_own_stream_in_order():
    run, task = parity(seed=3), get_task("parity")
    batches, seen = TrainingBatches(run), Counter()
    for step, length in enumerate(training_lengths(run).tolist()):
        sample = task.sample(length, 12, 3, "train", start=12 * seen[length])
        encoded = get_format("autoregressive").encode(sample, task, Vocabulary(task))
        assert batches[step]["input_ids"].tolist() == encoded.input_ids.tolist()
        assert batches[step]["labels"].tolist() == encoded.labels.tolist()
        seen[length] += 1
    assert max(seen.values()) > 1


def test_without_bos_there_is_no_bos():
    assert (TrainingBatches(parity())[0]["input_ids"][:, 0] == Vocabulary.bos_id).all()
    assert (TrainingBatches(parity(bos=False))[0]["input_ids"] != Vocabulary.bos_id).all()


@pytest.mark.parametrize(("task", "expected"), [("parity", range(1, 13)), ("flip_flop", range(4, 13, 2))])
def test_lengths_are_uniform_over_the_valid_ones(task, expected):
    lengths = training_lengths(parity(task=task, train_length=12, steps=6000))
    values, counts = np.unique(lengths, return_counts=True)
    assert values.tolist() == list(expected)
    assert chisquare(counts).pvalue > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 200), st.integers(1, 200), st.integers(0, 5))
def test_a_longer_run_begins_like_a_shorter_one(train_length, steps, more, seed):
    sizes = {"train_length": train_length, "seed": seed}
    short = training_lengths(parity(steps=steps, **sizes))
    long = training_lengths(parity(steps=steps + more, **sizes))
    assert long[:steps].tolist() == short.tolist()
    assert 1 <= long.min() <= long.max() <= train_length


def test_another_seed_has_other_lengths_and_other_examples():
    first, second = parity(train_length=30), parity(train_length=30, seed=1)
    assert training_lengths(first).tolist() != training_lengths(second).tolist()
    one_length = [TrainingBatches(parity(task="flip_flop", train_length=4, seed=seed))[0] for seed in (0, 1)]
    assert rows(one_length[0]) != rows(one_length[1])


def test_fresh_examples_do_not_repeat():
    batches = TrainingBatches(parity(task="flip_flop:ignore=0.1", train_length=60, steps=60))
    by_length = {}
    for step, length in enumerate(batches.lengths.tolist()):
        by_length.setdefault(length, []).extend(rows(batches[step]))
    enough = [length for length in by_length if length >= 40 and len(by_length[length]) > 12]
    assert enough
    for length in enough:
        assert len(set(by_length[length])) == len(by_length[length])


def test_a_number_of_examples_limits_what_is_seen_and_shuffles_every_round():
    batches = TrainingBatches(parity(task="majority", train_examples=50, train_length=9, steps=200))
    assert sum(batches.quotas.values()) == 50
    assert max(batches.quotas.values()) - min(batches.quotas.values()) == 1
    walks = {}
    for step, length in enumerate(batches.lengths.tolist()):
        walks.setdefault(length, []).extend(rows(batches[step]))
    assert walks.keys() == set(range(1, 10))
    for length, walk in walks.items():
        quota = batches.quotas[length]
        rounds = [walk[start : start + quota] for start in range(0, len(walk) - quota + 1, quota)]
        assert len(rounds) > 2
        assert all(Counter(each) == Counter(rounds[0]) for each in rounds)
        assert length < 4 or len({tuple(each) for each in rounds}) > 1  # in the same order every time?


def test_too_few_examples_for_the_lengths_are_refused():
    with pytest.raises(HarnessError, match="train_examples is 8, but there are 9 training lengths"):
        TrainingBatches(parity(train_examples=8))


def test_a_curriculum_grows_from_the_shortest_to_the_longest():
    run = parity(train_length=20, steps=1000, curriculum=0.5)
    lengths = training_lengths(run)
    assert lengths[0] == 1
    for step in range(500):
        assert lengths[step] <= np.ceil(20 * (step + 1) / 500)
    assert lengths[400:500].max() > 16
    assert set(lengths[500:].tolist()) == set(range(1, 21))
    assert chisquare(np.unique(lengths[500:], return_counts=True)[1]).pvalue > 1e-3
    assert lengths[500:].tolist() == training_lengths(parity(train_length=20, steps=1000))[500:].tolist()


def test_only_a_causal_head_is_told_not_to_shift():
    causal, bidirectional = (
        TrainingBatches(parity(format="parallel"), shifted=shifted)[0] for shifted in (True, False)
    )
    assert torch.equal(causal["shift_labels"], causal["labels"])
    assert "shift_labels" not in bidirectional
    assert torch.equal(bidirectional["labels"], causal["labels"])


def test_a_mask_is_given_where_there_is_padding_alone():
    task = get_task("binary_addition")
    sample = task.sample(8, 32, 0)
    for format, padded in (("autoregressive", True), ("parallel", False)):
        encoded = get_format(format).encode(sample, task, Vocabulary(task))
        inputs = to_model_inputs(encoded, shifted=True)
        assert ("attention_mask" in inputs) == padded == bool((encoded.attention_mask == 0).any())
        if padded:
            assert torch.equal(inputs["attention_mask"] == 0, inputs["input_ids"] == Vocabulary.pad_id)


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(HarnessError, match="batch of 12 cannot be cut into 5 equal micro-batches"):
        TrainingBatches(parity(), micro_batches=5)


def test_the_sequences_of_a_run_are_counted_by_their_tokens():
    batches = TrainingBatches(parity())
    sizes = Counter()
    for step in range(len(batches)):
        count, tokens = batches[step]["input_ids"].shape
        sizes[tokens] += count
    assert batches.sequences() == [({"input_ids": tokens}, count) for tokens, count in sorted(sizes.items())]
    both = TrainingBatches(parity(format="sequence_to_sequence")).sequences()
    assert [sizes["decoder_input_ids"] for sizes, _ in both] == [2] * len(both)
    assert [sizes["input_ids"] - length for length, (sizes, _) in enumerate(both, start=1)] == [2] * len(both)


def test_the_tuning_stream_is_another_one():
    runs = parity(task="flip_flop", train_length=4, steps=1)
    train, tune = (TrainingBatches(runs, split=split)[0] for split in ("train", "tune"))
    assert rows(train) != rows(tune)


def test_coupled_ids_begin_anywhere_in_their_range_and_the_same_in_every_cut():
    changes = {"task": "coupled_addition", "model": "transformer-learned", "train_length": 4}
    plain, whole = TrainingBatches(parity(**changes)), TrainingBatches(parity(**changes), id_range=60)
    halves = TrainingBatches(parity(**changes), micro_batches=2, id_range=60)
    assert "position_ids" not in plain[0]
    task = get_task("coupled_addition")
    starts, ends = set(), set()
    for step in range(40):
        sample = whole._rows(int(whole.lengths[step]), int(whole.starts[step]), 12)
        moved = whole[step]["position_ids"].numpy()
        offsets = moved - get_format("autoregressive").coupled_ids(sample, task, moved.shape[1])
        assert (offsets == offsets[:, :1]).all()
        starts |= set(offsets[:, 0].tolist())
        ends |= set(moved.max(axis=1).tolist())
        parts = [halves[2 * step + part]["position_ids"][:, 0].tolist() for part in range(2)]
        assert [*parts[0], *parts[1]] == offsets[:, 0].tolist()
    assert min(starts) == 0
    assert max(ends) == 59
    assert len(starts) > 40


def test_ids_are_coupled_only_for_models_that_read_them(monkeypatch):
    asked = []
    monkeypatch.setattr(type(get_task("coupled_addition")), "coupled_ids", lambda self, sample: asked.append(sample))
    TrainingBatches(parity(task="coupled_addition", train_length=4))[0]
    assert asked == []
