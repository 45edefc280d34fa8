"""Labels keep apart, colours keep to their models, and figures are the same bytes every time."""

import re
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from eval_harness.reporting.drawing import STYLE, palette, save, spread, style, to_svg


few = settings(max_examples=25, deadline=None)
places = st.lists(st.tuples(st.floats(0, 100), st.floats(1, 6)), min_size=1, max_size=10)


@few
@given(places)
def test_labels_do_not_overlap_and_stay_in_the_room_there_is(labels):
    wanted, heights = zip(*labels, strict=True)
    centres = spread(wanted, heights, -10, 110)
    ordered = sorted(zip(centres, heights, strict=True))
    for (below, its), (above, whose) in pairwise(ordered):
        assert above - below >= (its + whose) / 2 - 1e-6
    assert ordered[0][0] - ordered[0][1] / 2 >= -10 - 1e-6
    assert ordered[-1][0] + ordered[-1][1] / 2 <= 110 + 1e-6


@few
@given(places)
def test_labels_keep_the_order_of_what_they_name(labels):
    wanted, heights = zip(*labels, strict=True)
    centres = spread(wanted, heights, -10, 110)
    assert np.all(np.diff(np.array(centres)[np.argsort(wanted, kind="stable")]) > 0)


def test_labels_with_room_stay_where_they_are_wanted():
    assert spread([80, 10, 40], [5, 5, 5], 0, 100) == pytest.approx([80, 10, 40])
    assert spread([], [], 0, 100) == []


def test_a_model_looks_the_same_whatever_stands_beside_it_in_the_list():
    names = [f"model {i:02d}" for i in range(30)]
    assert palette(names) == palette(reversed(names))
    assert len(set(palette(names).values())) == 30


def figure():
    with style():
        drawn = Figure(figsize=(2, 1))
        axes = drawn.add_subplot()
        axes.plot([0, 1], [0, 1], "o-")
        axes.set_title("a < b")
    return drawn


def test_an_svg_stands_alone_in_a_page(tmp_path):
    svg = to_svg(figure(), 'what "it" shows', "first")
    assert svg.startswith('<svg role="img" aria-label="what &quot;it&quot; shows"')
    assert ">a &lt; b</text>" in svg
    names = re.findall(r'\bid="([^"]*)"', svg)
    assert names
    assert all(name.startswith("first-") for name in names)
    used = re.findall(r'(?:url\(#|href="#)([^")]*)', svg)
    assert used
    assert set(used) <= set(names)


def test_figures_are_the_same_bytes_every_time(tmp_path):
    for name in ("one", "two"):
        save(figure(), tmp_path, name)
    for kind in ("svg", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "one.svg", "two.png", "two.svg"]


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = {name: mpl.rcParams[name] for name in STYLE}
    to_svg(figure(), "", "x")
    assert {name: mpl.rcParams[name] for name in STYLE} == before != STYLE
