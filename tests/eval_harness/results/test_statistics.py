"""Intervals, fit, reach and seeds, each against a plain reading of the protocol."""

import math
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_harness.results.statistics import (
    AtLeast,
    aggregate_seeds,
    censored_median,
    fits,
    interval,
    known_median,
    normalised,
    reach,
    threshold,
    wilson,
)


L = 20
few = settings(max_examples=25, deadline=None)


def row(length, exact, baseline=0.5, examples=256, enumerable=False, tokens=1.0):
    low, high = wilson(round(exact * examples), examples)
    return {
        "length": length,
        "enumerable": enumerable,
        "examples": examples,
        "exact": exact,
        "exact_low": low,
        "exact_high": high,
        "tokens": tokens,
        "baseline_exact": baseline,
        "baseline_tokens": 0.5,
    }


@few
@given(st.integers(1, 3000), st.floats(0, 1))
def test_wilson_is_its_formula(trials, share):
    successes = round(share * trials)
    z, p = 1.959963984540054, successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    assert wilson(successes, trials) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_wilson_has_a_width_at_both_ends():
    assert wilson(0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)
    assert wilson(100, 100) == pytest.approx((0.9630, 1.0), abs=1e-4)


def test_the_threshold_leaves_a_tenth_of_what_the_baseline_leaves():
    assert threshold(0.0) == pytest.approx(0.9)
    assert threshold(0.5) == pytest.approx(0.95)
    assert threshold(1.0) == 1.0


def test_normalised_accuracy_is_negative_below_the_baseline_and_nothing_beside_a_perfect_one():
    assert normalised(0.75, 0.5) == pytest.approx(0.5)
    assert normalised(0.25, 0.5) == pytest.approx(-0.5)
    assert normalised(1.0, 1.0) is None


def test_an_example_is_one_trial_of_token_accuracy_however_many_tokens_it_has():
    assert interval(row(30, 0.2, tokens=0.5, examples=200), "tokens") == wilson(100, 200)


def test_fit_is_judged_on_the_upper_half_of_the_trained_lengths_alone():
    good = [row(10, 1.0), row(20, 1.0)]
    assert fits([row(9, 0.0), *good, row(21, 0.0)], L) is True
    assert fits([row(9, 1.0), row(10, 0.5), row(20, 1.0)], L) is False


def test_fit_compares_the_mean_with_the_mean_threshold():
    assert fits([row(15, 0.94), row(20, 0.97)], L) is True
    assert fits([row(15, 0.94), row(20, 0.95)], L) is False
    assert fits([row(15, 0.94), row(20, 0.95)], L, "tokens") is True


def test_enumerable_lengths_have_no_say_in_the_fit():
    assert fits([row(15, 0.0, enumerable=True), row(20, 1.0)], L) is True
    assert fits([row(15, 1.0, enumerable=True)], L) is None


def test_reach_ends_before_the_first_failure_and_the_certified_one_before_the_first_doubt():
    found = reach([row(20, 0.0), row(21, 1.0), row(25, 0.95), row(30, 1.0), row(40, 0.5), row(50, 0.5)], L)
    assert found is not None
    assert asdict(found) == {"reach": 30, "certified": 21, "next_tested": 40, "grid_end": 50, "recovers": False}
    assert not found.at_grid_end
    assert not found.certified_at_grid_end


def test_a_run_that_fails_at_once_reaches_its_training_length():
    found = reach([row(21, 0.5), row(22, 1.0)], L)
    assert found is not None
    assert (found.reach, found.certified, found.next_tested, found.recovers) == (20, 20, 21, True)


def test_reach_at_the_end_of_the_tested_lengths_is_at_least_that():
    found = reach([row(30, 1.0), row(100, 0.95)], L)
    assert found is not None
    assert (found.reach, found.at_grid_end, found.certified, found.certified_at_grid_end) == (100, True, 30, False)


def test_enumerable_lengths_are_left_out_of_reach():
    found = reach([row(25, 0.0, enumerable=True), row(30, 1.0), row(40, 0.0)], L)
    assert found is not None
    assert found.reach == 30
    assert reach([row(20, 1.0), row(25, 1.0, enumerable=True)], L) is None


def test_token_reach_asks_the_tokens():
    rows = [row(30, 0.0, tokens=1.0), row(40, 0.0, tokens=0.5)]
    exact, tokens = reach(rows, L), reach(rows, L, "tokens")
    assert exact is not None
    assert tokens is not None
    assert (exact.reach, tokens.reach) == (20, 30)


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 0.9), st.randoms())
def test_reach_is_what_a_plain_walk_finds(shares, baseline, random):
    rows = [row(L + 1 + i, round(share * 256) / 256, baseline) for i, share in enumerate(shares)]
    walked = certified = L
    certain = True
    needed = baseline + 0.9 * (1 - baseline)
    for tested in rows:
        if tested["exact_high"] < needed:
            break
        walked = tested["length"]
        certain = certain and tested["exact_low"] >= needed
        certified = walked if certain else certified
    random.shuffle(rows)
    found = reach(rows, L)
    assert found is not None
    assert (found.reach, found.certified) == (walked, certified)
    assert found.certified <= found.reach <= found.grid_end


def test_a_censored_median_is_a_tested_length_and_says_whether_it_is_a_bound():
    known, bound = AtLeast(50, False), AtLeast(99, True)
    assert censored_median([bound, known, bound]) == bound
    assert censored_median([known, bound, known]) == known
    assert censored_median([bound, known]) == known
    assert censored_median([AtLeast(99, True), AtLeast(99, False), AtLeast(99, False)]) == AtLeast(99, False)


@few
@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), min_size=1, max_size=9))
def test_a_censored_median_that_is_known_is_the_lower_median_whatever_hides_behind_the_bounds(values):
    found = censored_median([AtLeast(*value) for value in values])
    if not found.censored and not any(censored and value < found.value for value, censored in values):
        hidden = sorted(1000 if censored else value for value, censored in values)
        assert found.value == hidden[(len(hidden) - 1) // 2]


def test_the_median_of_nothing_known_is_not_known():
    assert known_median([None, 3.0, 1.0]) == 2.0
    assert known_median([None]) is None


def summary(fitted, length=None, bound=False, exact=0.5):
    return {
        "fits": fitted,
        "reach": length,
        "at_grid_end": bound,
        "certified_reach": length,
        "certified_at_grid_end": bound,
        "token_reach": length,
        "token_at_grid_end": bound,
        "recovers": False if fitted else None,
        "extrapolation_exact": exact,
        "extrapolation_tokens": exact,
        "normalised_exact": exact,
        "training_flops": 1e9,
        "training_seconds": 1.0,
    }


def test_reach_is_over_the_seeds_that_fit_and_accuracy_over_all():
    found = aggregate_seeds(
        [summary(True, 40, exact=0.6), summary(False, exact=0.1), summary(True, 99, True, exact=0.9)]
    )
    assert (found.runs, found.fitted) == (3, 2)
    assert found.reach == AtLeast(40, False)
    assert found.reach_range == (AtLeast(40, False), AtLeast(99, True))
    assert found.extrapolation_exact == 0.6


def test_no_seed_that_fits_means_no_reach():
    found = aggregate_seeds([summary(False), summary(None)])
    assert (found.fitted, found.reach, found.reach_range, found.certified_reach) == (0, None, None, None)
