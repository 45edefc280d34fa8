import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_harness.errors import HarnessError
from eval_harness.scoring import protocol
from eval_harness.tasks import get_task


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["parity", "binary_addition", "flip_flop", "majority:letters=5"]),
    st.integers(4, 60).map(lambda half: 2 * half),
    st.sampled_from([2, 5.0, 12.5]),
)
def test_lengths_are_valid_sorted_distinct_and_in_their_ranges(key, train_length, factor):
    task = get_task(key)
    lengths = protocol.test_lengths(task, train_length, factor)
    assert lengths.train_length == train_length
    assert lengths.factor == factor
    assert all(task.valid_length(length) for length in lengths.all)
    for group in (lengths.within, lengths.beyond, lengths.reach_only):
        assert list(group) == sorted(set(group))
    assert lengths.all == tuple(sorted(lengths.within + lengths.beyond + lengths.reach_only))
    assert lengths.within[-1] == train_length
    assert len([length for length in lengths.within if length >= train_length / 2]) >= 3
    assert train_length < min(lengths.beyond)
    assert max(lengths.all) <= factor * train_length


@pytest.mark.parametrize(("key", "parities"), [("parity", {0: 6, 1: 6}), ("flip_flop", {0: 12})])
@pytest.mark.parametrize("factor", [5, 10, 12.5])
def test_beyond_has_one_length_of_each_stratum_and_both_parities(key, parities, factor):
    for train_length in (20, 40, 42):
        beyond = protocol.test_lengths(get_task(key), train_length, factor).beyond
        width = (factor - 1) * train_length / 12
        strata = Counter(int(-(-(length - train_length) // width)) for length in beyond)  # (0, w] is stratum 1
        assert strata == dict.fromkeys(range(1, 13), 1)
        assert Counter(length % 2 for length in beyond) == parities


def test_within_and_reach_only_are_the_protocols():
    lengths = protocol.test_lengths(get_task("parity"), 40, 12.5)
    assert lengths.within == (10, 20, 25, 30, 35, 40)
    assert set(lengths.reach_only) == {41, 42, 50, 61} - set(lengths.beyond)
    lengths = protocol.test_lengths(get_task("flip_flop"), 40, 12.5)
    assert lengths.within == (10, 20, 26, 30, 36, 40)
    assert set(lengths.reach_only) == {42, 50, 62} - set(lengths.beyond)


def test_few_lengths_are_used_up_rather_than_repeated():
    lengths = protocol.test_lengths(get_task("binary_addition"), 4, 2)
    assert lengths.within == (3, 4)
    assert lengths.beyond == (5, 6, 7, 8)
    assert lengths.reach_only == ()


def test_lengths_are_fixed_by_task_version_length_and_factor_alone(monkeypatch):
    first = protocol.test_lengths(get_task("majority"), 40)
    assert protocol.test_lengths(get_task("majority"), 40, 5) == first
    assert protocol.test_lengths(get_task("majority:letters=25"), 40).beyond != first.beyond
    assert protocol.test_lengths(get_task("parity"), 40).beyond != first.beyond
    script = (
        "from eval_harness.scoring.protocol import test_lengths; from eval_harness.tasks import get_task; "
        "print(test_lengths(get_task('majority'), 40).beyond)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    child = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == str(first.beyond)
    monkeypatch.setattr(type(get_task("majority")), "version", 2)
    assert protocol.test_lengths(get_task("majority"), 40).beyond != first.beyond


@pytest.mark.parametrize("factor", [1, 0.5, -5, float("inf"), float("nan")])
def test_the_factor_is_above_one(factor):
    with pytest.raises(HarnessError, match=r"must be above 1"):
        protocol.test_lengths(get_task("parity"), 40, factor)


def test_a_training_length_must_be_valid_and_leave_room_beyond():
    with pytest.raises(HarnessError, match="no length 41; the nearest valid ones are 40, 42"):
        protocol.test_lengths(get_task("flip_flop"), 41)
    with pytest.raises(HarnessError, match="no length above 10 up to 11; raise the factor"):
        protocol.test_lengths(get_task("flip_flop"), 10, 1.1)


def test_enumerable_lengths_have_fewer_than_four_inputs_for_each_example():
    parity = get_task("parity")
    assert protocol.is_enumerable(parity, 10, 257)
    assert not protocol.is_enumerable(parity, 10, 256)
    assert not protocol.is_enumerable(parity, 5000, 10**6)
    assert protocol.is_enumerable(get_task("flip_flop"), 12, 512)
    assert not protocol.is_enumerable(get_task("flip_flop"), 14, 512)
    assert protocol.is_enumerable(get_task("majority"), 3, 512)
    assert not protocol.is_enumerable(get_task("majority"), 4, 512)
