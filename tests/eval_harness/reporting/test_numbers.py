"""Numbers as a reader wants them."""

import pytest

from eval_harness.reporting.numbers import duration, length, percent, plural, quantity, reach_in_words, words
from eval_harness.results.statistics import AtLeast


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (98_900, "", "98.9k"),
        (101_200, "", "101k"),
        (700, "", "700"),
        (999.7, "", "1.0k"),
        (999_600, "", "1.0M"),
        (1.2e9, "FLOP", "1.2 GFLOP"),
        (936e9, "FLOP", "936 GFLOP"),
        (2e12, "FLOP", "2 TFLOP"),
        (3e21, "FLOP", "3000 EFLOP"),
        (0, "", "0"),
        (None, "FLOP", "-"),
    ],
)
def test_a_quantity_has_a_prefix_and_about_two_digits(value, unit, said):
    assert quantity(value, unit) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, "100"),
        (0.9999, "99.9"),
        (0.996, "99.6"),
        (0.984, "98"),
        (0.0, "0"),
        (0.004, "0.4"),
        (-0.26, "-26"),
        (None, "-"),
    ],
)
def test_a_hundred_per_cent_is_said_only_of_all(share, said):
    assert percent(share) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (8.44, "8.4 s"),
        (42.4, "42 s"),
        (59.7, "1 min"),
        (185, "3 min 5 s"),
        (3599.8, "1 h"),
        (7830, "2 h 10 min"),
        (None, "-"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds, said):
    assert duration(seconds) == said


def test_a_bound_is_said_to_be_one_and_a_multiple_is_rounded_down():
    assert length(AtLeast(99, True)) == "≥ 99"
    assert length(None) == "-"
    assert reach_in_words(AtLeast(99, True), 20) == "≥ 99 (4.9 L)"
    assert reach_in_words(AtLeast(20, False), 20) == "20 (1.0 L)"


def test_words():
    assert [plural(1, "run"), plural(2, "run"), words("in_place")] == ["1 run", "2 runs", "in place"]
